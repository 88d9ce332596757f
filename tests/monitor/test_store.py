"""The database of the event store: how it is opened, and what readers see."""

import os
import sqlite3
from pathlib import Path

import pytest
from tests.monitor.some_event import number_of, numbered, some_event

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.event import Event, Evidence
from andon.monitor.store import VERSION, Settings, StoreReader, open_database, reading
from andon.monitor.store_folder import DATABASE
from andon.monitor.store_rows import database_bytes
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock


def _written(folder: Path, *events: Event) -> StoreReader:
    writer = StoreWriter(Settings(path=str(folder)), SystemClock())
    for event in events:
        writer.put(event)
    writer.close()
    return StoreReader(folder)


def test_the_settings_of_the_table_are_checked() -> None:
    assert from_table(Settings, {"path": "state"}, at="store").max_age_days == 90

    with pytest.raises(ConfigError, match=r"line\.toml: store\.max_age_days: expected a number > 0"):
        from_table(Settings, {"path": "state", "max_age_days": 0}, at="line.toml: store")


def test_the_database_has_the_settings_that_durability_needs(tmp_path: Path) -> None:
    connection = open_database(tmp_path / DATABASE, Settings(path=str(tmp_path)))

    def pragma(name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("auto_vacuum") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("busy_timeout") == 5000
    assert pragma("journal_size_limit") == 2 << 20  # half of the ballast
    assert pragma("user_version") == VERSION
    assert database_bytes(connection) < 1 << 20
    connection.close()


def test_a_store_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path) -> None:
    _written(tmp_path, some_event())
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = (tmp_path / DATABASE).read_bytes()

    with pytest.raises(ConfigError, match=rf"expected an event store of version {VERSION} or older, got version 2"):
        StoreWriter(Settings(path=str(tmp_path)), SystemClock())
    with pytest.raises(ConfigError, match="got version 2"):
        StoreReader(tmp_path)

    assert (tmp_path / DATABASE).read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database" * 100, b"\0" * 5000])
def test_another_file_is_refused_and_unchanged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)

    with pytest.raises(ConfigError, match="cannot be opened as an event store"):
        StoreWriter(Settings(path=str(tmp_path)), SystemClock())

    assert (tmp_path / DATABASE).read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        connection.execute("CREATE TABLE bill(amount)")
    connection.close()

    with pytest.raises(ConfigError, match="got another SQLite file"):
        StoreWriter(Settings(path=str(tmp_path)), SystemClock())


def test_a_failed_opening_leaves_the_folder_unlocked(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError):
        StoreWriter(Settings(path=str(tmp_path)), SystemClock())
    (tmp_path / DATABASE).unlink()

    StoreWriter(Settings(path=str(tmp_path)), SystemClock()).close()


def test_an_event_is_read_by_its_number(tmp_path: Path) -> None:
    event = some_event()
    reader = _written(tmp_path, numbered(0), event)

    found = reader.event(2)

    assert found is not None
    assert (found.key, found.seq, found.body) == (event.key, 2, event.body)
    assert reader.event(3) is None


def test_recent_events_are_newest_first_by_kind_and_line_and_in_pages(tmp_path: Path) -> None:
    reader = _written(tmp_path, *[numbered(n, line="a" if n % 2 else "b") for n in range(1, 11)])

    assert [number_of(event) for event in reader.recent(limit=3)] == [10, 9, 8]
    assert [number_of(event) for event in reader.recent(line="a", limit=2)] == [9, 7]
    assert [number_of(event) for event in reader.recent(line="a", before=7, limit=9)] == [5, 3, 1]
    assert reader.recent(kind="reject") == []
    assert reader.recent(without=("valid", "reject")) == []
    assert [number_of(event) for event in reader.recent(line="a", without=("reject",), limit=2)] == [9, 7]
    assert [number_of(event) for event in reader.after(7, kinds=("reject", "valid"))] == [8, 9, 10]
    assert [event.seq for event in reader.after(0, kinds=("valid",), limit=2)] == [1, 2]
    assert reader.after(0, kinds=("reject",)) == []
    assert reader.recent(kind="valid", line="nothing") == []


def test_a_reader_sees_events_while_the_writer_works_and_does_not_block_it(tmp_path: Path) -> None:
    writer = StoreWriter(Settings(path=str(tmp_path)), SystemClock())
    reader = writer.reader()
    writer.put(numbered(1))
    assert writer.flush(10)

    with reading(tmp_path / DATABASE) as connection:  # a transaction that is open during the next commit
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
        writer.put(numbered(2))
        assert writer.flush(10)
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)

    assert [number_of(event) for event in reader.recent()] == [2, 1]
    writer.close()


def test_a_reader_cannot_change_the_store(tmp_path: Path) -> None:
    _written(tmp_path, some_event())

    with (
        reading(tmp_path / DATABASE) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM event")


def test_a_folder_without_a_store_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a folder with events\.sqlite, found none"):
        StoreReader(tmp_path)


def _with_file(tmp_path: Path, name: str) -> StoreReader:
    writer = StoreWriter(Settings(path=str(tmp_path)), SystemClock())
    event = some_event()
    writer.put(event)
    writer.evidence(event.key, 0, Evidence(name=name, moment="at"), 4)
    writer.close()
    return StoreReader(tmp_path)


_NAME = f"2026/11/30/{'a' * 32}-0.jpg"


def test_evidence_is_read_by_the_numbers_of_event_and_file(tmp_path: Path) -> None:
    path = tmp_path / "evidence" / _NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"jpeg")
    reader = _with_file(tmp_path, _NAME)

    assert reader.evidence_file(1, 0) == b"jpeg"
    assert reader.evidence_file(1, 1) is None
    assert reader.evidence_file(2, 0) is None
    found = reader.event(1)
    assert found is not None
    assert found.evidence == (Evidence(name=_NAME, moment="at"),)


@pytest.mark.parametrize("name", ["../events.sqlite", "/etc/hostname", "2026/11/30/../../../lock", "lock"])
def test_a_path_outside_the_evidence_folder_is_not_read(tmp_path: Path, name: str) -> None:
    assert _with_file(tmp_path, name).evidence_file(1, 0) is None


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system cannot refuse links")
def test_a_link_in_the_evidence_folder_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    path = tmp_path / "evidence" / _NAME
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)
    outside = tmp_path / "outside"
    (outside / "01").mkdir(parents=True)
    (outside / "01" / f"{'b' * 32}-0.jpg").write_text("password")
    (tmp_path / "evidence" / "2026" / "12").symlink_to(outside)
    reader = _with_file(tmp_path, _NAME)

    assert reader.evidence_file(1, 0) is None
    writer = StoreWriter(Settings(path=str(tmp_path)), SystemClock())
    event = some_event()
    writer.put(event)
    writer.evidence(event.key, 0, Evidence(name=f"2026/12/01/{'b' * 32}-0.jpg", moment="at"), 4)
    writer.close()
    assert reader.evidence_file(2, 0) is None
