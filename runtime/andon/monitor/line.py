"""One configured line while it runs: its model file, its sinks, its queue, and what it reports."""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import msgspec
import numpy as np
from msgspec import Struct

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.monitor.alarms import AlarmRule, AlarmState
from andon.monitor.config import Line, region_of
from andon.monitor.counters import Counters
from andon.monitor.drift_charts import drift_charts
from andon.monitor.event import ModelChanged
from andon.monitor.feed import Feed
from andon.monitor.frame_queue import Taken
from andon.monitor.healthy_judge import healthy_judge
from andon.monitor.judging import Outcome
from andon.monitor.line_judge import LineJudge, Record, lost_by
from andon.monitor.loaded_models import LoadedModels
from andon.monitor.loop import Finished, follow, queue_for
from andon.monitor.part_decisions import PartDecisions
from andon.monitor.parts import PartDecision
from andon.monitor.process_image import LineResult, result_of_outcome, result_of_part
from andon.monitor.reject import Intents, MemoryIntents
from andon.monitor.reject_signals import RejectSignals
from andon.monitor.sink import Sink, SinkContext, queued
from andon.monitor.status import LineState, LineStatus
from andon.monitor.trigger_follower import TriggerFollower
from andon.monitor.trigger_kind import Trigger
from andon.runtime.detector import Detector
from andon.runtime.judge import Judge, judge_of
from andon.runtime.schema import FrameSpec, InputSpec, Reason, Status, WindowSpec
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)


class LineEnd(Struct, frozen=True, kw_only=True):
    """The result of a run of a line."""

    name: str
    finished: Finished
    notes: tuple[str, ...]
    """The number of alarms, summaries of the sinks, and the failure of the source."""
    lost: bool
    """True if a sink could not keep all outcomes."""
    hung: bool
    """True if a thread of the source or of a sink still runs. Ending the interpreter may then abort the process."""

    @property
    def complete(self) -> bool:
        """True if the source did not fail or end in a silence, some item was judged, and no sink lost an outcome.

        A run that was stopped may have had a silent source: the stop is not a fault of the line.
        """
        counters = self.finished.counters
        nothing_judged = counters.judged == 0 and counters.invalid > 0
        silent = not self.finished.stopped and (self.finished.stale or nothing_judged)
        return not (self.finished.failure or silent or self.lost)


def open_model(line: Line, models: LoadedModels) -> Detector:
    """Load the model file of a line.

    Args:
        line: the configured line.
        models: the model files of the other lines, for lines that can share a session.

    Raises:
        AndonError: the file or the device is not usable, or a setting for frames is given for a model of windows.
    """
    policy = line.policy
    detector = models.load(
        line.model, device=policy.device, threads=policy.threads, frame_size=policy.frame_size or "calibrated"
    )
    for flag, key, given in (
        ("--frame-size", "frame_size", policy.frame_size is not None),
        ("--region", "region", policy.region is not None),
    ):
        if given and isinstance(detector.card.input, WindowSpec):
            raise ConfigError(
                f"{flag}: expected a model file for frames, got {line.model}, which judges windows of sensor data. Leave out "
                f"the flag, or the key {key} in the line's file."
            )
    return detector


def sink_context(line: Line, detector: Detector, clock: Clock, stop: threading.Event) -> SinkContext:
    """Return the facts about a run for its sinks."""
    return SinkContext(
        card=detector.card, clock=clock, stop=stop, source=line.source.text(), can_wait=not line.source.endless
    )


def stale_after_s(line: Line) -> float:
    """Return the longest normal time without an item, in seconds: infinity for a source that is not live."""
    return float(line.source.settings.stale_after_s) if line.source.kind.live else math.inf


