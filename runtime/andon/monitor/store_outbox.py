"""The undelivered events of one output: what senders have reported, and what is committed.

Senders report deliveries and refusals from their own threads. The writer commits these reports together, a little later.
Until then they are kept here, and `StoredOutbox.page` takes them into account.
"""

import logging
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

from andon.foundation.printable import printable
from andon.monitor.outbox import Waiting
from andon.monitor.store import reading

logger = logging.getLogger(__name__)


class Changes(NamedTuple):
    """Changes of one outbox for one commit."""

    up_to: int
    """Events up to this number are delivered. 0: no change."""
    refusals: dict[int, int]
    buried: dict[int, str]


class OutputState:
    """Reports about one outbox that are not committed yet, and its size. The caller holds the lock of the writer."""

    def __init__(self, backlog: int, refusals: dict[int, int]) -> None:
        self.backlog = backlog
        self.done_up_to = 0
        self.done_dirty = False
        self.refusals = refusals
        self.refusals_dirty: set[int] = set()
        self.buried: dict[int, str] = {}
        self.lost = 0
        """Number of dropped events that no event has reported yet."""

    @property
    def dirty(self) -> bool:
        """True if there is something to commit."""
        return self.done_dirty or bool(self.refusals_dirty) or bool(self.buried)

    def changes(self) -> Changes:
        """Return what is to be committed."""
        up_to = self.done_up_to if self.done_dirty else 0
        refusals = {at: self.refusals[at] for at in self.refusals_dirty if at in self.refusals}
        return Changes(up_to, refusals, dict(self.buried))

    def committed(self, changes: Changes, *, partly: bool) -> None:
        """Forget changes that are committed now, except those that a sender has made in the meantime."""
        if changes.up_to == self.done_up_to and not partly:
            self.done_dirty = False
        self.refusals_dirty -= {at for at, number in changes.refusals.items() if self.refusals.get(at) == number}
        self.refusals_dirty &= set(self.refusals)  # delivered or buried in the meantime
        for at in changes.buried:
            del self.buried[at]


class StoredOutbox:
    """The undelivered events of one output. See `andon.monitor.outbox.Outbox`."""

    def __init__(self, output: str, state: OutputState, lock: threading.Condition, database: Path) -> None:
        self._output = output
        self._state = state
        self._lock = lock
        self._database = database

    def page(self, after: int, limit: int) -> list[Waiting]:
        """Return up to `limit` undelivered events with a number above `after`, oldest first. An empty list means none.

        If the database cannot be read at the moment, the list is empty and the error is logged.
        """
        with self._lock:  # before the database is read: what is committed in between is then missing in both
            after = max(after, self._state.done_up_to if self._state.done_dirty else 0)
            buried = set(self._state.buried)
            refusals = dict(self._state.refusals)
        try:
            rows = self._rows(after, limit + len(buried))
        except sqlite3.Error as error:
            logger.warning("the outbox of %s cannot be read: %s", printable(self._output), error)
            return []
        found = [
            Waiting(at, key, bytes(payload), refusals.get(at, kept))
            for at, key, payload, kept in rows
            if at not in buried
        ]
        return found[:limit]

    def done(self, up_to: int) -> None:
        """Record that all events up to this number are delivered."""
        with self._lock:
            if up_to > self._state.done_up_to:
                self._state.done_up_to = up_to
                self._state.done_dirty = True
                for at in [at for at in self._state.refusals if at <= up_to]:
                    del self._state.refusals[at]

    def refused(self, seq: int) -> None:
        """Count a refusal because of the content."""
        with self._lock:
            self._state.refusals[seq] = self._state.refusals.get(seq, 0) + 1
            self._state.refusals_dirty.add(seq)

    def bury(self, seq: int, reason: str) -> None:
        """Move an event to the dead ones."""
        with self._lock:
            self._state.buried[seq] = printable(reason)
            self._state.refusals.pop(seq, None)

    def backlog(self) -> int:
        """Return the number of undelivered events."""
        with self._lock:
            return max(0, self._state.backlog - len(self._state.buried))

    def _rows(self, after: int, limit: int) -> list[tuple[int, str, bytes, int]]:
        with reading(self._database) as connection:
            return connection.execute(
                "SELECT position, key, payload, refusals FROM outbox JOIN event USING(seq) "
                "WHERE output = ? AND position > ? ORDER BY position LIMIT ?",
                (self._output, after, limit),
            ).fetchall()
