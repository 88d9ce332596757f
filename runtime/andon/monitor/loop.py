"""The loop of the monitor: a reader thread, a bounded queue, one judge, sinks in order, a watchdog outside the reader.

Behaviour in each case:

* Finite source: the reader waits while four items are waiting. Nothing is lost, and memory stays constant.
* Live source: the newest item wins. Displaced items are counted as dropped ("busy"), and items that the source drops are
  counted by its reasons.
* Silence of a live source: INVALID (stale) for every `stale_after_s` without an item from the reader, even if the reader hangs.
* Silence of another source: the source itself detects it and gives `Lost` items for it. For sensors this is any silence, for a
  folder a file that never becomes readable. `Finished.stale` is then set if the run ends in a silence.
* Failure of the source: INVALID (lost) with the error as detail, a traceback in the log, and `Finished.failure`.
* Stop: waiting items are judged for at most 0.4 s, and the rest is dropped ("stopped"). A reader that hangs is abandoned after
  1.2 s. A running call of the judge is completed.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from andon.foundation.errors import AndonError
from andon.monitor import alarms
from andon.monitor.counters import Counters, Dropped, DropReason, count
from andon.monitor.frame_queue import FrameQueue, Taken
from andon.monitor.judging import decide
from andon.monitor.sink import ConsumerGoneError, Sink
from andon.runtime.items import Lost, Ref
from andon.runtime.judge import Judge
from andon.runtime.schema import Reason
from andon.sources.clock import Clock
from andon.sources.collection import Stream
from andon.sources.live.watchdog import Watchdog

logger = logging.getLogger(__name__)

CAPACITY = 4
"""Number of items to read ahead, so that items are decoded while another is judged. Four 1080p frames are 25 MB."""
TICK_S = 0.1
"""Longest delay until a stop or a silence is detected while there are no items."""
FINISH_S = 0.4
"""Time after a stop for judging the waiting items."""
LEAVE_S = 1.2
"""Time after `FINISH_S` for the reader thread to end. Live sources wait one second for their own reader."""
WATCHDOG_MARGIN_S = 0.5
"""Additional delay of the watchdog. A live source reports its silence itself. The watchdog acts only if the source does not."""


class Finished(Struct, frozen=True, kw_only=True):
    """The result of a run of the monitor."""

    counters: Counters
    """Final counters. No items are waiting."""
    failure: str = ""
    """Error of the source. Empty without an error."""
    stale: bool = False
    """True if the last outcome was INVALID (stale). The source was then silent at the end of the run."""
    alarms: int = 0
    """Number of alarms."""
    alarm_active: bool = False
    """True if the last alarm was not cleared."""
    stopped: bool = False
    """True if the run was stopped before the source ended."""
    hung: bool = False
    """True if the reader did not return from the source. Its thread is then still running."""
    consumer_gone: bool = False
    """True if the reader of the verdicts has closed the pipe."""


def monitor(
    judge: Judge,
    open_stream: Callable[[], Stream],
    sinks: Sequence[Sink],
    clock: Clock,
    stop: threading.Event,
    *,
    name: str = "source",
    live: bool = False,
    stale_after_s: float = 2.0,
    limit: int | None = None,
    alarm: alarms.AlarmRule | None = None,
    on_counters: Callable[[Counters], None] = lambda _counters: None,
) -> Finished:
    """Judge the items of a source in order until the source ends or the event is set. At the end, set the event.

    Args:
        judge: see `judge_of`.
        open_stream: opens the source. It is called in the reader thread because it may take long. Items that the stream itself
            dropped are counted from its attribute `drops` (increasing numbers by `DropReason`) or `dropped` (one number).
        sinks: each sink gets every outcome, one sink after the other. The caller closes them.
        clock: for ages, and for the wall time in records.
        stop: ends the run within two seconds, in every state.
        name: name of the source without secrets, for the keys of silences and failures.
        live: True if the source cannot wait.
        stale_after_s: longest normal time without an item of a live source.
        limit: end after this number of items.
        alarm: rule of the line's alarm. Sinks get each change with the outcome that caused it.
        on_counters: called after each outcome, and ten times per second while there are no items. It must be fast.

    Returns:
        The final counters and the reason for the end.

    Raises:
        AndonError: the source cannot be opened because of a mistake of the user.
    """
    queue = FrameQueue(capacity=CAPACITY, newest_wins=live)
    reader = _Reader(open_stream, queue, name=name, limit=limit)
    line = _Line(judge, sinks=sinks, clock=clock, reader=reader, queue=queue, alarm=alarm, on_counters=on_counters)
    watchdog = Watchdog(stale_after_s + WATCHDOG_MARGIN_S, clock.mono_s())
    silences = 0
    stopped = consumer_gone = False
    reader.start()
    try:
        while not stop.is_set() and not queue.exhausted():
            taken = queue.take(TICK_S)
            if taken is not None:
                watchdog.alive(clock.mono_s())
                line.judge(taken)
            elif live and not queue.exhausted() and watchdog.due(clock.mono_s()):
                silences += 1
                queue.give(_silence(name, silences, stale_after_s + WATCHDOG_MARGIN_S, clock.wall_s()))
            line.observe()
        stopped = not queue.exhausted()
        queue.close()
        until_s = clock.mono_s() + FINISH_S
        while clock.mono_s() < until_s:
            taken = queue.take(0.0)
            if taken is None:
                break
            line.judge(taken)
    except ConsumerGoneError:
        consumer_gone = True
    finally:
        stop.set()
        queue.close()
    hung = not reader.ended_within(LEAVE_S)
    if hung:
        logger.warning("%s: the reader does not return from the source; its thread is abandoned", name)
    if reader.refusal is not None:
        raise reader.refusal
    discrepancy = line.close()
    return Finished(
        counters=line.counters,
        failure=reader.failure or discrepancy,
        stale=line.stale,
        alarms=line.alarm.alarm,
        alarm_active=line.alarm.active,
        stopped=stopped,
        hung=hung,
        consumer_gone=consumer_gone,
    )


class _Line:
    """Judges the items and counts the outcomes. The counters change only here, in one thread, one outcome at a time."""

    def __init__(
        self,
        judge: Judge,
        *,
        sinks: Sequence[Sink],
        clock: Clock,
        reader: "_Reader",
        queue: FrameQueue,
        alarm: alarms.AlarmRule | None,
        on_counters: Callable[[Counters], None],
    ) -> None:
        self._judge = judge
        self._sinks = sinks
        self._clock = clock
        self._reader = reader
        self._queue = queue
        self._alarm = alarm
        self._on_counters = on_counters
        self._source_drops: dict[DropReason, int] = {}
        self.counters = Counters()
        self.stale = False
        self.alarm = alarms.AlarmState()

    def judge(self, taken: Taken) -> None:
        outcome = decide(taken.item, self._judge, seq=taken.seq, wall_s=self._clock.wall_s())
        self.counters = count(self.counters, outcome.verdict)
        self.stale = outcome.verdict.reason is Reason.STALE
        if self._alarm is not None:
            self.alarm, changes = alarms.step(self.alarm, outcome.verdict, self._clock.mono_s(), self._alarm)
            if changes:
                outcome = msgspec.structs.replace(outcome, alarm=changes[0])
        for sink in self._sinks:
            sink.put(outcome)

    def observe(self) -> None:
        self._drop("busy", self._queue.displaced())
        for reason, number in self._reader.source_drops().items():
            known = self._source_drops.get(reason, 0)
            self._drop(reason, max(0, number - known))
            self._source_drops[reason] = max(number, known)
        self._on_counters(msgspec.structs.replace(self.counters, waiting=self._queue.waiting))

    def close(self) -> str:
        """Count the last drops. Return a description of wrong counts (a bug in this module), or an empty text."""
        end = self._queue.finish()
        self._drop("busy", end.displaced)
        self._drop("stopped", end.left)
        self.observe()
        dropped = sum(self._source_drops.values())
        if self.counters.grabbed != end.given + dropped:
            failure = (
                f"{end.given} items were read and {dropped} dropped by the source, but the counters are {self.counters}"
            )
            logger.error("the counters are wrong: %s", failure)
            return failure
        return ""

    def _drop(self, reason: DropReason, number: int) -> None:
        if number:
            self.counters = count(self.counters, Dropped(reason, number))


class _Reader:
    """A daemon thread that puts the items of a stream into the queue. It is a daemon because a driver may never return."""

    def __init__(self, open_stream: Callable[[], Stream], queue: FrameQueue, *, name: str, limit: int | None) -> None:
        self._open_stream = open_stream
        self._queue = queue
        self._name = name
        self._limit = limit
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"andon reader {name}", daemon=True)
        self.refusal: Exception | None = None
        """Error that prevented the source from being opened."""
        self.failure = ""
        """Error after the source was opened."""

    def start(self) -> None:
        self._thread.start()

    def ended_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def source_drops(self) -> Mapping[DropReason, int]:
        drops: Mapping[DropReason, int] | None = getattr(self._stream, "drops", None)
        return {"source": int(getattr(self._stream, "dropped", 0))} if drops is None else drops

    def _run(self) -> None:
        given = 0
        try:
            self._stream = self._open_stream()
            if self._limit == 0:
                return
            for item in self._stream:
                given += 1
                if not self._queue.give(item) or given == self._limit:
                    break
        except Exception as error:
            if given == 0 and (isinstance(error, AndonError) or self._stream is None):
                self.refusal = error
                return
            logger.exception("%s: the source failed", self._name)
            self.failure = f"{type(error).__name__}: {error}"
            self._queue.give(Lost(Ref(key=f"{self._name}#failed"), Reason.LOST, f"the source failed: {self.failure}"))
        finally:
            self._close_stream()
            self._queue.end()

    def _close_stream(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:
            logger.exception("%s: closing the source failed", self._name)


def _silence(name: str, number: int, seconds: float, wall_s: float) -> Lost:
    ref = Ref(key=f"{name}#stale{number}", group=name, time_s=wall_s)
    return Lost(ref, Reason.STALE, f"{name}: the reader has given nothing for {seconds:g} s")
