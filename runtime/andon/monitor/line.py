"""Run one configured line: open its model, source and sinks, and judge until the source ends or the run is stopped."""

import math
import threading
from collections.abc import Callable
from contextlib import ExitStack

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.monitor.alarms import rule_from_text
from andon.monitor.config import Line
from andon.monitor.counters import Counters
from andon.monitor.healthy_judge import healthy_judge
from andon.monitor.loop import Finished, monitor
from andon.monitor.sink import QueuedSink, Sink, SinkContext
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_of
from andon.runtime.schema import WindowSpec
from andon.sources.clock import Clock


class LineEnd(Struct, frozen=True, kw_only=True):
    """The result of a run of a line."""

    finished: Finished
    notes: tuple[str, ...]
    """The number of alarms, summaries of the sinks, and the failure of the source."""
    lost: bool
    """True if a sink could not keep all outcomes."""
    hung: bool
    """True if a thread of the source or of a sink still runs. Ending the interpreter may then abort the process."""

    @property
    def complete(self) -> bool:
        """True if the source did not fail or end in a silence, some item was judged, and no sink lost an outcome."""
        counters = self.finished.counters
        nothing_judged = counters.judged == 0 and counters.invalid > 0
        return not (self.finished.failure or self.finished.stale or nothing_judged or self.lost)


def open_model(line: Line) -> Detector:
    """Load the model file of a line.

    Raises:
        AndonError: the file or the device is not usable, or a setting for frames is given for a model of windows.
    """
    policy = line.policy
    detector = Detector.load(
        line.model, device=policy.device, threads=policy.threads, frame_size=policy.frame_size or "calibrated"
    )
    for flag, key, given in (
        ("--frame-size", "frame_size", policy.frame_size is not None),
        ("--health", "health", policy.health),
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


def run_line(
    line: Line,
    clock: Clock,
    stop: threading.Event,
    *,
    on_counters: Callable[[Counters], None] = lambda _counters: None,
) -> LineEnd:
    """Judge the items of the line's source until it ends or the event is set.

    Args:
        line: the configured line.
        clock: see `monitor`.
        stop: ends the run within two seconds.
        on_counters: see `monitor`.

    Raises:
        AndonError: the model, the source or a sink cannot be opened.
    """
    source = line.source
    source.require_accepted()
    detector = open_model(line)
    judge = judge_of(detector)
    if line.policy.health:
        judge = healthy_judge(judge, detector.card, clock, live=source.kind.live)
    rule = rule_from_text(line.policy.alarm) if line.policy.alarm is not None else None
    context = sink_context(line, detector, clock, stop)
    with ExitStack() as open_sinks:
        sinks: list[Sink] = []
        for one in line.sinks:
            sinks.append(one.open(context))
            open_sinks.callback(sinks[-1].close)
        queued = [sink for sink in sinks if isinstance(sink, QueuedSink)]
        finished = monitor(
            judge,
            lambda: source.open(detector.card.input, clock, stop),
            sinks,
            clock,
            stop,
            name=source.kind.name,
            live=source.kind.live,
            stale_after_s=stale_after_s(line),
            limit=line.policy.limit,
            alarm=rule,
            on_counters=on_counters,
        )
        if not (finished.stopped or finished.consumer_gone):
            for sink in queued:
                sink.drain()
    # the summaries are complete only after the sinks are closed
    notes = [_alarms(finished) if rule is not None else "", *(sink.summary for sink in sinks)]
    notes.append(finished.failure and f"source failed: {finished.failure}")
    return LineEnd(
        finished=finished,
        notes=tuple(text for text in notes if text),
        lost=any(sink.lost for sink in sinks),
        hung=finished.hung or any(sink.hung for sink in queued),
    )


def _alarms(finished: Finished) -> str:
    return f"alarms: {finished.alarms}{', the last one is active' if finished.alarm_active else ''}"
