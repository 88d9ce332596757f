"""The event store: one SQLite file with the events of a monitor, what outputs have not delivered, and which items were judged.

`StoreWriter` is the only writer. `StoreReader` reads with short transactions on read-only connections, from any thread or
process.
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import replace

from andon.foundation.errors import ConfigError
from andon.monitor.event import Event, Evidence, decode
from andon.monitor.store_folder import DATABASE, EVIDENCE

VERSION = 1
"""Version of the tables, in SQLite's ``user_version``. A newer one is refused."""
APPLICATION = 0x616E646F
"""SQLite's ``application_id`` of the store, the letters ``ando``."""
PAGE_BYTES = 4096
KEPT = "kept:"
"""Beginning of the names of texts that `StoreWriter.keep` stores in the table ``meta``."""
EVIDENCE_NAME = re.compile(r"\d{4}/\d{2}/\d{2}/[0-9a-f]{32}-\d{1,4}\.(?:jpg|csv)")
"""Path of a file of evidence, below the evidence folder."""

_DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""Errors of SQLite that a damaged file causes. The first one means that a table is missing."""
_SQLITE = b"SQLite format 3\0"
_MARK_AT = 68
"""Place of the application_id in the header of an SQLite file."""
_HEADER_BYTES = _MARK_AT + 4
_BUSY_MS = 5000
_WAL_PAGES = 1000
_WAL_BYTES = 4 << 20

_TABLES = """
CREATE TABLE event(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    line TEXT NOT NULL,
    wall_us INTEGER NOT NULL,
    running_s REAL NOT NULL,            -- running time of the monitor over all starts, for the age
    is_alarm INTEGER NOT NULL,
    alarm TEXT NOT NULL DEFAULT '',     -- name and number of the alarm that this event raised
    alarm_number INTEGER NOT NULL DEFAULT 0,
    alarm_open INTEGER NOT NULL DEFAULT 0,
    payload BLOB NOT NULL);
CREATE INDEX event_by_kind ON event(kind, seq);
CREATE INDEX event_by_line ON event(line, seq);
CREATE INDEX event_open ON event(line, alarm) WHERE alarm_open = 1;
CREATE TABLE outbox(
    output TEXT NOT NULL,
    position INTEGER NOT NULL,          -- the seq, or a later number if the event is sent again
    seq INTEGER NOT NULL REFERENCES event(seq) ON DELETE CASCADE,
    refusals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(output, position)) WITHOUT ROWID;
CREATE INDEX outbox_by_seq ON outbox(seq);
CREATE TABLE dead(
    output TEXT NOT NULL,
    seq INTEGER NOT NULL REFERENCES event(seq) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    PRIMARY KEY(output, seq)) WITHOUT ROWID;
CREATE INDEX dead_by_seq ON dead(seq);
CREATE TABLE evidence(
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL REFERENCES event(seq) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,                 -- empty if there is no file
    moment TEXT NOT NULL,
    offset_s REAL NOT NULL,
    dropped TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    running_s REAL NOT NULL,
    UNIQUE(seq, number));
CREATE INDEX evidence_by_name ON evidence(name);
CREATE TABLE intent(
    key TEXT PRIMARY KEY,               -- key of the event with the result
    part TEXT NOT NULL,
    boot TEXT NOT NULL,
    due_ns INTEGER NOT NULL,            -- monotonic time of that boot
    payload BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE judged(
    line TEXT NOT NULL,
    key TEXT NOT NULL,
    time_s REAL,
    running_s REAL NOT NULL,
    PRIMARY KEY(line, key)) WITHOUT ROWID;
CREATE INDEX judged_by_age ON judged(running_s);
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the event store, the table ``[store]``."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="state folder for events and evidence, on a local disk; created if it is missing",
            extra={"path": "folder"},
        ),
    ]
    max_bytes: Annotated[
        int,
        Meta(ge=1 << 20, description="largest size of events and evidence together", extra={"unit": "bytes"}),
    ] = 10 << 30
    max_age_days: Annotated[
        float,
        Meta(
            gt=0,
            le=36500,
            description="largest age of events and evidence, in running time of the monitor",
            extra={"unit": "days"},
        ),
    ] = 90.0
    reserve_bytes: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="free space that the disk should keep; none is 5 % of the disk, at most 1 GiB",
            extra={"unit": "bytes"},
        ),
    ] = None
    ballast_bytes: Annotated[
        int,
        Meta(
            ge=1 << 18,
            le=64 << 20,
            description="size of a file that is deleted when the disk is full, so that old events can be deleted",
            extra={"unit": "bytes"},
        ),
    ] = 4 << 20
    max_waiting: Annotated[
        int,
        Meta(ge=1, description="largest number of undelivered events for each output; the oldest are dropped then"),
    ] = 1_000_000
    any_file_system: Annotated[
        bool, Meta(description="also accept a network or FUSE file system, where the store can be damaged")
    ] = False


