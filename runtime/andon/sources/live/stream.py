"""Live sources: a reader thread that reconnects, one waiting frame that newer ones replace, and a watchdog.

The rules are in `reconnect` and `watchdog`, as plain functions of numbers. The threads here only apply them. A lost camera is a
state, not an exception.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, pause
from andon.sources.live.newest_frame import FreshFrame, LiveCounts, NewestFrame
from andon.sources.live.reconnect import DropReason, Intake, LiveRule, jitter, lost, opened, received
from andon.sources.live.watchdog import Watchdog
from andon.sources.pictures.decode import Frame

logger = logging.getLogger(__name__)


class Capture(Protocol):
    """An opened camera or stream, used by one thread."""

    def read(self) -> Frame | None:
        """Return the next frame, BGR ``[H, W, 3]`` or as the bytes of a JPEG ``[1, n]``; None if the camera is lost.

        The array is not shared with later calls. Blocks for a bounded time.
        """
        ...

    def close(self) -> None:
        """Release the device. Never raises."""
        ...


Opener = Callable[[], Capture | None]
"""A function that opens the camera at each call, within a bounded time. It returns None if the camera cannot be opened now."""


class LiveStream:
    """An endless stream of a live source, which cannot wait for its consumer.

    Iterating yields fresh frames, and one `Lost` with reason STALE for every `stale_after_s` without a fresh frame. The stream
    ends within two seconds after the stop event is set or `close` is called. A lost camera does not end it. The reader thread
    starts with the first `next`.

    `counts` has a count for every frame; after the end no frame waits. `Lost` items are not in these counts, because no frame
    was grabbed for them.

    Args:
        name: name of the camera, without secrets, for keys, messages and logs.
        opener: opens the camera; called in the reader thread.
        convert: converts the result of the capture to a frame for the model file; called in the consumer's thread. It raises
            `DataError` for a damaged frame, which then becomes `Lost` (UNREADABLE).
        rule: the limits.
        clock: clock for ages and waits.
        stop: set by the owner of the process.
        rng: random numbers for the jitter of retries.
    """

    def __init__(
        self,
        name: str,
        opener: Opener,
        *,
        convert: Callable[[Frame], Frame],
        rule: LiveRule,
        clock: Clock,
        stop: threading.Event,
        rng: random.Random,
    ) -> None:
        self._name = name
        self._opener = opener
        self._convert = convert
        self._rule = rule
        self._clock = clock
        self._stop = stop
        self._rng = rng
        self._newest = NewestFrame()
        self._silences = 0
        self._watchdog: Watchdog | None = None
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> LiveCounts:
        """All counts, taken at one moment."""
        return self._newest.counts()

    @property
    def dropped(self) -> int:
        """Number of frames that were grabbed but never delivered."""
        return self.counts.dropped

    @property
    def drops(self) -> dict[DropReason, int]:
        """Number of frames that were grabbed but never delivered, by reason."""
        return self.counts.drops

    def __iter__(self) -> "LiveStream":
        return self

    def __next__(self) -> Item | Lost:
        if self._thread is None and not self._over():
            self._watchdog = Watchdog(self._rule.stale_after_s, self._clock.mono_s())
            self._thread = threading.Thread(target=self._read_for_ever, name=f"andon {self._name}", daemon=True)
            self._thread.start()
        while not self._over():
            fresh = self._newest.take(timeout_s=min(0.1, self._rule.stale_after_s / 4))
            now_s = self._clock.mono_s()
            if fresh is not None:
                if now_s - fresh.arrived_s <= self._rule.stale_after_s:
                    self._alive().alive(now_s)
                    return self._item(fresh)
                # both the consumer and the camera were slow, otherwise a newer frame would wait here
                self._newest.drop("stale")
            if self._alive().due(now_s):
                self._silences += 1
                ref = Ref(key=f"{self._name}#silence{self._silences}", group=self._name, time_s=self._clock.wall_s())
                return Lost(ref, Reason.STALE, f"{self._name}: no fresh frame for {self._rule.stale_after_s:g} s")
        self.close()
        if self._newest.bug is not None:
            raise self._newest.bug
        raise StopIteration

    def close(self) -> None:
        """End the stream.

        Wait at most a second for the reader. A reader that blocks in the driver ends with its own timeout.
        """
        self._newest.end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _over(self) -> bool:
        return self._newest.ended or self._stop.is_set()

    def _alive(self) -> Watchdog:
        assert self._watchdog is not None
        return self._watchdog

    def _item(self, fresh: FreshFrame) -> Item | Lost:
        ref = Ref(key=f"{self._name}#{fresh.number}", group=self._name, time_s=fresh.wall_s)
        try:
            return Item(ref, self._convert(fresh.frame))
        except DataError as error:
            return Lost(ref, Reason.UNREADABLE, str(error))

    def _read_for_ever(self) -> None:
        try:
            intake = Intake()
            while not self._over():
                intake = self._one_connection(intake)
                intake, wait_s = lost(intake, self._rule)
                if wait_s:
                    pause(self._clock, jitter(wait_s, self._rng.random()), self._over)
        except Exception as bug:  # noqa: BLE001 - raised again in the consumer's thread
            self._newest.end(bug)

    def _one_connection(self, intake: Intake) -> Intake:
        """Open the camera, read until it is lost, and close it."""
        first = intake.attempts == 0
        capture = self._opener()
        if capture is None:
            # once per loss, not once per attempt: attempts go on for months
            if first:
                logger.warning("%s: cannot be opened; trying again", self._name)
            return intake
        intake = opened(intake, self._rule)
        fresh = False
        try:
            while not self._over():
                began_s = self._clock.mono_s()
                frame = capture.read()
                arrived_s = self._clock.mono_s()
                if frame is None:
                    if fresh and not self._over():
                        logger.warning("%s: the connection is lost; reconnecting", self._name)
                    break
                intake, why_not = received(intake, arrived_s - began_s, self._rule)
                self._newest.offer(frame, why_not, arrived_s, self._clock.wall_s())
                if why_not is None and not fresh:
                    logger.info("%s: fresh frames arrive", self._name)
                    fresh = True
                elif why_not == "stale" and fresh:
                    logger.warning(
                        "%s: a frame took %.2f s; it and the next %d frames are dropped as too old. If the camera is this slow, "
                        "set --read-timeout-s to more than twice the time between frames",
                        self._name,
                        arrived_s - began_s,
                        self._rule.warm_frames,
                    )
                    fresh = False
        finally:
            capture.close()
        return intake
