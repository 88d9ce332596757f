"""An outbox in memory, for tests and for programs that need no events after a restart."""

import bisect
import threading
from collections.abc import Iterable
from typing import NamedTuple

from andon.monitor.outbox import Waiting


class Dead(NamedTuple):
    """One event that is not tried again."""

    seq: int
    reason: str


class MemoryOutbox:
    """The undelivered events of one output, in memory. It keeps the rules of `andon.monitor.outbox.Outbox`."""

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = sorted(waiting)
        self._dead: list[Dead] = []

    def put(self, seq: int, key: str, payload: bytes) -> None:
        """Add an event with a higher number than all others."""
        with self._lock:
            self._waiting.append(Waiting(seq, key, payload, 0))

    def page(self, after: int, limit: int) -> list[Waiting]:
        """Return up to `limit` undelivered events with a number above `after`, oldest first."""
        with self._lock:
            begin = bisect.bisect_right(self._waiting, after, key=_seq)
            return self._waiting[begin : begin + limit]

    def done(self, up_to: int) -> None:
        """Remove all events up to this number."""
        with self._lock:
            del self._waiting[: bisect.bisect_right(self._waiting, up_to, key=_seq)]

    def refused(self, seq: int) -> None:
        """Count a refusal because of the content."""
        with self._lock:
            place = self._place(seq)
            if place is not None:
                one = self._waiting[place]
                self._waiting[place] = one._replace(refusals=one.refusals + 1)

    def bury(self, seq: int, reason: str) -> None:
        """Move an event to the dead ones."""
        with self._lock:
            place = self._place(seq)
            if place is not None:
                del self._waiting[place]
                self._dead.append(Dead(seq, reason))

    def backlog(self) -> int:
        """Return the number of undelivered events."""
        with self._lock:
            return len(self._waiting)

    @property
    def dead(self) -> tuple[Dead, ...]:
        """The dead events, in the order of their deaths."""
        with self._lock:
            return tuple(self._dead)

    def _place(self, seq: int) -> int | None:
        place = bisect.bisect_left(self._waiting, seq, key=_seq)
        return place if place < len(self._waiting) and self._waiting[place].seq == seq else None


def _seq(one: Waiting) -> int:
    return one.seq