class Judged(Struct, frozen=True, kw_only=True):
    """An item whose outcome is durable. The line does not judge it again after a restart."""

    line: str
    key: str
    """Key of the item."""
    time_s: float | None = None
    """Time of the item in its source. An item with the same key and another time is a new one."""


class DeadEvent(NamedTuple):
    """An event that an output does not try to deliver any more."""

    output: str
    seq: int
    reason: str
    event: Event


def open_database(path: Path, settings: Settings) -> sqlite3.Connection:
    """Open the database for writing, and create it if it is missing. The connection commits only where the caller does.

    Raises:
        ConfigError: the file is from a newer version, is not a store, or cannot be opened. It is then unchanged.
    """
    _require_ours(path)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
    except sqlite3.Error as error:
        raise ConfigError(cannot_open(path, error)) from error
    try:
        _configure(connection, path, settings)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(cannot_open(path, error)) from error
    except ConfigError:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, path: Path, settings: Settings) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before WAL: after it, this has no effect
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigError(
            f"{path}: expected a file system on which SQLite can use WAL, got journal mode {mode!r}. Use a local disk."
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    pages = settings.max_bytes // PAGE_BYTES
    # when the disk is full, the ballast must be large enough to write the log back into the database
    log_pages = settings.ballast_bytes // PAGE_BYTES // 4
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(16, min(_WAL_PAGES, log_pages, pages // 32))}")
    connection.execute(f"PRAGMA journal_size_limit = {min(_WAL_BYTES, settings.ballast_bytes // 2)}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        # a script commits an open transaction first, so the transaction is a part of the script
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
        )
    # the store meets this limit before the disk is full, and SQLite can then still delete
    connection.execute(f"PRAGMA max_page_count = {pages}")


def _require_ours(path: Path) -> None:
    """Refuse a file of a newer version or of another program, without changing it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with reading(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(cannot_open(path, error)) from error
    if application != APPLICATION and tables:
        raise ConfigError(f"{path}: expected an event store of andon, got another SQLite file. Choose another folder.")
    if version > VERSION:
        raise ConfigError(
            f"{path}: expected an event store of version {VERSION} or older, got version {version}. Use the version of andon "
            "that wrote it, or a newer one."
        )


def is_damaged_store(path: Path, error: BaseException | None) -> bool:
    """Return whether an error means that an event store of andon is damaged, and not that the path is wrong or the disk is full.

    Only a file whose first page still has the mark of andon counts. Another file in this place may be a mistake in the
    configuration.

    Args:
        path: the SQLite file.
        error: the cause of the `ConfigError` of opening it.
    """
    if isinstance(error, sqlite3.Error):
        damaged = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE
    else:
        damaged = isinstance(error, ValueError | TypeError)  # rows with content that andon never writes
    try:
        with open(path, "rb", opener=_no_link) as stream:
            header = stream.read(_HEADER_BYTES)
    except OSError:
        return False
    ours = header.startswith(_SQLITE) and header[_MARK_AT:] == APPLICATION.to_bytes(4)
    return damaged and ours


def cannot_open(path: Path, error: Exception) -> str:
    """Return the error message for a store that is damaged or cannot be read."""
    return (
        f"{path}: cannot be opened as an event store: {error}. Check the disk. If the file is damaged, move the folder away "
        "and start again."
    )


@contextlib.contextmanager
def damage_as_error(folder: Path) -> Iterator[None]:
    """Turn an error of SQLite in the block into one for the user.

    Raises:
        ConfigError: the store is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(cannot_open(folder / DATABASE, error)) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a read-only connection for one short transaction. A long one would let the write-ahead log grow.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    # not immutable=1: with that, a live file can look damaged
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_MS / 1000
    )
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


class StoreReader:
    """Read a store, also while a monitor writes to it. All methods may be called from any thread.

    Args:
        folder: the state folder.

    Raises:
        ConfigError: there is no store in the folder, or a newer version of andon wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self._database = folder / DATABASE
        self._evidence = folder / EVIDENCE
        if not self._database.is_file():
            raise ConfigError(f"{folder}: expected a folder with {DATABASE}, found none. Give the path of [store].")
        _require_ours(self._database)
        with reading(self._database) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            raise ConfigError(f"{folder}: the event store is being created. Try again in a moment.")

    def event(self, seq: int) -> Event | None:
        """Return an event with its evidence. None if it was deleted or never existed."""
        found = self._events("WHERE seq = ?", (seq,))
        return found[0] if found else None

    def recent(
        self,
        *,
        kind: str | None = None,
        line: str | None = None,
        before: int | None = None,
        without: Sequence[str] = (),
        limit: int = 50,
    ) -> list[Event]:
        """Return the newest events with their evidence, newest first.

        Args:
            kind: only this kind, for example ``reject``.
            line: only this line. Empty: only events about the process.
            before: only events with a smaller number, for the next page.
            without: leave out events of these kinds.
            limit: largest number of events, at most 1000.
        """
        wanted = {"kind = ?": kind, "line = ?": line, "seq < ?": before}
        given = {condition: value for condition, value in wanted.items() if value is not None}
        conditions = [*given, *(["kind NOT IN (" + ",".join("?" * len(without)) + ")"] if without else [])]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values = (*given.values(), *without, max(0, min(limit, 1000)))
        return self._events(f"{where} ORDER BY seq DESC LIMIT ?", values)

    def after(self, seq: int, *, kinds: Sequence[str], limit: int = 1000) -> list[Event]:
        """Return events of some kinds with a larger number than `seq`, oldest first, without their evidence."""
        marks = ",".join("?" * len(kinds))
        with reading(self._database) as connection:
            rows = connection.execute(
                f"SELECT seq, payload FROM event WHERE kind IN ({marks}) AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - marks
                (*kinds, seq, limit),
            ).fetchall()
        return [replace(decode(payload), seq=number) for number, payload in rows]

    def dead(self, output: str | None = None, limit: int = 100) -> list[DeadEvent]:
        """Return events that outputs have given up, oldest first."""
        condition, values = ("WHERE output = ?", (output,)) if output is not None else ("", ())
        with reading(self._database) as connection:
            rows = connection.execute(
                f"SELECT output, seq, reason, payload FROM dead JOIN event USING(seq) {condition} "  # noqa: S608 - fixed texts
                "ORDER BY seq LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [DeadEvent(name, seq, reason, decode(payload)) for name, seq, reason, payload in rows]

    def judged(self, line: str) -> "JudgedItems":
        """Return the items of a line whose outcomes are durable now. Close it at the end.

        Raises:
            ConfigError: the file is damaged.
        """
        return JudgedItems(self._database, line)

    def kept(self, name: str) -> str | None:
        """Return the text that `StoreWriter.keep` has stored under a name. None if there is none."""
        with reading(self._database) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (KEPT + name,)).fetchone()
        return None if row is None else str(row[0])

    def evidence_file(self, seq: int, number: int) -> bytes | None:
        """Return the content of a file of evidence. None if there is none.

        Only numbers come from outside. The path comes from the table, and a symbolic link is not followed.
        """
        with reading(self._database) as connection:
            row = connection.execute("SELECT name FROM evidence WHERE seq = ? AND number = ?", (seq, number)).fetchone()
        if row is None or not EVIDENCE_NAME.fullmatch(row[0]):
            return None
        path = self._evidence / row[0]
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self._evidence)):
            return None
        try:
            with open(path, "rb", opener=_no_link) as stream:
                return stream.read()
        except OSError:
            return None

    def known(self, names: Sequence[str]) -> set[str]:
        """Return the names of evidence files that belong to an event."""
        with reading(self._database) as connection:
            marks = ",".join("?" * len(names))
            rows = connection.execute(f"SELECT name FROM evidence WHERE name IN ({marks})", names).fetchall()  # noqa: S608 - marks
        return {name for (name,) in rows}

    def _events(self, rest: str, values: tuple[object, ...]) -> list[Event]:
        with reading(self._database) as connection:
            rows = connection.execute(f"SELECT seq, payload FROM event {rest}", values).fetchall()  # noqa: S608 - fixed texts
            return [_with_evidence(connection, seq, decode(payload)) for seq, payload in rows]


def stored_key(key: str) -> str:
    """Return the key of an item as the table ``judged`` holds it. SQLite refuses the half characters of wrong file names.

    >>> stored_key("a\\udcff.png")
    'a\\\\udcff.png'
    """
    return key.encode(errors="backslashreplace").decode()


class JudgedItems:
    """The items of a line whose outcomes were durable at one moment. Each is looked up on the disk: there may be millions.

    Args:
        database: the SQLite file.
        line: name of the line.

    Raises:
        ConfigError: the file is damaged.
    """

    def __init__(self, database: Path, line: str) -> None:
        self._line = line
        # each query is a transaction of its own, so that the write-ahead log does not grow
        self._connection = sqlite3.connect(
            f"{database.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_MS / 1000,
        )
        try:
            self._number, self._last_s = self._connection.execute(
                "SELECT count(*), coalesce(max(running_s), 0) FROM judged WHERE line = ?", (line,)
            ).fetchone()
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(cannot_open(database, error)) from error

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self._number)

    def has(self, key: str, time_s: float | None) -> bool:
        """Return whether this item, with this time in its source, was judged. Call it from one thread at a time."""
        found = self._connection.execute(
            "SELECT time_s FROM judged WHERE line = ? AND key = ? AND running_s <= ?",
            (self._line, stored_key(key), self._last_s),
        ).fetchall()  # all, so that the query ends
        return bool(found) and found[0][0] == time_s

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _with_evidence(connection: sqlite3.Connection, seq: int, event: Event) -> Event:
    rows = connection.execute(
        "SELECT name, moment, offset_s, dropped FROM evidence WHERE seq = ? ORDER BY number", (seq,)
    ).fetchall()
    if not rows:
        return event
    found = tuple(Evidence(name=name, moment=moment, offset_s=at, dropped=why) for name, moment, at, why in rows)
    return replace(event, evidence=event.evidence + found)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))
