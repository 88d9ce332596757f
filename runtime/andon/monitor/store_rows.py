"""Change the tables of the event store. All functions work inside a transaction of the caller.

Only the thread of `StoreWriter` calls them.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from andon.monitor.event import AlarmChanged, Event, Evidence, RejectSignal, decode, encode
from andon.monitor.store import KEPT, PAGE_BYTES, Judged, stored_key

ROW_BYTES = 160
"""Approximate size of an event in the tables and indexes, without its payload."""


class Candidate(NamedTuple):
    """A file of evidence, or an event that all outputs have delivered."""

    number: int
    """Number of the row."""
    running_s: float
    """Running time of the monitor when it was stored."""
    bytes: int
    alarm_open: bool
    """True if it belongs to an alarm that is not acknowledged."""


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end of the block. Roll back after an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # after some errors, for example a full disk, SQLite has already rolled back
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def insert_event(connection: sqlite3.Connection, event: Event, outputs: Sequence[str], running_s: float) -> bool:
    """Insert an event that has its number, and its rows in the outbox. Return False if its key is already stored."""
    alarm, number, is_open = _alarm(event)
    inserted = connection.execute(
        "INSERT INTO event(seq, key, kind, line, wall_us, running_s, is_alarm, alarm, alarm_number, alarm_open, payload) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(key) DO NOTHING",
        (
            event.seq,
            event.key,
            event.kind,
            event.line,
            event.wall_us,
            running_s,
            event.is_alarm,
            alarm,
            number,
            is_open,
            encode(event),
        ),
    )
    if inserted.rowcount == 0:
        return False
    if alarm:
        _close_alarms(connection, event)
    if isinstance(event.body, RejectSignal):
        connection.execute("DELETE FROM intent WHERE key = ?", (event.key,))
    connection.executemany(
        "INSERT INTO outbox(output, position, seq) VALUES(?, ?, ?)", [(name, event.seq, event.seq) for name in outputs]
    )
    return True


def _alarm(event: Event) -> tuple[str, int, bool]:
    body = event.body
    if not isinstance(body, AlarmChanged):
        return "", 0, False
    return body.alarm, body.number, body.change in ("raised", "repeated")


def _close_alarms(connection: sqlite3.Connection, event: Event) -> None:
    """Mark alarms that cannot be acknowledged any more: an acknowledgement or a newer alarm of the name closes older ones."""
    body = event.body
    assert isinstance(body, AlarmChanged)
    last = {"raised": body.number - 1, "repeated": body.number - 1, "acked": body.number}.get(body.change)
    if last is not None:
        connection.execute(
            "UPDATE event SET alarm_open = 0 WHERE alarm_open = 1 AND line = ? AND alarm = ? AND alarm_number <= ?",
            (event.line, body.alarm, last),
        )


def insert_intent(connection: sqlite3.Connection, event: Event) -> None:
    """Store a reject signal before it fires. The event states the result ``unknown`` and the moment at which it is due."""
    assert isinstance(event.body, RejectSignal)
    connection.execute(
        "INSERT OR REPLACE INTO intent(key, part, boot, due_ns, payload) VALUES(?, ?, ?, ?, ?)",
        (event.key, event.body.part, event.boot, event.mono_ns, encode(event)),
    )


def intents(connection: sqlite3.Connection) -> list[Event]:
    """Return the reject signals without a result, in the order in which they were due."""
    rows = connection.execute("SELECT payload FROM intent ORDER BY boot, due_ns").fetchall()
    return [decode(payload) for (payload,) in rows]


def insert_evidence(
    connection: sqlite3.Connection, key: str, number: int, evidence: Evidence, *, size: int, running_s: float
) -> bool:
    """Insert the row of a file that is already on the disk. Return False if the event does not exist."""
    inserted = connection.execute(
        "INSERT INTO evidence(seq, number, name, moment, offset_s, dropped, bytes, running_s) "
        "SELECT seq, ?, ?, ?, ?, ?, ?, ? FROM event WHERE key = ? ON CONFLICT(seq, number) DO NOTHING",
        (number, evidence.name, evidence.moment, evidence.offset_s, evidence.dropped, size, running_s, key),
    )
    return inserted.rowcount == 1


def insert_judged(connection: sqlite3.Connection, items: Sequence[Judged], running_s: float) -> None:
    """Store items whose outcomes are durable with this transaction."""
    connection.executemany(
        "INSERT INTO judged(line, key, time_s, running_s) VALUES(?, ?, ?, ?) "
        "ON CONFLICT(line, key) DO UPDATE SET time_s = excluded.time_s, running_s = excluded.running_s",
        [(item.line, stored_key(item.key), item.time_s, running_s) for item in items],
    )


def delete_judged(connection: sqlite3.Connection, before_s: float, limit: int) -> int:
    """Delete up to `limit` judged items that were stored before a running time. Return their number."""
    return connection.execute(
        "DELETE FROM judged WHERE (line, key) IN (SELECT line, key FROM judged WHERE running_s < ? LIMIT ?)",
        (before_s, limit),
    ).rowcount


def set_running(connection: sqlite3.Connection, running_s: float) -> None:
    """Store the running time of the monitor over all starts."""
    connection.execute(
        "INSERT INTO meta(name, value) VALUES('running_s', ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        (running_s,),
    )


def keep(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    """Store named texts. Each replaces the text that the name had before."""
    connection.executemany(
        "INSERT INTO meta(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
        [(KEPT + name, value) for name, value in values.items()],
    )


def running_time(connection: sqlite3.Connection) -> float:
    """Return the running time of the monitor over all starts. It never decreases."""
    (kept,) = connection.execute(
        "SELECT max((SELECT coalesce(max(value), 0) FROM meta WHERE name = 'running_s'), "
        "(SELECT coalesce(max(running_s), 0) FROM (SELECT running_s FROM event ORDER BY seq DESC LIMIT 1)))"
    ).fetchone()
    return float(kept)


def next_number(connection: sqlite3.Connection) -> int:
    """Return the first number that was never used for an event or a position in an outbox."""
    (used,) = connection.execute(
        "SELECT max((SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'), "
        "(SELECT coalesce(max(seq), 0) FROM event), (SELECT coalesce(max(position), 0) FROM outbox))"
    ).fetchone()
    return int(used) + 1


def delete_delivered(connection: sqlite3.Connection, output: str, up_to: int, limit: int) -> int:
    """Delete the first rows of an outbox, and return their number."""
    return connection.execute(
        "DELETE FROM outbox WHERE output = ? AND position IN "
        "(SELECT position FROM outbox WHERE output = ? AND position <= ? ORDER BY position LIMIT ?)",
        (output, output, up_to, limit),
    ).rowcount


def set_refusals(connection: sqlite3.Connection, output: str, refusals: Mapping[int, int]) -> None:
    """Store the number of refusals by position."""
    connection.executemany(
        "UPDATE outbox SET refusals = ? WHERE output = ? AND position = ?",
        [(number, output, position) for position, number in refusals.items()],
    )


def bury(connection: sqlite3.Connection, output: str, position: int, reason: str) -> int:
    """Move a row of an outbox to the dead events. Return the number of moved rows."""
    connection.execute(
        "INSERT INTO dead(output, seq, reason) SELECT output, seq, ? FROM outbox WHERE output = ? AND position = ? "
        "ON CONFLICT(output, seq) DO UPDATE SET reason = excluded.reason",
        (reason, output, position),
    )
    return connection.execute("DELETE FROM outbox WHERE output = ? AND position = ?", (output, position)).rowcount


def revive(connection: sqlite3.Connection, output: str, seq: int, position: int) -> bool:
    """Put a dead event at the end of an outbox. Return False if there is no such event.

    The position is a new number. With its old one, the sender would already be past it.
    """
    if connection.execute("DELETE FROM dead WHERE output = ? AND seq = ?", (output, seq)).rowcount == 0:
        return False
    connection.execute("INSERT INTO outbox(output, position, seq) VALUES(?, ?, ?)", (output, position, seq))
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'event' AND seq < ?", (position, position))
    return True


def drop_waiting(connection: sqlite3.Connection, output: str, number: int, *, alarms: bool) -> int:
    """Drop the oldest rows of an outbox. Alarms are dropped last, and only if `alarms`. Return the number of dropped rows."""
    dropped = 0
    for is_alarm in (
        (0, 1) if alarms else (0,)
    ):  # two queries in the order of the key; one sorted query would read all rows each time
        dropped += connection.execute(
            "DELETE FROM outbox WHERE output = ? AND position IN (SELECT position FROM outbox JOIN event USING(seq) "
            "WHERE output = ? AND is_alarm = ? ORDER BY position LIMIT ?)",
            (output, output, is_alarm, number - dropped),
        ).rowcount
    return dropped


def backlogs(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of undelivered events by output."""
    return dict(connection.execute("SELECT output, count(*) FROM outbox GROUP BY output").fetchall())


