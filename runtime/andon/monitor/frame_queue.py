"""A bounded queue between reader and judge. A full queue blocks the reader, drops its oldest item, or refuses the new one."""

import collections
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from andon.runtime.items import Item, Lost
from andon.runtime.schema import Reason

LIVE_CAPACITY = 16
"""Number of items of a live source that may wait if each of them must be judged. Sixteen 1080p frames are 100 MB."""
LOST_KEPT = 64
"""Upper limit of waiting `Lost` items in a queue that does not block.

They are kept because each must be reported, and judging one is fast.
"""

WhenFull = Literal["wait", "displace", "refuse"]
"""Reaction of a full queue to a new item.

``wait`` blocks the reader, for sources that can wait. ``displace`` drops the oldest item: the newest matters. ``refuse`` makes
the new item INVALID at once, because each part of a live source needs a decision.
"""


class Taken(NamedTuple):
    """One item and its number, which counts from 1 in the order of the source."""

    seq: int
    item: Item | Lost
    arrived_s: float = 0.0
    """Monotonic time at which the reader gave the item."""
    part: str | None = None
    """Name of the part that the item shows. Empty if it arrived without a trigger. None if it shows no part, see `Arrivals`."""


class Arrivals(Protocol):
    """Assigns the items of a queue to parts, when they arrive. Its methods are called in the reader thread."""

    def wait(self, item: Item | Lost, over: Callable[[], bool]) -> None:
        """Wait until there is room for the part of an item, or until `over` returns true. Called for sources that can wait."""
        ...

    def arrived(self, seq: int, item: Item | Lost, arrived_s: float) -> tuple[Item | Lost, str | None]:
        """Return what to judge in place of the item, and its part (see `Taken.part`). It must be fast."""
        ...


class QueueEnd(NamedTuple):
    """The final counts.

    `given` is the sum of the taken items, `left`, `displaced`, and all numbers that `FrameQueue.displaced` returned before.
    """

    given: int
    displaced: int
    """Number of displaced items since the last call of `FrameQueue.displaced`."""
    skipped: int
    """Number of skipped items since the last call of `FrameQueue.skipped`."""
    left: int
    """Number of given items that were neither taken nor displaced."""


class FrameQueue:
    """A queue between two threads: one gives items, one takes them.

    Args:
        capacity: largest number of waiting items. With ``displace`` it is one, and some `Lost` may wait too.
        when_full: see `WhenFull`.
        every_nth: accept the first of every n items. The others are counted as skipped. Each `Lost` item is accepted.
        arrivals: assigns items to parts.
    """

    def __init__(
        self, *, capacity: int, when_full: WhenFull, every_nth: int = 1, arrivals: Arrivals | None = None
    ) -> None:
        self._arrivals = arrivals
        self._capacity = 1 if when_full == "displace" else capacity
        self._when_full = when_full
        self._changed = threading.Condition()
        self._waiting: collections.deque[Taken] = collections.deque()
        self._given = 0
        self._displaced = 0
        self._every_nth = every_nth
        self._to_skip = 0
        self._skipped = 0
        self._refused = 0
        self._ended = False
        self._closed = False
        self._finished = False

    def give(self, item: Item | Lost, arrived_s: float = 0.0, *, report: bool = False) -> bool:
        """Add one item and return whether the queue accepts more. A full queue reacts as `when_full` states.

        Args:
            item: the item.
            arrived_s: see `Taken`.
            report: True if the item is a message about the source, which shows no part.
        """
        arrivals = None if report else self._arrivals
        if arrivals is not None and self._when_full == "wait":
            arrivals.wait(item, lambda: self._closed)
        with self._changed:
            if self._skips(item):
                return True
            while self._when_full == "wait" and len(self._waiting) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._finished:
                return False
            self._given += 1
            if self._closed:
                self._refused += 1
                return False
            part = None
            if arrivals is not None:
                item, part = arrivals.arrived(self._given, item, arrived_s)
            if self._when_full != "wait":
                item = self._make_room(item)
            self._waiting.append(Taken(self._given, item, arrived_s, part))
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

    def skipped(self) -> int:
        """Return the number of items skipped because of `every_nth` since the last call."""
        with self._changed:
            number, self._skipped = self._skipped, 0
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
            end = QueueEnd(self._given, self._displaced, self._skipped, len(self._waiting) + self._refused)
            self._displaced = self._skipped = 0  # they are counted once
            self._waiting.clear()
            self._changed.notify_all()
            return end

    def _skips(self, item: Item | Lost) -> bool:
        if self._every_nth == 1 or isinstance(item, Lost) or self._closed:
            return False
        if self._to_skip == 0:
            self._to_skip = self._every_nth - 1
            return False
        self._to_skip -= 1
        self._given += 1
        self._skipped += 1
        return True

    def _make_room(self, item: Item | Lost) -> Item | Lost:
        """Return what to store in place of a new item, after dropping what it displaces."""
        if self._when_full == "refuse" and isinstance(item, Item) and self._alike(item) >= self._capacity:
            item = Lost(
                item.ref, Reason.LOST, f"overrun: {self._capacity} items wait, so this one cannot be judged in time"
            )
        limit = LOST_KEPT if isinstance(item, Lost) else self._capacity
        if self._alike(item) >= limit:
            # find the oldest of the same type by identity, because items contain arrays, which cannot be compared
            place = next(
                place
                for place, taken in enumerate(self._waiting)
                if isinstance(taken.item, Item) == isinstance(item, Item)
            )
            del self._waiting[place]
            self._displaced += 1
        return item

    def _alike(self, item: Item | Lost) -> int:
        return sum(isinstance(taken.item, Item) == isinstance(item, Item) for taken in self._waiting)
