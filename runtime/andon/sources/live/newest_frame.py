"""Pass frames from the reader thread to the consumer. At most one frame waits, and a newer one replaces it."""

import collections
import threading

from msgspec import Struct

from andon.sources.live.capture import Grabbed
from andon.sources.live.reconnect import DropReason


class LiveCounts(Struct, frozen=True, kw_only=True):
    """Counts of the frames of a live source. Frames delivered = `grabbed` - `waiting` - `dropped`, at any moment."""

    grabbed: int
    """Frames that the camera has delivered."""
    waiting: int
    """1 if a frame waits for the consumer, else 0."""
    drops: dict[DropReason, int]
    """Frames grabbed but never delivered to the consumer, by reason."""

    @property
    def dropped(self) -> int:
        """The sum of `drops`."""
        return sum(self.drops.values())


class FreshFrame(Struct, frozen=True):
    """A frame that no rule dropped."""

    grabbed: Grabbed
    number: int
    captured_s: float
    """Monotonic seconds, as far as the source's stamps show it, otherwise the time of arrival."""
    wall_s: float
    """Wall time of the capture."""
    damage: str = ""
    """The reason why the frame is INVALID, if it is damaged."""


class NewestFrame:
    """Holds the newest frame and passes it from the reader to the consumer.

    A lock keeps the frame and its counts consistent.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: FreshFrame | None = None
        self.grabbed = 0
        self.drops: collections.Counter[DropReason] = collections.Counter()
        self.ended = False
        self.bug: Exception | None = None

    def offer(
        self, grabbed: Grabbed, why_not: DropReason | None, captured_s: float, wall_s: float, *, damage: str = ""
    ) -> None:
        """Count a frame, and let it wait unless there is a reason to drop it. Frames that the capture skipped were busy."""
        with self.changed:
            self.grabbed += 1 + grabbed.skipped
            if grabbed.skipped:
                self.drops["busy"] += grabbed.skipped
            if why_not is not None:
                self.drops[why_not] += 1
                return
            if self.ended:
                self.drops["busy"] += 1
                return
            if self.waiting is not None:
                self.drops["busy"] += 1
            self.waiting = FreshFrame(grabbed, self.grabbed, captured_s, wall_s, damage)
            self.changed.notify_all()

    def take(self, timeout_s: float) -> FreshFrame | None:
        """Return the waiting frame, or None if no frame arrives within the timeout."""
        with self.changed:
            if self.waiting is None and not self.ended:
                self.changed.wait(timeout_s)
            fresh, self.waiting = self.waiting, None
            return fresh

    def counts(self) -> LiveCounts:
        """Return all counts, taken at one moment."""
        with self.changed:
            return LiveCounts(grabbed=self.grabbed, waiting=0 if self.waiting is None else 1, drops=dict(self.drops))

    def drop(self, reason: DropReason) -> None:
        """Count a frame that was taken but not used."""
        with self.changed:
            self.drops[reason] += 1

    def end(self, bug: Exception | None = None) -> None:
        """Accept no more frames, and drop a waiting one."""
        with self.changed:
            self.ended = True
            self.bug = self.bug or bug
            if self.waiting is not None:
                self.waiting = None
                self.drops["busy"] += 1
            self.changed.notify_all()
