"""From the reader to the judge: a bounded queue that either pushes back or lets the newest win, and accounts for all."""

import collections
import threading
from typing import NamedTuple

from andon.sources.items import Item, Lost

LOST_KEPT = 64
"""`Lost` that may wait where the newest wins: they cost nothing to judge, and are what must not be overlooked."""


class Taken(NamedTuple):
    """One item with its number, from 1 in the order of the source."""

    seq: int
    item: Item | Lost


class QueueEnd(NamedTuple):
    """The account at the end, each counted where it happens: ``given = taken + left`` and all that was displaced, here and
    whenever `FrameQueue.displaced` was asked before."""

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
        """Hand over one item; whether more are wanted. Blocks while full, unless the newest wins."""
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
        """Nothing more will be given."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Taken | None:
        """The oldest that waits; None where none came in time, or none will come."""
        with self._changed:
            if not self._waiting and not self._ended and timeout_s > 0:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._changed.notify_all()
            return taken

    def displaced(self) -> int:
        """Items displaced by newer ones since this was last asked."""
        with self._changed:
            number, self._displaced = self._displaced, 0
            return number

    @property
    def waiting(self) -> int:
        """Given and not yet taken."""
        return len(self._waiting)

    def exhausted(self) -> bool:
        """Nothing waits, and nothing will come."""
        with self._changed:
            return self._ended and not self._waiting

    def close(self) -> None:
        """Want no more: one that is just being given is counted as left, and its giver is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def finish(self) -> QueueEnd:
        """Close the account; whatever a reader that hangs gives later is nobody's."""
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