class RunningLine:
    """A line with its loaded model file and its open sinks. `follow` runs in a thread of its own; `close` comes last.

    Args:
        line: the configured line.
        clock: see `monitor`.
        models: the model files of all lines of the process.
        turns: see `Turns`.
        record: takes the events of the line.
        on_counters: see `monitor`.
        extra_sinks: further open sinks. They are closed with the line.
        intents: stores the intents of reject signals. Default: in memory.
        on_result: takes each result: the decision about a part, or the outcome of an item on a line without parts. It is fast,
            never raises, and may be called from any thread.

    Raises:
        AndonError: the model, the source or a sink cannot be opened. Nothing stays open then.
    """

    def __init__(
        self,
        line: Line,
        clock: Clock,
        *,
        models: LoadedModels,
        turns: AbstractContextManager[None] | None = None,
        record: Record = lambda _body, _outcome: None,
        on_counters: Callable[[Counters], None] = lambda _counters: None,
        extra_sinks: Sequence[Sink] = (),
        intents: Intents | None = None,
        on_result: Callable[[LineResult], None] = lambda _result: None,
    ) -> None:
        self.line = line
        self._on_result = on_result
        self.stop = threading.Event()
        self._ending = threading.Event()
        self._stop_reason = ""
        self._parts: PartDecisions | None = None
        if line.parts is not None:
            self._parts = PartDecisions(
                line.parts,
                clock,
                name=line.name,
                can_wait=not line.source.kind.live,
                record=record,
                on_decision=self._act,
            )
        self._reject: RejectSignals | None = None
        self._triggers: TriggerFollower | None = None
        self.queue = queue_for(
            live=line.source.kind.live, keep=line.policy.keep, every_nth=line.policy.every_nth, parts=self._parts
        )
        self._clock = clock
        self._record = record
        self._on_counters = on_counters
        self._feed: Feed | None = None
        self._judged = False
        """True if no item follows. The thread of the line may still wait for reject signals and sinks."""
        self._state: LineState | None = None
        self._failure = ""
        self._reloads = 0
        self._reload_error = ""
        self._shown: tuple[LineState, float] = ("starting", clock.mono_s())
        line.source.require_accepted()
        self._models = models
        self._detector = open_model(line, models)
        _warm_up(self._detector)
        self._open_sinks = ExitStack()
        self._sinks: list[Sink] = []
        context = sink_context(line, self._detector, clock, self.stop)
        try:
            for one in line.sinks:
                self._sinks.append(one.open(context))
                self._open_sinks.callback(_close, self._sinks[-1])
            for sink in extra_sinks:
                self._sinks.append(sink)
                self._open_sinks.callback(_close, sink)
            if line.reject is not None:
                self._reject = RejectSignals(
                    line.reject.rule,
                    line.reject.open(),
                    intents or MemoryIntents(clock, lambda body: record(body, None), line=line.name),
                    clock,
                    name=line.name,
                    record=lambda change: record(change, None),
                    on_stop=self._stop_for,
                )
                self._open_sinks.callback(self._reject.close, 0.0)
            if line.trigger is not None:
                self._triggers = TriggerFollower(
                    line.trigger,
                    self._begin_part,
                    clock,
                    line=line.name,
                    record=lambda change: record(change, None),
                )
            charts = drift_charts(self._detector)
            self._judge = LineJudge(
                self._judge_of(self._detector),
                card=self._detector.card,
                sinks=self._sinks,
                clock=clock,
                line=line.name,
                rules=line.alarms,
                charts=charts,
                region=region_of(line.policy),
                turns=turns,
                record=record,
                parts=self._parts,
                on_outcome=self._on_outcome,
            )
        except BaseException:
            self._open_sinks.close()
            raise

    @property
    def detector(self) -> Detector:
        """The loaded model file."""
        return self._detector

    def follow(self, feed: Feed) -> LineEnd:
        """Judge until the source ends or `stop` is set, and close the sinks.

        Raises:
            AndonError: the source cannot be opened because of a mistake of the user. The sinks are closed.
        """
        self._feed = feed
        with_thread = queued(self._sinks)
        source = self.line.source
        finished: Finished | None = None
        for worker in (self._parts, self._reject, self._triggers):
            if worker is not None:
                worker.start()
        with self._open_sinks:
            try:
                finished = follow(
                    self._judge,
                    feed,
                    self.queue,
                    self._clock,
                    self.stop,
                    name=source.kind.name,
                    live=source.kind.live,
                    stale_after_s=stale_after_s(self.line),
                    on_counters=self._on_counters,
                )
            except Exception as error:
                self._state, self._failure = "failed", f"{type(error).__name__}: {error}"
                raise
            finally:
                self._judged = True
                self._judge.settle()  # changes that were asked for after the last item
                if finished is None or finished.stopped:
                    self._ending.set()
                self._end_parts()
            if self._stop_reason and not finished.failure:
                finished = msgspec.structs.replace(finished, failure=self._stop_reason)
            if not (finished.stopped or finished.consumer_gone):
                for sink in with_thread:
                    sink.drain()
        self._state, self._failure = ("failed" if finished.failure else "ended"), finished.failure
        # the summaries are complete only after the sinks are closed
        notes = [*_alarm_notes(finished.alarms, self.line.alarms), *map(_summary_of, self._sinks)]
        if finished.failure and finished.failure == self._stop_reason:
            notes.append(f"stopped: {finished.failure}")
        else:
            notes.append(finished.failure and f"source failed: {finished.failure}")
        notes += self._part_notes()
        return LineEnd(
            name=self.line.name,
            finished=finished,
            notes=tuple(text for text in notes if text),
            lost=self._judge.status().lost > 0 or any(map(lost_by, self._sinks)),
            hung=finished.hung
            or any(sink.hung for sink in with_thread)
            or (self._reject is not None and self._reject.hung)
            or (self._triggers is not None and self._triggers.hung),
        )

    def end(self) -> None:
        """End the line within two seconds, also if its source has ended and reject signals are still due."""
        self._ending.set()
        self.stop.set()

    def close(self) -> None:
        """Close the sinks of a line that did not run."""
        self.stop.set()
        if self._parts is not None:
            self._parts.close()
        self._open_sinks.close()

    def status(self) -> LineStatus:
        """Return the state of the line. It may be called from any thread."""
        judge, feed = self._judge.status(), self._feed
        state: LineState = "starting"
        if self._state is not None:
            state = self._state
        elif feed is not None and feed.state != "opening":
            state = "retrying" if feed.state == "retrying" else "running"
        if state != self._shown[0]:
            self._shown = (state, self._clock.mono_s())
        live = self.line.source.kind.live
        return LineStatus(
            name=self.line.name,
            state=state,
            since_s=self._shown[1],
            source=self.line.source.title,
            model=judge.model,
            model_name=self._detector.card.name,
            golden=True,  # the constructor and `reload` refuse a file whose golden sample is not reproduced
            counters=msgspec.structs.replace(judge.counters, waiting=self.queue.waiting),
            latency=judge.latency,
            alarms=judge.alarms
            | (self._parts.alarms if self._parts is not None else {})
            | (self._reject.alarms if self._reject is not None else {})
            | (self._triggers.alarms if self._triggers is not None else {}),
            charts=judge.charts,
            last_outcome_s=judge.last_judged_s,
            judging_since_s=judge.judging_since_s,
            # a silent camera is reported as INVALID (stale) by a monitor that works
            quiet_ok=not live
            or state in ("retrying", "ended", "failed")
            or judge.stale
            or (feed is not None and feed.waiting)
            or (self._parts is not None and self._parts.waits_for_trigger),
            source_report=self._source_report(judge.report),
            stale_after_s=stale_after_s(self.line),
            restarts=feed.restarts if feed is not None else 0,
            reloads=self._reloads,
            reload_error=self._reload_error,
            failure=self._failure,
            lost=judge.lost,
            parts=self._parts.status() if self._parts is not None else None,
            reject=self._reject.status() if self._reject is not None else None,
            trigger=self._triggers.status() if self._triggers is not None else None,
        )

    def trigger(self, *, part: str = "", number: int | None = None) -> bool:
        """Begin a part, on a line whose parts begin with a trigger from outside. See `PartDecisions.trigger`.

        Raises:
            ConfigError: the line has no parts, or they begin with their first frame.
        """
        if self._parts is None:
            raise ConfigError(
                f"line {self.line.name}: expected a table [line.parts] for a trigger, got none. Add the table."
            )
        return self._parts.trigger(part=part, number=number)

    def reload(self) -> ModelChanged:
        """Load the model file again, check it, and judge with it from the next item on. On an error the old one stays.

        It takes as long as loading takes. The line goes on judging meanwhile. Call it from one thread at a time.
        """
        before = self._detector
        try:
            loaded = open_model(self.line, self._models)
            _require_same_items(before, loaded)
            _warm_up(loaded)
            judge, charts = self._judge_of(loaded), drift_charts(loaded)
        except Exception as error:  # any error: the line goes on with the old file
            mistake = isinstance(error, AndonError)
            self._reload_error = printable(str(error) if mistake else f"{type(error).__name__}: {error}", limit=1000)
            # no traceback for a wrong file, which is a mistake of the user
            logger.error(  # noqa: TRY400
                "%s: the new model file is refused, and the old one stays: %s",
                self.line.name,
                self._reload_error,
                exc_info=None if mistake else error,
            )
            changed = ModelChanged(
                before=before.model.short_digest, after=before.model.short_digest, refused=self._reload_error
            )
            self._record(changed, None)
            return changed
        changed = ModelChanged(before=before.model.short_digest, after=loaded.model.short_digest)

        def swap() -> None:
            self._judge.swap(judge, loaded.card, charts)
            self._record(changed, None)

        self._detector = loaded
        self._reloads += 1
        self._reload_error = ""
        self._request(swap)
        return changed

    def acknowledge(self, alarm: str, number: int, by: str) -> None:
        """Acknowledge an alarm before the next item. See `LineJudge.acknowledge`."""
        self._request(lambda: self._acknowledge(alarm, number, by))

    def _request(self, change: Callable[[], None]) -> None:
        """Make a change before the next item, or now if no item follows. The thread of the line then makes no more changes."""
        self._judge.request(change)
        if self._judged:
            self._judge.settle()

    def _acknowledge(self, alarm: str, number: int, by: str) -> None:
        if self._parts is not None and alarm in self._parts.alarms:
            self._parts.acknowledge(alarm, number, by)
        elif self._reject is not None and alarm in self._reject.alarms:
            self._reject.acknowledge(number, by)
        elif self._triggers is not None and alarm in self._triggers.alarms:
            self._triggers.acknowledge(number, by)
        else:
            self._judge.acknowledge(alarm, number, by)

    def _act(self, decision: PartDecision, outcome: Outcome) -> None:
        """Act on the decision about a part."""
        if decision.action == "reject" and self._reject is not None:
            self._reject.schedule(decision.part, decision.triggered_s)
        elif decision.action == "stop":
            why = decision.problem or outcome.verdict.reason.code
            self._stop_for(f"the part {decision.part} is {decision.status.name}{f' ({why})' if why else ''}")
        self._on_result(result_of_part(decision, outcome, self._clock.wall_s()))

    def _begin_part(self, trigger: Trigger) -> None:
        """Begin a part because of a trigger of the controller."""
        self.trigger(part=trigger.part, number=trigger.number)

    def _on_outcome(self, taken: Taken, outcome: Outcome) -> None:
        """Give the reject signal and the result of an item, if the line has no parts."""
        if self._parts is not None:
            return
        if self._reject is not None and outcome.verdict.status is Status.REJECT:
            self._reject.schedule(outcome.ref.part, taken.arrived_s)
        result = result_of_outcome(outcome, self._clock.mono_s())
        if result is not None:
            self._on_result(result)

    def _source_report(self, report: Reason) -> str:
        """Return the code of a report of the source. A silent source is normal while the line waits for a trigger."""
        waits = self._parts is not None and self._parts.waits_for_trigger
        return "" if report is Reason.STALE and waits else report.code

    def _stop_for(self, reason: str) -> None:
        """End the line as failed, as its settings demand."""
        if self.stop.is_set():  # the line ends anyway
            return
        if not self._stop_reason:
            self._stop_reason = printable(reason, limit=500)
            logger.error("%s: the line stops: %s", self.line.name, self._stop_reason)
        self.stop.set()

    def _end_parts(self) -> None:
        """Decide about all open parts, and give the reject signals that are still due. After a stop, only those due soon.

        Triggers end first. No part begins while the last ones are decided.
        """
        if self._triggers is not None:
            self._triggers.end()
        if self._parts is not None:
            self._parts.close()
        if self._reject is not None and self.line.reject is not None:
            rule = self.line.reject.rule
            self._reject.close(rule.budget_s + rule.tolerance_s, stop=self._ending)
        if self._triggers is not None:
            self._triggers.close()

    def _part_notes(self) -> list[str]:
        notes = []
        if self._parts is not None:
            by_status = self._parts.status().by_status
            notes.append(
                f"parts: {', '.join(f'{name} {number}' for name, number in sorted(by_status.items())) or 'none'}"
            )
        if self._reject is not None:
            status = self._reject.status()
            notes.append(f"reject signals: {status.fired} given, {status.missed} missed, {status.failed} failed")
        if self._triggers is not None:
            triggers = self._triggers.status()
            notes.append(f"triggers: {triggers.given} given, {triggers.refused} refused")
        return notes

    def _judge_of(self, detector: Detector) -> Judge:
        judge = judge_of(detector)
        if self.line.policy.health:
            source = self.line.source
            judge = healthy_judge(
                judge,
                detector.card,
                self._clock,
                live=source.kind.live,
                stale_after_s=getattr(source.settings, "stale_after_s", 2.0),
            )
        return judge


