"""The reader thread of a source: it passes each item to the queues of all lines that use the source.

A source that fails in the middle is opened again if it is endless, after 0.25 s, then after longer and longer waits up to 2 s,
for ever. Other sources end with the failure.
"""

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from andon.foundation.errors import AndonError
from andon.monitor.counters import DropReason
from andon.monitor.frame_queue import FrameQueue
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, pause
from andon.sources.collection import Stream
from andon.sources.live.reconnect import Intake, LiveRule, jitter, lost
from andon.sources.source import Skip

logger = logging.getLogger(__name__)

FeedState = Literal["opening", "open", "retrying", "ended", "failed"]

_REOPEN = LiveRule(read_timeout_s=1.0, stale_after_s=2.0, warm_frames=0, first_retry_s=0.25, longest_retry_s=2.0)
"""The waits before a source is opened again, as for a lost camera."""


class Feed:
    """One opened source and the queues that get its items. Its thread is a daemon because a driver may never return.

    Args:
        open_stream: opens the source. It is called in the reader thread because it may take long.
        queues: each gets every item. A queue that blocks slows the source down for all of them.
        clock: for the time of arrival, and for waits.
        name: name of the source without secrets.
        limit: end after this number of items.
        reopen: open the source again after a failure.
        skips: for each queue, a function that tests whether to leave out an item because an earlier run of its line has judged
            it. None: no item is left out.
        stop: ends the source. It is set when the last of the lines leaves.
        on_state: called in the reader thread with each new state and its detail.
    """

    def __init__(
        self,
        open_stream: Callable[[], Stream],
        queues: Sequence[FrameQueue],
        *,
        clock: Clock,
        name: str,
        limit: int | None = None,
        reopen: bool = False,
        skips: Sequence[Skip | None] = (),
        stop: threading.Event,
        on_state: Callable[[FeedState, str], None] = lambda _state, _detail: None,
    ) -> None:
        self._open_stream = open_stream
        self._queues = queues
        self._clock = clock
        self._name = name
        self._limit = limit
        self._reopen = reopen
        self._skips = skips or [None] * len(queues)
        self._stop = stop
        self._lock = threading.Lock()
        self._lines = len(queues)
        self._on_state = on_state
        self._rng = random.Random()  # noqa: S311 - spreads retries, nothing secret
        self._stream: Stream | None = None
        self._ended_drops: dict[DropReason, int] = {}
        self._given = 0
        self._thread = threading.Thread(target=self._run, name=f"andon reader {name}", daemon=True)
        self.state: FeedState = "opening"
        self.restarts = 0
        """Number of times that the source was opened again."""
        self.refusal: BaseException | None = None
        """Error that prevented the source from being opened the first time."""
        self.failure = ""
        """Error after the source was opened. It stays after the source was opened again."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ended_within(self, seconds: float) -> bool:
        """Wait for the thread and return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def leave(self) -> bool:
        """End the use of the source by one line. Return True if this was the last line; the source is then stopped."""
        with self._lock:
            self._lines -= 1
            last = self._lines <= 0
        if last:
            self._stop.set()
        return last

    def source_drops(self) -> Mapping[DropReason, int]:
        """Return the number of items that the source itself has dropped so far, by reason."""
        return _sum(self._ended_drops, _drops_of(self._stream))

    @property
    def waiting(self) -> bool:
        """True if the source works and waits for a trigger, so that its silence is normal. See `LiveStream.waiting`."""
        return bool(getattr(self._stream, "waiting", False))

    def _run(self) -> None:
        intake = Intake()
        try:
            while True:
                given = self._given
                problem = self._one_stream()
                if problem is None or self.refusal is not None or not self._reopen or self._stop.is_set():
                    self._set("ended" if problem is None else "failed", self.failure)
                    return
                intake = Intake() if self._given > given else intake  # after some items the waits are short again
                intake, wait_s = lost(intake, _REOPEN)
                if self.state != "retrying":
                    logger.warning("%s: the source is opened again until it works", self._name)
                self._set("retrying", self.failure)
                pause(self._clock, jitter(wait_s, self._rng.random()), self._stop.is_set)
                if self._stop.is_set():
                    return
                self.restarts += 1
        finally:
            for queue in self._queues:
                queue.end()

    def _one_stream(self) -> BaseException | None:
        """Open the source and pass its items on until its end. Return the error of a failure."""
        first = self.restarts == 0 and self._given == 0
        opened = False
        try:
            self._stream = self._open_stream()
            opened = True
            if self._limit == 0:
                return None
            for item in self._stream:
                self._given += 1
                arrived_s = self._clock.mono_s()
                if self.state != "open":
                    self._set("open", "")
                accepted = [
                    _skipped(item, skip) or queue.give(item, arrived_s)
                    for queue, skip in zip(self._queues, self._skips, strict=True)
                ]
                if not any(accepted) or self._given == self._limit:
                    break
        except BaseException as error:  # noqa: BLE001 - a source may raise anything, also SystemExit; it is reported and logged
            mistake = isinstance(error, AndonError) or not opened
            if first and self._given == 0 and mistake and not (self._reopen and not isinstance(error, AndonError)):
                self.refusal = error
                return error
            self._failed(error)
            return error
        finally:
            self._close_stream()
        return None

    def _failed(self, error: BaseException) -> None:
        failure = f"{type(error).__name__}: {error}"
        if failure != self.failure:  # the same error may come each two seconds for months
            logger.error("%s: the source failed", self._name, exc_info=error)
        self.failure = failure
        if self.state == "retrying":
            return
        report = Lost(Ref(key=f"{self._name}#failed"), Reason.LOST, f"the source failed: {failure}")
        for queue in self._queues:
            queue.give(report, self._clock.mono_s(), report=True)

    def _set(self, state: FeedState, detail: str) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state, detail)

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        close = getattr(stream, "close", None)
        if close is not None:
            try:
                close()
            except Exception:
                logger.exception("%s: closing the source failed", self._name)
        self._ended_drops = dict(_sum(self._ended_drops, _drops_of(stream)))


def _skipped(item: Item | Lost, skip: Skip | None) -> bool:
    """Return whether to leave out an item of a line. A report without a time, such as a silence, is never left out."""
    return skip is not None and item.ref.time_s is not None and skip(item.ref)


def _drops_of(stream: Stream | None) -> Mapping[DropReason, int]:
    drops: Mapping[DropReason, int] | None = getattr(stream, "drops", None)
    return {"source": int(getattr(stream, "dropped", 0))} if drops is None else drops


def _sum(one: Mapping[DropReason, int], other: Mapping[DropReason, int]) -> Mapping[DropReason, int]:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in {**one, **other}}
