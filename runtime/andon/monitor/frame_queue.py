"""A bounded queue between reader and judge. A full queue blocks the reader or drops the oldest item."""

import collections
import threading
from typing import NamedTuple

from andon.runtime.items import Item, Lost

LOST_KEPT = 64
"""Upper limit of waiting `Lost` items with `newest_wins`.

They are kept because each must be reported, and judging one is fast.
"""


class Taken(NamedTuple):
    """One item and its number, which counts from 1 in the order of the source."""

    seq: int
    item: Item | Lost


class QueueEnd(NamedTuple):
    """The final counts.

    `given` is the sum of the taken items, `left`, `displaced`, and all numbers that `FrameQueue.displaced` returned before.
    """

    given: int
    displaced: int
    """Number of displaced items since the last call of `FrameQueue.displaced`."""
    left: int
    """Number of given items that were neither taken nor displaced."""


class FrameQueue:
    """A queue between two threads: one gives items, one takes them.

    Args:
        capacity: largest number of waiting items. Not used with `newest_wins`: then one item and some `Lost` may wait.
        newest_wins: displace waiting items by newer ones, for live sources, which cannot wait. Otherwise `give` blocks while
            the queue is full, and nothing is lost.
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
        """Add one item and return whether the queue accepts more. Block while the queue is full, unless the newest wins."""
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
        """Record that no more items will be given."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Taken | None:
        """Return the oldest waiting item. Return None after the timeout, or if there will be no more items."""
        with self._changed:
            if not self._waiting and not self._ended and timeout_s > 0:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    def displaced(self) -> int:
        """Return the number of items displaced by newer ones since the last call."""
        with self._changed:
            number, self._displaced = self._displaced, 0
            return number

    @property
    def waiting(self) -> int:
        """Number of items that were given and not yet taken."""
        return len(self._waiting)

    def exhausted(self) -> bool:
        """Return whether no item is waiting and no more will be given."""
        with self._changed:
            return self._ended and not self._waiting

    def close(self) -> None:
        """Refuse further items. An item that is being given now is counted as left, and `give` returns False."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self) -> QueueEnd:
        """Return the final counts. Items that a blocked reader gives later are not counted."""
        with self._changed:
            self._closed = self._finished = True
            end = QueueEnd(self._given, self._displaced, len(self._waiting) + self._refused)
            self._waiting.clear()
            self._changed.notify_all()
            return end

    def _displace(self, item: Item | Lost) -> None:
        alike = [taken for taken in self._waiting if isinstance(taken.item, Item) == isinstance(item, Item)]
        if len(alike) >= (1 if isinstance(item, Item) else LOST_KEPT):
            # find the oldest of the same type by identity, because items contain arrays, which cannot be compared
            index = next(place for place, taken in enumerate(self._waiting) if taken is alike[0])
            del self._waiting[index]
            self._displaced += 1
