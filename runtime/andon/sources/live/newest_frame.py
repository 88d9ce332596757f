"""From the reader's thread to the consumer: one frame waits, and a newer one displaces it."""

import collections
import threading

from msgspec import Struct

from andon.sources.live.reconnect import DropReason
from andon.sources.pictures.decode import Frame


class LiveCounts(Struct, frozen=True, kw_only=True):
    """What became of the frames of a live source. Frames given = `grabbed` - `waiting` - `dropped`, at any moment."""

    grabbed: int
    """Frames that the camera has given."""
    waiting: int
    """1 where a frame waits to be asked for, else 0."""
    drops: dict[DropReason, int]
    """Frames grabbed and never given, by reason."""

    @property
    def dropped(self) -> int:
        """The sum of `drops`."""
        return sum(self.drops.values())


class FreshFrame(Struct, frozen=True):
    """A frame that no rule dropped."""

    frame: Frame
    number: int
    arrived_s: float
    """Monotonic."""
    wall_s: float


class NewestFrame:
    """Passes one frame from the reader to the consumer; the newest wins. Its counts add up under its lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: FreshFrame | None = None
        self.grabbed = 0
        self.drops: collections.Counter[DropReason] = collections.Counter()
        self.ended = False
        self.bug: Exception | None = None

    def offer(self, frame: Frame, why_not: DropReason | None, arrived_s: float, wall_s: float) -> None:
        """Count a frame, and let it wait unless a reason says why not."""
        with self.changed:
            self.grabbed += 1
            if why_not is not None:
                self.drops[why_not] += 1
                return
            if self.ended:
                self.drops["busy"] += 1
                return
            if self.waiting is not None:
                self.drops["busy"] += 1
            self.waiting = FreshFrame(frame, self.grabbed, arrived_s, wall_s)
            self.changed.notify_all()

    def take(self, timeout_s: float) -> FreshFrame | None:
        """Return the frame that waits; None where none came in time."""
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
        """Count a frame that was taken and then not used."""
        with self.changed:
            self.drops[reason] += 1

    def end(self, bug: Exception | None = None) -> None:
        """Take no more frames; a frame that waits is dropped."""
        with self.changed:
            self.ended = True
            self.bug = self.bug or bug
            if self.waiting is not None:
                self.waiting = None
                self.drops["busy"] += 1
            self.changed.notify_all()
