"""Make room when the disk is full or the store has reached its limit.

On a full disk SQLite cannot delete rows either. Therefore the order is: delete files of evidence, delete the ballast file, write
the log back, delete rows in small batches, and make the ballast again.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from andon.monitor import store_rows
from andon.monitor.retention import delete_file
from andon.monitor.store_folder import StoreFolder

logger = logging.getLogger(__name__)

BATCH = 50
"""Largest number of rows that one transaction deletes. The log of a larger one would not fit into the ballast."""
SPARE_PAGES = 64
"""Number of free pages below the limit of the store after room was made."""
_EVIDENCE_BATCH = 200


class Room(Struct, kw_only=True):
    """What was deleted to make room."""

    files: int = 0
    events: int = 0
    undelivered: dict[str, int] = {}
    """Number of dropped undelivered events by output."""
    unlinked: list[int] = []
    """Rows of deleted files. They are deleted later, because that needs space."""


def is_full(error: BaseException) -> bool:
    """Return whether SQLite reported a full disk or the limit of the store."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def make_room(
    connection: sqlite3.Connection,
    folder: StoreFolder,
    *,
    outputs: Sequence[str],
    ballast_bytes: int,
    unlinked: list[int],
) -> Room:
    """Delete the least valuable data until a commit should succeed. Never raise because of the disk.

    Args:
        connection: the only writing connection.
        folder: the state folder.
        outputs: names of the outputs whose undelivered events are kept as long as possible.
        ballast_bytes: size of the ballast.
        unlinked: rows of files that were deleted before.
    """
    room = Room(unlinked=unlinked)
    spare = max(ballast_bytes // 2, 1 << 16)
    with contextlib.suppress(sqlite3.Error, OSError):
        _delete_files(connection, folder, room, wanted_bytes=spare)
        if folder.free_bytes < spare:
            folder.drop_ballast()
            spare += ballast_bytes
        _write_log_back(connection)
        while folder.free_bytes < spare or store_rows.free_pages(connection) < SPARE_PAGES:
            if not _delete_rows(connection, folder, room, outputs):
                break
            connection.executescript(f"PRAGMA incremental_vacuum({4 * BATCH});")
            _write_log_back(connection)
    folder.make_ballast(ballast_bytes)  # only if enough space is left next to it
    if room.files or room.events or room.undelivered:
        logger.warning(
            "%s: no space left. Deleted %d files of evidence, %d delivered events, %d undelivered entries.",
            folder.path,
            room.files,
            room.events,
            sum(room.undelivered.values()),
        )
    return room


def _delete_files(connection: sqlite3.Connection, folder: StoreFolder, room: Room, *, wanted_bytes: int) -> None:
    while folder.free_bytes < wanted_bytes:
        left = store_rows.evidence_candidates(connection, len(room.unlinked) + _EVIDENCE_BATCH)
        rows = [(number, name) for number, (_, name) in left.items() if number not in set(room.unlinked)]
        if not rows:
            return
        for number, name in rows:
            if folder.free_bytes >= wanted_bytes:
                return
            delete_file(folder, name)
            room.unlinked.append(number)
            room.files += bool(name)


def _delete_rows(connection: sqlite3.Connection, folder: StoreFolder, room: Room, outputs: Sequence[str]) -> bool:
    taken = room.unlinked[:BATCH]
    files: list[str] = []
    dropped: dict[str, int] = {}
    with store_rows.transaction(connection):
        store_rows.delete_evidence(connection, taken)
        chosen = [one.number for one in store_rows.event_candidates(connection, outputs, BATCH)]
        store_rows.delete_events(connection, chosen)
        if not chosen:
            evidence = store_rows.evidence_candidates(connection, BATCH)
            store_rows.delete_evidence(connection, list(evidence))
            files = [name for _, name in evidence.values()]
        if not chosen and not files:
            dropped = _drop_waiting(connection, outputs)
    del room.unlinked[: len(taken)]
    for name in files:
        delete_file(folder, name)
    room.files += sum(map(bool, files))
    room.events += len(chosen)
    for output, number in dropped.items():
        room.undelivered[output] = room.undelivered.get(output, 0) + number
    return bool(taken or chosen or files or dropped)


def _drop_waiting(connection: sqlite3.Connection, outputs: Sequence[str]) -> dict[str, int]:
    """Drop undelivered events that are not alarms. Their events are deleted in the next batch."""
    dropped = {output: store_rows.drop_waiting(connection, output, BATCH, alarms=False) for output in outputs}
    return {output: number for output, number in dropped.items() if number}


def _write_log_back(connection: sqlite3.Connection) -> None:
    # a reader or a full disk can prevent it; the next batch tries again
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