def _close(sink: Sink) -> None:
    """Close a sink. An error in it must not hide the result of the line."""
    try:
        sink.close()
    except Exception:
        logger.exception("closing a sink failed: %s", type(sink).__name__)


def _summary_of(sink: Sink) -> str:
    try:
        return str(sink.summary)
    except Exception:
        logger.debug("the summary of %s cannot be read", type(sink).__name__, exc_info=True)
        return ""


def _warm_up(detector: Detector) -> None:
    """Run the golden sample, which also makes ONNX Runtime allocate its memory before the first part.

    Raises:
        AndonError: the sample is not reproduced, or it cannot be judged.
    """
    if detector.model.golden is not None:
        detector.verify()
    spec = detector.card.input
    if isinstance(spec, FrameSpec) and spec.frame_size is not None:
        # one frame of the line's size, because the first call of a size is slow
        detector.measure([np.zeros((*spec.frame_size, spec.channels), spec.dtype)], "score")


def same_items(one: InputSpec, other: InputSpec) -> bool:
    """Return whether two model files judge the same items: frames of the same channels and type, or the same windows."""
    if isinstance(one, FrameSpec) and isinstance(other, FrameSpec):
        return (one.channels, one.dtype) == (other.channels, other.dtype)
    return one == other


def _require_same_items(running: Detector, loaded: Detector) -> None:
    if not same_items(running.card.input, loaded.card.input):
        raise ConfigError(
            "model: expected a file for the same input as the running one, got one for another input. Stop the monitor, and "
            "start it with the new file."
        )


def _alarm_notes(states: Mapping[str, AlarmState], rules: Mapping[str, AlarmRule]) -> list[str]:
    return [
        f"alarms ({name}): {states[name].alarm}{', the last one is active' if states[name].active else ''}"
        for name in rules
        if name in states and (states[name].alarm or name == "rejects")
    ]
