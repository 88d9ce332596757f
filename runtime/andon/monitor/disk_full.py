"""Make room when the disk is full or the store has reached its limit.

On a full disk SQLite cannot delete rows either. Therefore the order is: delete files of evidence, delete the ballast file, write
the log back, delete rows in small batches, and make the ballast again.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping

from msgspec import Struct

from andon.monitor import store_rows
from andon.monitor.retention import delete_file
from andon.monitor.store_folder import StoreFolder

BATCHES = (50, 5, 1)
"""Number of rows that one transaction deletes. A smaller one is tried if there is not enough space for its log."""
SPARE_PAGES = 64
"""Number of free pages below the limit of the store after room was made."""
_EVIDENCE_BATCH = 200


class Room(Struct, kw_only=True):
    """Numbers of deleted files and rows."""

    files: int = 0
    events: int = 0
    delivered: dict[str, int] = {}
    """Number of deleted rows of delivered events by output."""
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
    delivered: Mapping[str, int],
    ballast_bytes: int,
    unlinked: list[int],
    undelivered: bool,
) -> Room:
    """Delete the least valuable data until a commit should succeed. Never raise because of the disk.

    Args:
        connection: the only writing connection.
        folder: the state folder.
        delivered: outputs whose undelivered events are kept as long as possible, and up to which number each has delivered.
        ballast_bytes: size of the ballast.
        unlinked: rows of files that were deleted before.
        undelivered: if nothing else is left, also drop undelivered events that are not alarms.
    """
    room = Room(unlinked=unlinked)
    spare = max(ballast_bytes // 2, 1 << 16)
    with contextlib.suppress(sqlite3.Error, OSError):
        _delete_files(connection, folder, room, wanted_bytes=spare)
        if folder.free_bytes < spare:
            folder.drop_ballast()
            spare += ballast_bytes
        while _write_log_back(connection) and (
            folder.free_bytes < spare or store_rows.free_pages(connection) < SPARE_PAGES
        ):
            if not _delete_some(connection, folder, room, delivered, undelivered=undelivered):
                break
            connection.executescript(f"PRAGMA incremental_vacuum({BATCHES[0]});")
    if not folder.has_ballast:
        # even if nothing else fits: events then wait in memory, but without the ballast the disk would stay full
        _write_log_back(connection)
        folder.make_ballast(ballast_bytes, spare_bytes=0)
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


def _delete_some(
    connection: sqlite3.Connection, folder: StoreFolder, room: Room, delivered: Mapping[str, int], *, undelivered: bool
) -> bool:
    for batch in BATCHES:
        try:
            return _delete_rows(connection, folder, room, delivered, batch=batch, undelivered=undelivered)
        except sqlite3.Error as error:
            if not is_full(error) or batch == BATCHES[-1]:
                raise
        _write_log_back(connection)
    return False


def _delete_rows(
    connection: sqlite3.Connection,
    folder: StoreFolder,
    room: Room,
    delivered: Mapping[str, int],
    *,
    batch: int,
    undelivered: bool,
) -> bool:
    taken = room.unlinked[:batch]
    files: list[str] = []
    dropped: dict[str, int] = {}
    with store_rows.transaction(connection):
        store_rows.delete_evidence(connection, taken)
        done = {
            output: store_rows.delete_delivered(connection, output, up_to, batch) for output, up_to in delivered.items()
        }
        chosen = [one.number for one in store_rows.event_candidates(connection, tuple(delivered), batch)]
        store_rows.delete_events(connection, chosen)
        if not chosen:
            evidence = store_rows.evidence_candidates(connection, batch)
            store_rows.delete_evidence(connection, list(evidence))
            files = [name for _, name in evidence.values()]
        if undelivered and not chosen and not files and not any(done.values()):
            dropped = _drop_waiting(connection, delivered, batch)
    del room.unlinked[: len(taken)]
    for name in files:
        delete_file(folder, name)
    room.files += sum(map(bool, files))
    room.events += len(chosen)
    for output, number in done.items():
        room.delivered[output] = room.delivered.get(output, 0) + number
    for output, number in dropped.items():
        room.undelivered[output] = room.undelivered.get(output, 0) + number
    return bool(taken or chosen or files or dropped or any(done.values()))


def _drop_waiting(connection: sqlite3.Connection, outputs: Iterable[str], batch: int) -> dict[str, int]:
    """Drop undelivered events that are not alarms. Their events are deleted in the next batch."""
    dropped = {output: store_rows.drop_waiting(connection, output, batch, alarms=False) for output in outputs}
    return {output: number for output, number in dropped.items() if number}


def _write_log_back(connection: sqlite3.Connection) -> bool:
    """Write SQLite's log into the database and empty it. Return False if a reader or a full disk prevents this.

    While the log is not empty, deleting rows would make it longer, until the ballast is used up.
    """
    try:
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not busy
