"""From the reader to the judge: a bounded queue that either holds the reader up or lets the newest win, and counts every item."""

import collections
import threading
from typing import NamedTuple

from andon.runtime.items import Item, Lost

LOST_KEPT = 64
"""`Lost` that may wait where the newest wins: they cost nothing to judge, and must not be overlooked."""


class Taken(NamedTuple):
    """One item with its number, from 1 in the order of the source."""

    seq: int
    item: Item | Lost


class QueueEnd(NamedTuple):
    """The counts at the end: ``given = taken + left`` and all that was displaced, here and in each earlier answer of
    `FrameQueue.displaced`."""

    given: int
    displaced: int
    """Since `FrameQueue.displaced` was last asked."""
    left: int
    """Given and neither taken nor displaced."""


class FrameQueue:
    """Between two threads: one gives, one takes.

    Args:
        capacity: items that may wait; with `newest_wins` one item, and a bounded number of `Lost`.
        newest_wins: a live source cannot wait. Else `give` blocks while the queue is full, and nothing is lost.
    """

    def __init__(self, *, capacity: int, newest_wins: bool) -> None:
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._changed = threading.Condition()
        self._waiting: collections.deque[Taken] = collections.deque()
        self._given = 0
        self._displaced = 0
        self._refused = 0
        self._ended = False
        self._closed = False
        self._finished = False

    def give(self, item: Item | Lost) -> bool:
        """Add one item, and return whether more are wanted. Blocks while the queue is full, unless the newest wins."""
        with self._changed:
            while not self._newest_wins and len(self._waiting) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._finished:
                return False
            self._given += 1
            if self._closed:
                self._refused += 1
                return False
            if self._newest_wins:
                self._displace(item)
            self._waiting.append(Taken(self._given, item))
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """Note that nothing more will be given."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Taken | None:
        """Return the oldest item that waits; None where none came in time, or none will come."""
        with self._changed:
            if not self._waiting and not self._ended and timeout_s > 0:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    def displaced(self) -> int:
        """Return how many items newer ones have displaced since the last call."""
        with self._changed:
            number, self._displaced = self._displaced, 0
            return number

    @property
    def waiting(self) -> int:
        """How many items were given and not yet taken."""
        return len(self._waiting)

    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will come."""
        with self._changed:
            return self._ended and not self._waiting

    def close(self) -> None:
        """Refuse further items: one that is being given now is counted as left, and `give` returns False."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self) -> QueueEnd:
        """Return the final counts. What a reader that hangs gives later is not counted."""
        with self._changed:
            self._closed = self._finished = True
            end = QueueEnd(self._given, self._displaced, len(self._waiting) + self._refused)
            self._waiting.clear()
            self._changed.notify_all()
            return end

    def _displace(self, item: Item | Lost) -> None:
        alike = [taken for taken in self._waiting if isinstance(taken.item, Item) == isinstance(item, Item)]
        if len(alike) >= (1 if isinstance(item, Item) else LOST_KEPT):
            # by identity of the first that is alike: items hold arrays, which do not compare
            index = next(place for place, taken in enumerate(self._waiting) if taken is alike[0])
            del self._waiting[index]
            self._displaced += 1
