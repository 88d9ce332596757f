"""Complaint 23: a full disk never stops the caller. Losses are counted, and the store recovers by itself."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.monitor.small_disk import fill, small_disk
from tests.monitor.some_event import number_of, numbered, some_event
from tests.monitor.test_store_writer import _eventually

from andon.monitor.event import AlarmChanged, Event, EventsLost, Evidence, decode, new_key
from andon.monitor.evidence import write_file
from andon.monitor.outbox import Waiting
from andon.monitor.store import Settings, reading
from andon.monitor.store_folder import BALLAST, DATABASE, EVIDENCE
from andon.monitor.store_writer import RING, StoreWriter
from andon.sources.clock import SystemClock

_BALLAST = 1 << 18


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the path of a disk of 2 MB."""
    with small_disk(tmp_path) as path:
        if path is None:
            pytest.skip("mounting a tmpfs is not allowed")
        yield path


def _opened(disk: Path, *outputs: str, **changes: object) -> StoreWriter:
    facts: dict[str, object] = {
        "path": str(disk / "state"),
        "ballast_bytes": _BALLAST,
        "reserve_bytes": 0,
    }
    return StoreWriter(Settings(**facts | changes), SystemClock(), outputs=outputs)  # type: ignore[arg-type]


def test_c23_a_disk_filled_by_another_program_loses_nothing_and_the_store_recovers(disk: Path) -> None:
    writer = _opened(disk, "plant")
    for number in range(50):
        writer.put(numbered(number))
    assert writer.flush(5)
    filler = disk / "filler"
    fill(filler)

    took_s = []
    for number in range(50, 3050):
        began_s = time.monotonic()
        writer.put(numbered(number))
        took_s.append(time.monotonic() - began_s)
    assert _eventually(lambda: bool(writer.status().failing))
    assert sorted(took_s)[-30] < 0.1  # 99 %: on a busy machine, the processor may be away for longer than any write
    assert max(took_s) < 5
    assert writer.reader().event(1) is not None  # reading goes on
    assert writer.status().ping_s is not None
    filler.unlink()

    assert writer.flush(5)
    assert writer.status().lost == 0
    assert writer.status().failing == ""
    stored = [number_of(event) for event in reversed(_all(writer))]
    assert stored == list(range(3050))
    writer.close()


def _all(writer: StoreWriter) -> list:  # type: ignore[type-arg]
    reader, events = writer.reader(), []
    page = reader.recent(kind="valid", limit=1000)
    while page:
        events += page
        page = reader.recent(kind="valid", limit=1000, before=page[-1].seq)
    return events


def test_c23_the_ballast_lets_the_store_go_on_while_the_disk_stays_full(disk: Path) -> None:
    writer = _opened(disk)
    for number in range(1000):
        writer.put(numbered(number))
    assert writer.flush(5)
    assert (disk / "state" / BALLAST).is_file()
    fill(disk / "filler")

    for number in range(1000, 5000):
        writer.put(numbered(number))
        if number % 100 == 0:
            assert writer.flush(5)
    assert writer.flush(5)

    assert writer.status().lost == 0
    kept = [number_of(event) for event in reversed(_all(writer))]
    assert kept == list(range(kept[0], 5000))  # the oldest were deleted
    assert kept[0] > 0
    assert len(kept) > 100
    writer.close()


@pytest.mark.slow
def test_c23_own_growth_ends_with_the_oldest_delivered_events_deleted(disk: Path) -> None:
    writer = _opened(disk, "plant")
    outbox = writer.outbox("plant")
    for number in range(8000):
        writer.put(numbered(number))
        if number % 100 == 99:
            assert writer.flush(5)
            outbox.done(outbox.page(0, 1000)[-1].seq)

    assert writer.status().lost == 0
    kept = [number_of(event) for event in reversed(_all(writer))]
    assert kept == list(range(kept[0], 8000))
    assert kept[0] > 0
    assert _eventually(lambda: outbox.backlog() == 0)
    writer.close()


def test_c23_evidence_is_deleted_first_and_events_stay(disk: Path) -> None:
    writer = _opened(disk)
    for number in range(10):
        event = numbered(number)
        name = f"2026/11/30/{event.key}-0.jpg"
        writer.put(event)
        write_file(disk / "state" / EVIDENCE, name, b"j" * 50_000)
        writer.evidence(event.key, 0, Evidence(name=name, moment="at"), 50_000)
    assert writer.flush(5)
    fill(disk / "filler")

    for number in range(10, 800):
        writer.put(numbered(number))
    assert writer.flush(5)

    assert [number_of(event) for event in reversed(_all(writer))] == list(range(800))
    left = sum(1 for _ in (disk / "state" / EVIDENCE).rglob("*.jpg"))
    assert left < 10
    assert _eventually(lambda: sum(len(event.evidence) for event in writer.reader().recent(limit=1000)) == left)
    assert (disk / "state" / BALLAST).is_file()
    writer.close()


