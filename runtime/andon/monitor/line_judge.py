"""Judge the items of one line: verdict, counters, alarms, drift charts, events, sinks, one item after the other in one thread.

Other threads may ask for a change (another model file, an acknowledgement). It is made between two items. `status` may be read
from any thread.
"""

import bisect
import collections
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import msgspec
from msgspec import Struct

from andon.monitor import alarms
from andon.monitor.alarms import AlarmRule, AlarmState
from andon.monitor.channel_shares import ChannelShares
from andon.monitor.counters import Counters, Dropped, DropReason, count
from andon.monitor.drift_charts import DriftCharts
from andon.monitor.event import AlarmChanged, Body, InvalidEnded
from andon.monitor.frame_queue import Taken
from andon.monitor.judge_cost import JudgeCost
from andon.monitor.judging import LineAlarm, Outcome, decide
from andon.monitor.line_events import Span, events_of
from andon.monitor.part_decisions import SOURCE_REPORTS, PartDecisions
from andon.monitor.sink import ConsumerGoneError, Sink
from andon.monitor.status import LATENCY_BUCKETS_S, ChartStatus, Latency
from andon.runtime.items import Lost
from andon.runtime.judge import Judge
from andon.runtime.schema import Card, Reason, Status
from andon.sources.clock import Clock
from andon.sources.region import Region, cropped

logger = logging.getLogger(__name__)

Record = Callable[[Body, Outcome | None], None]
"""A function that takes an event of a line, with the outcome that caused it if there is one. It is fast and never raises."""


class JudgeState(Struct, frozen=True, kw_only=True):
    """The state of a line's judge at one moment."""

    model: str
    """Short digest of the model file."""
    counters: Counters = Counters()
    latency: Latency = Latency()
    alarms: dict[str, AlarmState] = {}
    charts: tuple[ChartStatus, ...] = ()
    last_judged_s: float | None = None
    """Monotonic time of the last verdict of the graph."""
    judging_since_s: float | None = None
    """Monotonic time at which the current call began. None if none is running."""
    report: Reason = Reason.NONE
    """Reason of the last outcome, if it was a report about the source. See `SOURCE_REPORTS`."""
    lost: int = 0
    """Number of outcomes that sinks could not keep."""

    @property
    def stale(self) -> bool:
        """True if the last outcome was INVALID (stale)."""
        return self.report is Reason.STALE


