"""The loop of the monitor: a reader thread, a bounded queue, one judge, sinks in order, a watchdog outside the reader.

======================  ==============================================================================================
finite source           the reader waits while four items wait: nothing is lost, memory stays flat
live source             the newest wins: displaced ones are counted as dropped ("busy"), those the source drops by its reasons
silence (live)          INVALID (stale) for every `stale_after_s` in which the reader itself gives nothing, even if it hangs
silence (others)        the source knows what is silence: of sensors any, of a folder a file that is never read; it gives the
                        items that stand for it. `Finished.stale` says that the end came in such a silence
source fails            INVALID (lost) with the error as detail, a traceback in the log, and a `Finished.failure`
stop                    what waits is judged for at most 0.4 s, the rest is dropped ("stopped"); a reader that hangs is left
                        behind after 1.2 s. A call of the judge that is under way is waited for
======================  ==============================================================================================
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from andon.foundation.errors import AndonError
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
"""Items read ahead of the judge: enough to decode the next while one is judged; four 1080p frames are 25 MB."""
TICK_S = 0.1
"""How soon a stop or a silence is noticed while nothing comes."""
FINISH_S = 0.4
"""After a stop, for judging what waits."""
LEAVE_S = 1.2
"""After that, for the reader to end; live sources wait a second for their own reader."""
WATCHDOG_MARGIN_S = 0.5
"""A live source reports its own silence; the outside watchdog speaks only where it does not."""


class Finished(Struct, frozen=True, kw_only=True):
    """How the watch ended."""

    counters: Counters
    """Nothing waits any more."""
    failure: str = ""
    """What broke the source, where something did."""
    stale: bool = False
    """The last outcome was INVALID (stale): at the end, the source gave nothing that could be judged."""
    stopped: bool = False
    """It was stopped before the source ended."""
    hung: bool = False
    """The reader did not return from the source: its thread is left behind."""
    consumer_gone: bool = False
    """Nobody reads the verdicts any more."""


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
    on_counters: Callable[[Counters], None] = lambda _counters: None,
) -> Finished:
    """Judge what a source gives, in its order, until it ends or the event is set. At the end the event is set.

    Args:
        judge: see `judge_of`.
        open_stream: opens the source; called in the reader thread, as it may take its time. What a stream dropped itself is
            counted from its attribute `drops` (numbers by `DropReason` that only grow) or `dropped` (one such number).
        sinks: each takes every outcome, one sink after the other; not closed here.
        clock: for ages, and for the wall time in records.
        stop: ends it within two seconds, from whatever state.
        name: of the source, for the keys of silences and failures; without secrets.
        live: the source cannot wait.
        stale_after_s: of a live source.
        limit: end after this many items were read.
        on_counters: called after each outcome, and ten times a second while nothing comes; must be cheap.

    Raises:
        AndonError: the source cannot be opened as asked: the user's mistake.
    """
    queue = FrameQueue(capacity=CAPACITY, newest_wins=live)
    reader = _Reader(open_stream, queue, name=name, limit=limit)
    line = _Line(judge, sinks=sinks, clock=clock, reader=reader, queue=queue, on_counters=on_counters)
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
        logger.warning("%s: does not return; left behind", name)
    if reader.refusal is not None:
        raise reader.refusal
    discrepancy = line.close()
    return Finished(
        counters=line.counters,
        failure=reader.failure or discrepancy,
        stale=line.stale,
        stopped=stopped,
        hung=hung,
        consumer_gone=consumer_gone,
    )


class _Line:
    """The one owner of the counters: they change here, in one thread, one outcome at a time."""

    def __init__(
        self,
        judge: Judge,
        *,
        sinks: Sequence[Sink],
        clock: Clock,
        reader: "_Reader",
        queue: FrameQueue,
        on_counters: Callable[[Counters], None],
    ) -> None:
        self._judge = judge
        self._sinks = sinks
        self._clock = clock
        self._reader = reader
        self._queue = queue
        self._on_counters = on_counters
        self._source_drops: dict[DropReason, int] = {}
        self.counters = Counters()
        self.stale = False

    def judge(self, taken: Taken) -> None:
        outcome = decide(taken.item, self._judge, seq=taken.seq, wall_s=self._clock.wall_s())
        self.counters = count(self.counters, outcome.verdict)
        self.stale = outcome.verdict.reason is Reason.STALE
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
        """Observe for the last time, and return what is wrong with the counts, which would be a bug here."""
        end = self._queue.finish()
        self._drop("busy", end.displaced)
        self._drop("stopped", end.left)
        self.observe()
        dropped = sum(self._source_drops.values())
        if self.counters.grabbed != end.given + dropped:
            failure = f"{end.given} items were read and {dropped} dropped by the source, but {self.counters} counted"
            logger.error("the account does not add up: %s", failure)
            return failure
        return ""

    def _drop(self, reason: DropReason, number: int) -> None:
        if number:
            self.counters = count(self.counters, Dropped(reason, number))


class _Reader:
    """Puts the items of a stream into the queue, in a daemon thread, because a driver may never return."""

    def __init__(self, open_stream: Callable[[], Stream], queue: FrameQueue, *, name: str, limit: int | None) -> None:
        self._open_stream = open_stream
        self._queue = queue
        self._name = name
        self._limit = limit
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._run, name=f"andon reader {name}", daemon=True)
        self.refusal: Exception | None = None
        """The source could not be opened as asked."""
        self.failure = ""
        """What broke it later."""

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
            logger.exception("%s: could not be closed", self._name)


def _silence(name: str, number: int, seconds: float, wall_s: float) -> Lost:
    ref = Ref(key=f"{name}#stale{number}", group=name, time_s=wall_s)
    return Lost(ref, Reason.STALE, f"{name}: the reader has given nothing for {seconds:g} s")
