"""Delete old events and evidence: by age in running time, by size, and by free space.

`missing_bytes` and `deletable` decide, and use no clock and no files. `retain` deletes.

Age is the running time of the monitor, not a difference of wall times. A jump of the wall clock deletes nothing.
"""

import contextlib
import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from andon.monitor import store_rows
from andon.monitor.store import EVIDENCE_NAME
from andon.monitor.store_folder import StoreFolder
from andon.monitor.store_rows import Candidate

BATCH = 200
"""Largest number of rows that one transaction deletes. A larger one would block the writer for too long."""


class RetentionRule(Struct, frozen=True, kw_only=True):
    """The limits of a store."""

    max_age_s: float
    """Largest age in running time."""
    max_bytes: int
    """Largest size of events and evidence together."""
    reserve_bytes: int
    """Free space that the disk should have."""


class Usage(Struct, frozen=True, kw_only=True):
    """The present size of a store."""

    running_s: float
    """Running time of the monitor up to now, over all starts."""
    stored_bytes: int
    """Size of events and evidence."""
    free_bytes: int
    """Free space of the disk."""


def missing_bytes(rule: RetentionRule, usage: Usage) -> int:
    """Return the number of bytes that must be deleted because of size or free space. 0 if none.

    >>> rule = RetentionRule(max_age_s=10, max_bytes=100, reserve_bytes=50)
    >>> missing_bytes(rule, Usage(running_s=0, stored_bytes=120, free_bytes=60))
    20
    >>> missing_bytes(rule, Usage(running_s=0, stored_bytes=70, free_bytes=10))
    40
    """
    return max(0, usage.stored_bytes - rule.max_bytes, rule.reserve_bytes - usage.free_bytes)


def deletable(candidates: Sequence[Candidate], rule: RetentionRule, usage: Usage) -> list[Candidate]:
    """Return the candidates to delete, in the order of deletion.

    Candidates that are too old are deleted, except those of open alarms. If bytes are still missing, the oldest follow, and those
    of open alarms last.
    """
    missing = missing_bytes(rule, usage)
    oldest_usable_s = usage.running_s - rule.max_age_s
    chosen: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.alarm_open, one.number)):
        too_old = one.running_s < oldest_usable_s and not one.alarm_open
        if too_old or missing > 0:
            chosen.append(one)
            missing -= one.bytes
    return chosen


def retain(
    connection: sqlite3.Connection,
    folder: StoreFolder,
    rule: RetentionRule,
    *,
    running_s: float,
    outputs: Sequence[str],
) -> bool:
    """Delete one batch of what is too much. Return True if another batch may be needed.

    The row of a file is deleted before the file. If the process dies in between, the file is an orphan and not a wrong reference.

    Raises:
        sqlite3.Error: the database cannot be changed.
    """
    if store_rows.delete_judged(connection, running_s - rule.max_age_s, BATCH) == BATCH:
        return True
    usage = measured(connection, folder, running_s)
    if missing_bytes(rule, usage) == 0 and store_rows.oldest_running_s(connection) >= running_s - rule.max_age_s:
        return False
    evidence = store_rows.evidence_candidates(connection, BATCH)
    chosen = deletable([one for one, _ in evidence.values()], rule, usage)
    if chosen:
        with store_rows.transaction(connection):
            store_rows.delete_evidence(connection, [one.number for one in chosen])
        for one in chosen:
            delete_file(folder, evidence[one.number][1])
    elif events := deletable(store_rows.event_candidates(connection, outputs, BATCH), rule, usage):
        with store_rows.transaction(connection):
            store_rows.delete_events(connection, [one.number for one in events])
    else:
        return False
    shrink(connection)
    return True


def measured(connection: sqlite3.Connection, folder: StoreFolder, running_s: float) -> Usage:
    """Return the present usage of a store."""
    stored = store_rows.database_bytes(connection) + store_rows.evidence_bytes(connection)
    return Usage(running_s=running_s, stored_bytes=stored, free_bytes=folder.free_bytes)


def shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    # `execute` would step the pragma once and free a single page
    connection.executescript(f"PRAGMA incremental_vacuum({BATCH}); PRAGMA wal_checkpoint(PASSIVE);")


def delete_file(folder: StoreFolder, name: str) -> None:
    """Delete a file of evidence. A failure leaves an orphan, which a later sweep removes."""
    if EVIDENCE_NAME.fullmatch(name):
        with contextlib.suppress(OSError):
            (folder.evidence / name).unlink(missing_ok=True)