class LineJudge:
    """See the module.

    Args:
        judge: judges one item.
        card: card of the model file of the judge.
        sinks: each gets every outcome, in this order. A sink that raises is not used any more.
        clock: for ages, and for the wall time in records.
        line: name of the line. Empty if the user gave none.
        rules: rules of the alarms by name.
        charts: drift charts of the model file, if it has limits for them.
        region: part of each frame to judge. None: the whole frame.
        turns: entered for each call of the judge, see `Turns`.
        record: takes the events.
        parts: decides about the parts that the items show. It records rejects, reviews and INVALID spans of parts itself.
        on_outcome: called with each item and its outcome, before sinks. It is fast and never raises.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        sinks: Sequence[Sink],
        clock: Clock,
        card: Card | None = None,
        line: str = "",
        rules: Mapping[str, AlarmRule] | None = None,
        charts: DriftCharts | None = None,
        region: Region | None = None,
        turns: AbstractContextManager[None] | None = None,
        record: Record = lambda _body, _outcome: None,
        parts: PartDecisions | None = None,
        on_outcome: Callable[[Taken, Outcome], None] = lambda _taken, _outcome: None,
    ) -> None:
        self._judge = judge
        self._parts = parts
        self._on_outcome = on_outcome
        self._cost = JudgeCost()
        if parts is not None:
            parts.attach(self._unjudged)
        self._card = card
        self._sinks = list(sinks)
        self._broken: list[Sink] = []
        self._missed = 0
        self._clock = clock
        self._line = line
        self._rules = dict(rules or {})
        self._alarms = dict.fromkeys(self._rules, AlarmState())
        self._charts = charts
        self._region = region
        self._channels = ChannelShares(card)
        self._turns = turns if turns is not None else nullcontext()
        self._record = record
        self._requests: collections.deque[Callable[[], None]] = collections.deque()
        self._settling = threading.RLock()  # a change may ask for another one
        self._counters = Counters()
        self._buckets = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self._latency_s = 0.0
        self._span = Span()
        self._last_judged_s: float | None = None
        self._judging_since_s: float | None = None
        self._report = Reason.NONE

    @property
    def counters(self) -> Counters:
        """The totals so far."""
        return self._counters

    def status(self) -> JudgeState:
        """Return the state for status pages and metrics. It may be called from any thread."""
        return JudgeState(
            model=self._judge.model,
            counters=self._counters,
            latency=Latency(counts=tuple(self._buckets), sum_s=self._latency_s),
            alarms=dict(self._alarms),
            charts=self._charts.charts() if self._charts is not None else (),
            last_judged_s=self._last_judged_s,
            judging_since_s=self._judging_since_s,
            report=self._report,
            lost=sum(lost_by(sink) for sink in (*self._sinks, *self._broken)) + self._missed,
        )

    def request(self, change: Callable[[], None]) -> None:
        """Make a change in the judge's thread, between two items. At most a tenth of a second passes until then."""
        self._requests.append(change)

    def swap(self, judge: Judge, card: Card, charts: DriftCharts | None) -> None:
        """Judge with another model file from the next item on. Call it in the judge's thread, see `request`.

        Alarms stay as they are, and their windows are emptied, because scores of two files cannot be compared.
        """
        self._judge = judge
        self._card = card
        self._charts = charts
        self._channels = ChannelShares(card)
        self._cost.clear()
        self._alarms = {name: alarms.reloaded(state) for name, state in self._alarms.items()}

    def acknowledge(self, alarm: str, number: int, by: str) -> bool:
        """Acknowledge an alarm. Call it in the judge's thread, see `request`.

        Args:
            alarm: name of the alarm. ``drift`` starts the charts with an alarm again.
            number: number of the alarm that the person saw.
            by: person or program.

        Returns:
            True if the alarm was acknowledged now.
        """
        if alarm == "drift" and self._charts is not None:
            bodies = self._charts.acknowledge()
            for body in bodies:
                self._record(body, None)
            return bool(bodies)
        if alarm not in self._alarms:
            return False
        self._alarms[alarm], changes = alarms.acknowledge(self._alarms[alarm], number, self._clock.mono_s())
        for change in changes:
            self._record(
                AlarmChanged(alarm=alarm, change=change.kind, number=change.alarm, occurrence=change.occurrence, by=by),
                None,
            )
        return any(change.kind == "acked" for change in changes)

    def judge(self, taken: Taken) -> None:
        """Judge one item, count its outcome, and pass it to the sinks."""
        self.settle()
        part, too_late = taken.part, self._too_late(taken)
        if too_late:
            self._cost.forget()
            taken = taken._replace(item=Lost(taken.item.ref, Reason.LOST, too_late))
        outcome = self._decide(taken)
        outcome = msgspec.structs.replace(
            outcome,
            line=self._line,
            card=self._card,
            channel=outcome.channel or self._channels.channel(outcome.verdict),
            arrived_s=taken.arrived_s,
        )
        if self._parts is not None and part is not None:
            self._parts.judged(part, outcome, left_out=bool(too_late))
        self._on_outcome(taken, outcome)
        now_s = self._clock.mono_s()
        self._counters = count(self._counters, outcome.verdict)
        reason = outcome.verdict.reason
        self._report = reason if reason in SOURCE_REPORTS else Reason.NONE
        if outcome.verdict.status is not Status.INVALID:
            self._last_judged_s = now_s
        bodies = self._events(outcome, part, now_s)
        changed, more = self._alarms_after(outcome, now_s)
        if changed:
            outcome = msgspec.structs.replace(outcome, alarms=changed)
        if self._charts is not None:
            more += self._charts.step(outcome.verdict)
        for body in (*bodies, *more):
            self._record(body, outcome)
        for sink in tuple(self._sinks):
            self._put(sink, outcome)
        self._missed += len(self._broken)

    def settle(self) -> None:
        """Make the changes that other threads have asked for, in their order.

        The thread that judges calls it. When it has judged its last item, other threads may call it, too.
        """
        while self._requests:
            with self._settling:  # otherwise two threads could make two changes in the wrong order
                if not self._requests:
                    return
                try:
                    self._requests.popleft()()
                except Exception:
                    logger.exception("a change of the line failed; the line continues as before. Report this as a bug.")

    def drop(self, reason: DropReason, number: int) -> None:
        """Count items that were dropped."""
        if number:
            self._counters = count(self._counters, Dropped(reason, number))

    def _too_late(self, taken: Taken) -> str:
        """Return why an item is not worth judging. Empty if it is."""
        if self._parts is None or taken.part is None or isinstance(taken.item, Lost):
            return ""
        return self._parts.too_late(taken.part, self._cost.median_s)

    def _unjudged(self, lost: Lost, seq: int) -> Outcome:
        """Return the INVALID outcome of a part without a judged frame. It may be called from any thread."""
        outcome = decide(lost, self._judge, seq=seq, wall_s=self._clock.wall_s())
        return msgspec.structs.replace(outcome, line=self._line, card=self._card)

    def _events(self, outcome: Outcome, part: str | None, now_s: float) -> tuple[Body, ...]:
        """Return the events of an item. With parts, those about a part are left to `PartDecisions`."""
        if self._parts is None or part is None:
            self._span, bodies = events_of(self._span, outcome, now_s)
            return bodies
        if outcome.verdict.status is Status.INVALID:
            return ()
        # a frame ends the silence of its source
        self._span, bodies = events_of(self._span, outcome, now_s)
        return tuple(body for body in bodies if isinstance(body, InvalidEnded))

    def _decide(self, taken: Taken) -> Outcome:
        item = cropped(taken.item, self._region) if self._region is not None else taken.item
        if isinstance(item, Lost):  # nothing runs, so no turn is needed
            return decide(item, self._judge, seq=taken.seq, wall_s=self._clock.wall_s())
        began_s = self._clock.mono_s()
        with self._turns:
            self._judging_since_s = self._clock.mono_s()
            try:
                outcome = decide(item, self._judge, seq=taken.seq, wall_s=self._clock.wall_s())
            finally:
                self._judging_since_s = None
        now_s = self._clock.mono_s()
        self._cost.add(now_s - began_s)  # with the wait for a turn
        took_s = max(0.0, now_s - taken.arrived_s)
        self._buckets[bisect.bisect_left(LATENCY_BUCKETS_S, took_s)] += 1
        self._latency_s += took_s
        return outcome

    def _alarms_after(self, outcome: Outcome, now_s: float) -> tuple[tuple[LineAlarm, ...], tuple[Body, ...]]:
        """Return the changes of the alarms with an outcome, for its record and as events."""
        changed: list[LineAlarm] = []
        bodies: list[Body] = []
        for name, rule in self._rules.items():
            self._alarms[name], changes = alarms.step(self._alarms[name], outcome.verdict, now_s, rule)
            for change in changes:
                changed.append(LineAlarm(name=name, kind=change.kind, number=change.alarm))
                bodies.append(
                    AlarmChanged(
                        alarm=name,
                        change=change.kind,
                        number=change.alarm,
                        occurrence=change.occurrence,
                        text=alarm_text(rule) if change.kind in ("raised", "repeated") else "",
                    )
                )
        return tuple(changed), tuple(bodies)

    def _put(self, sink: Sink, outcome: Outcome) -> None:
        try:
            sink.put(outcome)
        except ConsumerGoneError:
            raise
        except Exception:
            # a broken sink must not end the line; the outcomes that it misses are counted
            logger.exception("a sink failed and is not used any more: %s", type(sink).__name__)
            self._sinks.remove(sink)
            self._broken.append(sink)


def lost_by(sink: Sink) -> int:
    """Return the number of outcomes that a sink has lost. A sink of a careless author counts as 0."""
    try:
        return int(sink.lost)
    except Exception:
        logger.debug("the number of lost outcomes of %s cannot be read", type(sink).__name__, exc_info=True)
        return 0


def alarm_text(rule: AlarmRule) -> str:
    """Return what a raised alarm means and what to do, for people.

    >>> alarm_text(AlarmRule(k=3, n=10))
    'At least 3 of the last 10 items were REJECT. Look at the rejected parts and at the process.'
    """
    window = f"At least {rule.k} of the last {rule.n} items" if rule.n > 1 else "The last item"
    verb = "were" if rule.n > 1 else "was"
    if rule.signal == "invalid":
        return f"{window} {verb} INVALID. Look at the camera or sensors, the light, and the detail of the last INVALID item."
    if rule.signal == "score":
        return f"{window} had a score above {rule.on:g}. Look at the parts and at the process."
    return f"{window} {verb} REJECT. Look at the rejected parts and at the process."