@pytest.mark.slow
def test_c23_undelivered_events_are_dropped_last_and_reported_and_alarms_stay(disk: Path) -> None:
    put = 9000  # more than half of what the memory keeps does not fit on the disk
    writer = _opened(disk, "plant")
    writer.put(some_event(AlarmChanged(alarm="rejects", change="raised", number=1)))
    for number in range(put):
        writer.put(numbered(number))
    assert _eventually(lambda: writer.status().waiting <= RING // 2 and bool(writer.status().failing))
    outbox = writer.outbox("plant")
    assert outbox.page(0, 1)[0].seq == 1  # the alarm

    delivered: list[Event] = []
    after = 0
    while page := _page(writer, after):
        delivered += [decode(one.payload) for one in page]
        after = page[-1].seq
        outbox.done(after)

    assert writer.flush(5)
    assert writer.status().lost == 0
    numbers = [number_of(event) for event in delivered if event.kind == "valid"]
    assert numbers == sorted(set(numbers))
    reported = [event.body for event in delivered if isinstance(event.body, EventsLost)]
    assert all(body.where == "plant" for body in reported)
    assert len(numbers) + sum(body.number for body in reported) == put
    writer.close()


def _page(writer: StoreWriter, after: int) -> list[Waiting]:
    """Return the next events, also if they are not committed yet. An empty list at the end."""
    found: list[Waiting] = []

    def there() -> bool:
        found[:] = writer.outbox("plant").page(after, 500)
        return bool(found) or (writer.flush(0.1) and not writer.outbox("plant").page(after, 1))

    assert _eventually(there)
    return found


def test_c23_a_store_opens_and_reads_on_a_full_disk(disk: Path) -> None:
    writer = _opened(disk)
    writer.put(numbered(1))
    writer.close()
    fill(disk / "filler")

    again = _opened(disk)

    assert [number_of(event) for event in again.reader().recent()] == [1]
    again.put(numbered(2))
    assert again.flush(5)
    again.close()


def test_c23_the_limit_of_the_store_is_met_before_the_disk_is_full(tmp_path: Path) -> None:
    writer = StoreWriter(
        Settings(path=str(tmp_path), max_bytes=1 << 20, ballast_bytes=1 << 18, reserve_bytes=0), SystemClock()
    )
    for number in range(2500):
        writer.put(numbered(number))
        if number % 500 == 499:
            assert writer.flush(5)

    assert (tmp_path / "events.sqlite").stat().st_size <= 1 << 20
    assert writer.status().lost == 0
    kept = [number_of(event) for event in reversed(_all(writer))]
    assert kept == list(range(kept[0], 2500))
    writer.close()


@pytest.mark.slow
def test_c23_a_reader_during_a_full_disk_does_not_prevent_the_recovery(disk: Path) -> None:
    writer = _opened(disk)
    for number in range(1000):
        writer.put(numbered(number))
    assert writer.flush(5)
    with reading(disk / "state" / DATABASE) as connection:  # SQLite's log cannot be emptied now
        connection.execute("SELECT count(*) FROM event").fetchone()
        fill(disk / "filler")
        for number in range(1000, 4000):
            writer.put(numbered(number))
        assert _eventually(lambda: bool(writer.status().failing))

    assert writer.flush(30)
    assert writer.status().lost == 0
    kept = [number_of(event) for event in reversed(_all(writer))]
    assert kept == list(range(kept[0], 4000))
    writer.close()


def test_c23_closing_on_a_full_disk_ends_in_time_and_counts_the_loss(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = _opened(disk, "plant")
    writer.put(some_event(AlarmChanged(alarm="rejects", change="raised", number=1)))
    assert writer.flush(5)
    writer._folder.drop_ballast()  # the state after another program has filled the disk for some time
    fill(disk / "filler")
    for number in range(500):
        writer.put(numbered(number))
    began_s = time.monotonic()

    writer.close()

    assert time.monotonic() - began_s < 10
    assert not writer.hung
    status = writer.status()
    assert status.stored + status.lost >= 501
    assert status.waiting == 0
    if status.lost:
        assert "events were lost" in caplog.text


@pytest.mark.slow
def test_c23_events_beyond_the_memory_are_lost_and_one_event_reports_them(disk: Path) -> None:
    writer = _opened(disk)
    writer.put(some_event(AlarmChanged(alarm="rejects", change="raised", number=1)))
    assert writer.flush(5)
    filler = disk / "filler"
    stop = threading.Event()

    def keep_full() -> None:
        while not stop.wait(0.001):
            fill(filler)

    fill(filler)
    thread = threading.Thread(target=keep_full)
    thread.start()
    put = RING + 2000
    for number in range(put):
        writer.put(numbered(number))
    assert _eventually(lambda: writer.status().lost > 0)
    stop.set()
    thread.join()
    filler.unlink()

    assert writer.flush(20)
    assert _eventually(lambda: bool(writer.reader().recent(kind="lost", limit=1000)))
    bodies = [event.body for event in writer.reader().recent(kind="lost", limit=1000)]
    by_store = sum(body.number for body in bodies if isinstance(body, EventsLost) and body.where == "store")
    assert by_store == writer.status().lost
    writer.close()


def test_the_free_space_of_the_small_disk_is_really_zero(disk: Path) -> None:
    fill(disk / "filler")

    with pytest.raises(OSError, match="No space left"):
        (disk / new_key()).write_bytes(b"x" * 8192)
    assert os.statvfs(disk).f_bavail == 0
