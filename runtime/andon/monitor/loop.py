"""The loop of one line: a reader thread, a bounded queue, one judge, sinks in order, a watchdog outside the reader.

Behaviour in each case:

* Finite source: the reader waits while four items are waiting. Nothing is lost, and memory stays constant.
* Live source: the newest item wins. Displaced items are counted as dropped ("busy"), and items that the source drops are
  counted by its reasons. With ``keep = "every"`` some items wait, and an item that finds no place is INVALID at once.
* Silence of a live source: INVALID (stale) for every `stale_after_s` without an item from the reader, even if the reader hangs.
* Silence of a live source that waits for a trigger, and has shown that it works, is normal.
* Silence of another source: the source itself detects it and gives `Lost` items for it. For sensors this is any silence, for a
  folder a file that never becomes readable. `Finished.stale` is then set if the run ends in a silence.
* Failure of the source: INVALID (lost) with the error as detail, a traceback in the log, and `Finished.failure`. A source that is
  opened again is reported as silent until it gives items.
* Stop: waiting items are judged for at most 0.4 s, and the rest is dropped ("stopped"). A reader that hangs is abandoned after
  1.2 s. A running call of the judge is completed.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from andon.monitor.alarms import AlarmRule, AlarmState
from andon.monitor.counters import Counters, DropReason
from andon.monitor.feed import Feed
from andon.monitor.frame_queue import LIVE_CAPACITY, FrameQueue, WhenFull
from andon.monitor.line_judge import LineJudge
from andon.monitor.part_decisions import PartDecisions
from andon.monitor.sink import ConsumerGoneError, Sink
from andon.runtime.items import Lost, Ref
from andon.runtime.judge import Judge
from andon.runtime.schema import Reason
from andon.sources.clock import Clock
from andon.sources.collection import Stream
from andon.sources.live.watchdog import Watchdog

logger = logging.getLogger(__name__)

Keep = Literal["newest", "every"]
"""Items of a live source that are judged if judging is slower than the source."""

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
RETRYING_STALE_S = 2.0
"""Longest time without an item of a source that is opened again, if the source has no limit of its own."""


class Finished(Struct, frozen=True, kw_only=True):
    """The result of a run of the monitor."""

    counters: Counters
    """Final counters. No items are waiting."""
    failure: str = ""
    """Error of the source. Empty without an error."""
    stale: bool = False
    """True if the last outcome was INVALID (stale). The source was then silent at the end of the run."""
    alarms: dict[str, AlarmState] = {}
    """Final states of the alarms by name."""
    stopped: bool = False
    """True if the run was stopped before the source ended."""
    hung: bool = False
    """True if the reader did not return from the source. Its thread is then still running."""
    consumer_gone: bool = False
    """True if the reader of the verdicts has closed the pipe."""


def queue_for(
    *, live: bool, keep: Keep = "newest", every_nth: int = 1, parts: PartDecisions | None = None
) -> FrameQueue:
    """Return the queue of a line for its kind of source. With parts, every accepted item of a live source is kept."""
    if not live:
        return FrameQueue(capacity=CAPACITY, when_full="wait", every_nth=every_nth, arrivals=parts)
    if parts is not None:
        return FrameQueue(capacity=parts.capacity, when_full="refuse", every_nth=every_nth, arrivals=parts)
    when_full: WhenFull = "displace" if keep == "newest" else "refuse"
    return FrameQueue(capacity=LIVE_CAPACITY, when_full=when_full, every_nth=every_nth)


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
    alarm: AlarmRule | None = None,
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
    queue = queue_for(live=live)
    feed = Feed(open_stream, [queue], clock=clock, name=name, limit=limit, stop=stop)
    line = LineJudge(judge, sinks=sinks, clock=clock, rules={} if alarm is None else {"rejects": alarm})
    feed.start()
    return follow(
        line, feed, queue, clock, stop, name=name, live=live, stale_after_s=stale_after_s, on_counters=on_counters
    )


def follow(
    line: LineJudge,
    feed: Feed,
    queue: FrameQueue,
    clock: Clock,
    stop: threading.Event,
    *,
    name: str,
    live: bool,
    stale_after_s: float,
    on_counters: Callable[[Counters], None] = lambda _counters: None,
) -> Finished:
    """Judge the items of a queue until its feed ends or the event is set. At the end, set the event.

    Args:
        line: judges the items.
        feed: the started reader of the source. Several lines may share it.
        queue: the queue of this line at the feed.
        clock: for ages.
        stop: ends the line within two seconds, in every state.
        name: see `monitor`.
        live: see `monitor`.
        stale_after_s: see `monitor`.
        on_counters: see `monitor`.

    Raises:
        AndonError: see `monitor`.
    """
    period_s = stale_after_s if live else RETRYING_STALE_S
    watchdog = Watchdog(period_s + WATCHDOG_MARGIN_S, clock.mono_s())
    account = _Account(line, feed, queue, on_counters)
    silences = 0
    stopped = consumer_gone = False
    try:
        while not stop.is_set() and not queue.exhausted():
            taken = queue.take(TICK_S)
            if taken is not None:
                watchdog.alive(clock.mono_s())
                line.judge(taken)
            else:
                line.settle()
                if feed.waiting:
                    watchdog.alive(clock.mono_s())
                silent = live or feed.state == "retrying"
                if silent and not queue.exhausted() and watchdog.due(clock.mono_s()):
                    silences += 1
                    silence = _silence(name, silences, period_s + WATCHDOG_MARGIN_S, clock.wall_s())
                    queue.give(silence, clock.mono_s(), report=True)
            account.observe()
        stopped = stop.is_set() or not queue.exhausted()  # a source ends by itself soon after a stop
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
        last = feed.leave()  # also after an error, so that the source ends with its last line
    hung = last and not feed.ended_within(LEAVE_S)
    if hung:
        logger.warning("%s: the reader does not return from the source; its thread is abandoned", name)
    if feed.refusal is not None:
        raise feed.refusal
    discrepancy = account.close()
    end = line.status()
    return Finished(
        counters=line.counters,
        failure=(feed.failure if feed.state == "failed" else "") or discrepancy,
        stale=end.stale,
        alarms=end.alarms,
        stopped=stopped,
        hung=hung,
        consumer_gone=consumer_gone,
    )


class _Account:
    """Counts what a source and a queue drop, so that every item has exactly one outcome."""

    def __init__(self, line: LineJudge, feed: Feed, queue: FrameQueue, on_counters: Callable[[Counters], None]) -> None:
        self._line = line
        self._feed = feed
        self._queue = queue
        self._on_counters = on_counters
        self._source_drops: dict[DropReason, int] = {}

    def observe(self) -> None:
        self._line.drop("busy", self._queue.displaced())
        self._line.drop("skipped", self._queue.skipped())
        for reason, number in self._feed.source_drops().items():
            known = self._source_drops.get(reason, 0)
            self._line.drop(reason, max(0, number - known))
            self._source_drops[reason] = max(number, known)
        self._on_counters(msgspec.structs.replace(self._line.counters, waiting=self._queue.waiting))

    def close(self) -> str:
        """Count the last drops. Return a description of wrong counts (a bug in this module), or an empty text."""
        end = self._queue.finish()
        self._line.drop("busy", end.displaced)
        self._line.drop("skipped", end.skipped)
        self._line.drop("stopped", end.left)
        self.observe()
        dropped = sum(self._source_drops.values())
        counters = self._line.counters
        if counters.grabbed != end.given + dropped:
            failure = (
                f"{end.given} items were read and {dropped} dropped by the source, but the counters are {counters}"
            )
            logger.error("the counters are wrong: %s", failure)
            return failure
        return ""


def _silence(name: str, number: int, seconds: float, wall_s: float) -> Lost:
    ref = Ref(key=f"{name}#stale{number}", group=name, time_s=wall_s)
    return Lost(ref, Reason.STALE, f"{name}: the reader has given nothing for {seconds:g} s")
