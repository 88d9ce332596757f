"""One commit of the event store: what waits for it, and how it is written in one transaction."""

import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence

from msgspec import Struct

from andon.monitor import store_rows
from andon.monitor.event import Event, Evidence
from andon.monitor.retention import BATCH
from andon.monitor.store import Judged
from andon.monitor.store_outbox import Changes

logger = logging.getLogger(__name__)


class Put(Struct):
    """An event that waits for its commit."""

    number: int
    event: Event
    outputs: tuple[str, ...]


class Intent(Struct):
    """A reject signal that waits for its commit."""

    number: int
    event: Event
    stored: threading.Event


class EvidenceRow(Struct):
    """The row of a file of evidence that is on the disk."""

    number: int
    key: str
    place: int
    evidence: Evidence
    size: int


class Revival(Struct):
    """A dead event that is sent again."""

    number: int
    output: str
    seq: int
    answered: threading.Event
    found: bool = False


Item = Put | Intent | EvidenceRow | Revival


class Batch(Struct, kw_only=True):
    """The content of one commit."""

    items: Sequence[Item]
    judged: Sequence[Judged]
    changes: Mapping[str, Changes]
    """Reports of senders by output."""
    unlinked: Sequence[int]
    """Rows of evidence whose files were deleted before."""
    running_s: float
    kept: Mapping[str, str] = {}
    """Texts to keep, by name."""


class Written(Struct, kw_only=True):
    """The effect of one commit."""

    next_seq: int
    stored: int = 0
    unusable: int = 0
    """Number of events that cannot be encoded."""
    backlog: dict[str, int] = {}
    """Change of the number of undelivered events by output."""
    partly: set[str] = set()
    """Outputs with more delivered events than one transaction deletes."""

    def count(self, output: str, number: int) -> None:
        """Add to the change of an output."""
        self.backlog[output] = self.backlog.get(output, 0) + number


def write(connection: sqlite3.Connection, batch: Batch, next_seq: int) -> Written:
    """Write all of a batch or nothing.

    Raises:
        sqlite3.Error: nothing was written.
    """
    written = Written(next_seq=next_seq)
    with store_rows.transaction(connection):
        store_rows.delete_evidence(connection, batch.unlinked)
        for item in batch.items:
            _write_item(connection, item, written, batch.running_s)
        for output, changes in batch.changes.items():
            _write_changes(connection, output, changes, written)
        store_rows.insert_judged(connection, batch.judged, batch.running_s)
        store_rows.set_running(connection, batch.running_s)
        store_rows.keep(connection, batch.kept)
    return written


def _write_item(connection: sqlite3.Connection, item: Item, written: Written, running_s: float) -> None:
    try:
        if isinstance(item, Put):
            _write_event(connection, item, written, running_s)
        elif isinstance(item, Intent):
            store_rows.insert_intent(connection, item.event)
        elif isinstance(item, EvidenceRow):
            store_rows.insert_evidence(
                connection, item.key, item.place, item.evidence, size=item.size, running_s=running_s
            )
        else:
            item.found = store_rows.revive(connection, item.output, item.seq, written.next_seq)
            if item.found:
                written.next_seq += 1
                written.count(item.output, 1)
    except sqlite3.Error:
        raise
    except Exception:
        # one event that cannot be encoded must not block all others
        logger.exception("an event cannot be stored and is lost. Report this as a bug.")
        written.unusable += isinstance(item, Put)


def _write_event(connection: sqlite3.Connection, item: Put, written: Written, running_s: float) -> None:
    event = store_rows.with_number(item.event, written.next_seq)
    if store_rows.insert_event(connection, event, item.outputs, running_s):
        written.next_seq += 1
        written.stored += 1
        for output in item.outputs:
            written.count(output, 1)


def _write_changes(connection: sqlite3.Connection, output: str, changes: Changes, written: Written) -> None:
    for position, reason in changes.buried.items():
        written.count(output, -store_rows.bury(connection, output, position, reason))
    store_rows.set_refusals(connection, output, changes.refusals)
    if changes.up_to:
        deleted = store_rows.delete_delivered(connection, output, changes.up_to, BATCH)
        written.count(output, -deleted)
        if deleted == BATCH:
            written.partly.add(output)