def refusals(connection: sqlite3.Connection, output: str) -> dict[int, int]:
    """Return the number of refusals by position, where there are any."""
    return dict(
        connection.execute(
            "SELECT position, refusals FROM outbox WHERE output = ? AND refusals > 0", (output,)
        ).fetchall()
    )


def database_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the used pages."""
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * PAGE_BYTES


def free_pages(connection: sqlite3.Connection) -> int:
    """Return the number of pages that the store can still use before it meets its limit."""
    limit = _pragma(connection, "max_page_count")
    return limit - _pragma(connection, "page_count") + _pragma(connection, "freelist_count")


def evidence_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of all files of evidence."""
    (total,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM evidence").fetchone()
    return int(total)


def evidence_candidates(connection: sqlite3.Connection, limit: int) -> dict[int, tuple[Candidate, str]]:
    """Return evidence with its path, by number of the row. The oldest come first, and those of open alarms last."""
    found: dict[int, tuple[Candidate, str]] = {}
    for is_open in (0, 1):
        rows = connection.execute(
            "SELECT id, evidence.running_s, bytes, name FROM evidence JOIN event USING(seq) "
            "WHERE alarm_open = ? ORDER BY id LIMIT ?",
            (is_open, limit - len(found)),
        ).fetchall()
        found |= {row[0]: (Candidate(row[0], row[1], row[2], bool(is_open)), row[3]) for row in rows}
    return found


def event_candidates(connection: sqlite3.Connection, outputs: Sequence[str], limit: int) -> list[Candidate]:
    """Return events that have no files of evidence and that all these outputs have delivered. Those of open alarms come last."""
    marks = ",".join("?" * len(outputs))
    found: list[Candidate] = []
    for is_open in (0, 1):
        query = (
            "SELECT seq, running_s, length(payload) FROM event "  # noqa: S608 - question marks only
            "WHERE alarm_open = ? "
            "AND NOT EXISTS (SELECT 1 FROM evidence WHERE evidence.seq = event.seq AND evidence.name <> '') "
            f"AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = event.seq AND output IN ({marks})) "
            "ORDER BY seq LIMIT ?"
        )
        rows = connection.execute(query, (is_open, *outputs, limit - len(found))).fetchall()
        found += [Candidate(row[0], row[1], row[2] + ROW_BYTES, bool(is_open)) for row in rows]
    return found


def oldest_running_s(connection: sqlite3.Connection) -> float:
    """Return the running time at which the oldest event without an open alarm was stored. Infinity if there is none."""
    row = connection.execute("SELECT running_s FROM event WHERE alarm_open = 0 ORDER BY seq LIMIT 1").fetchone()
    return float(row[0]) if row else float("inf")


def delete_evidence(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Delete rows of evidence. The files are not touched."""
    connection.executemany("DELETE FROM evidence WHERE id = ?", [(number,) for number in numbers])


def delete_events(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Delete events with everything that belongs to them."""
    connection.executemany("DELETE FROM event WHERE seq = ?", [(number,) for number in numbers])


def with_number(event: Event, seq: int) -> Event:
    """Return the event with its number in the store."""
    return replace(event, seq=seq)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
