"""Events are durable, in order and counted, and reject signals are at most once."""

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.monitor.some_event import number_of, numbered, some_event
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.monitor.event import AlarmChanged, EventsLost, Evidence, RejectSignal, Stopped
from andon.monitor.store import Settings, reading
from andon.monitor.store_folder import DATABASE
from andon.monitor.store_writer import COMMIT_ITEMS, RING, StoreWriter
from andon.sources.clock import SystemClock

Open = Callable[..., StoreWriter]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a store in a temporary folder. It is closed at the end."""
    writers: list[StoreWriter] = []

    def open_store(*outputs: str, clock: FakeClock | None = None, **changes: object) -> StoreWriter:
        facts: dict[str, object] = {"path": str(tmp_path / "state")}
        writers.append(StoreWriter(Settings(**facts | changes), clock or SystemClock(), outputs=outputs))  # type: ignore[arg-type]
        return writers[-1]

    yield open_store
    for writer in writers:
        writer.close()


def _eventually(true: Callable[[], bool], *, within_s: float = 20.0) -> bool:
    until_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.01)
    return True


def test_a_kept_text_survives_a_restart_and_the_last_one_of_a_name_counts(opened: Open) -> None:
    writer = opened()
    for text in ("1", "2"):
        writer.keep("shift:press-3", text)
    writer.close()

    reader = opened().reader()

    assert reader.kept("shift:press-3") == "2"
    assert reader.kept("shift:other") is None


def test_events_are_stored_in_the_order_of_put_with_numbers_from_one(opened: Open) -> None:
    writer = opened("plant")
    for number in range(250):
        writer.put(numbered(number))

    assert writer.flush(20)

    stored = writer.reader().recent(limit=1000)[::-1]
    assert [event.seq for event in stored] == list(range(1, 251))
    assert [number_of(event) for event in stored] == list(range(250))
    assert writer.status().stored == 250
    assert writer.status().waiting == 0


def test_several_threads_lose_nothing_and_keep_their_own_order(opened: Open) -> None:
    writer = opened()

    def produce(line: str) -> None:
        for number in range(200):
            writer.put(numbered(number, line=line))

    threads = [threading.Thread(target=produce, args=(line,)) for line in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(20)

    for line in "abc":
        assert [number_of(e) for e in writer.reader().recent(line=line, limit=1000)[::-1]] == list(range(200))


def test_the_number_of_a_deleted_event_is_not_used_again(opened: Open) -> None:
    first = opened()
    first.put(some_event())
    first.put(some_event())
    first.close()
    with sqlite3.connect(first.evidence_folder.parent / DATABASE) as connection:
        connection.execute("DELETE FROM event")
    connection.close()

    second = opened()
    second.put(some_event())
    assert second.flush(10)

    assert second.reader().recent()[0].seq == 3


def test_an_event_with_a_known_key_is_stored_once(opened: Open) -> None:
    writer = opened("plant")
    event = some_event()
    writer.put(event)
    writer.put(event)
    writer.put(some_event())
    assert writer.flush(10)

    assert [one.seq for one in writer.reader().recent()] == [2, 1]
    assert writer.outbox("plant").backlog() == 2


def test_an_event_that_cannot_be_encoded_is_counted_and_does_not_stop_the_others(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    writer = opened()
    writer.put(some_event(line="\ud800"))
    writer.put(some_event(Stopped(grabbed=2**70)))
    writer.put(numbered(1))

    assert writer.flush(10)
    assert _eventually(lambda: len(writer.reader().recent(kind="lost")) == 1)
    found = writer.reader().recent(kind="valid")
    assert [number_of(event) for event in found] == [1]
    assert "cannot be stored and is lost" in caplog.text


def test_closing_commits_what_waits(opened: Open) -> None:
    writer = opened("plant")
    for number in range(COMMIT_ITEMS * 3 + 1):
        writer.put(numbered(number))
    writer.judged("press-3", "last.png", 12.5)

    writer.close()

    reader = writer.reader()
    assert len(reader.recent(limit=1000)) == COMMIT_ITEMS * 3 + 1
    with contextlib.closing(reader.judged("press-3")) as judged:
        assert len(judged) == 1
        assert judged.has("last.png", 12.5)
    assert not writer.hung


def test_an_event_after_closing_is_counted_as_lost(opened: Open) -> None:
    writer = opened()
    writer.close()

    writer.put(some_event())

    assert writer.status().lost == 1
    assert not writer.flush(0.01)


def test_closing_twice_changes_nothing(opened: Open) -> None:
    writer = opened()
    writer.close()
    writer.close()


def test_judged_items_are_stored_after_the_events_before_them(opened: Open) -> None:
    writer = opened()
    writer.judged("press-3", "first.png")
    writer.put(numbered(1))
    writer.judged("press-3", "second.png", 2.0)

    assert writer.flush(10)

    with contextlib.closing(writer.reader().judged("press-3")) as judged:
        assert len(judged) == 2
        assert judged.has("first.png", None)
        assert judged.has("second.png", 2.0)
        assert not judged.has("second.png", 3.0)  # another version of the file
        assert not judged.has("third.png", 2.0)
    with contextlib.closing(writer.reader().judged("press-4")) as judged:
        assert len(judged) == 0
        assert not judged.has("first.png", None)


def test_a_judged_item_without_events_becomes_durable_by_itself(opened: Open) -> None:
    writer = opened()
    writer.judged("press-3", "first.png")

    def stored() -> bool:
        with contextlib.closing(writer.reader().judged("press-3")) as judged:
            return len(judged) > 0

    assert _eventually(stored)


def test_the_writer_answers_a_ping(opened: Open) -> None:
    clock = FakeClock()
    writer = opened(clock=clock)
    clock.now_s = 5.0

    writer.ping()

    assert _eventually(lambda: writer.status().ping_s == 5.0)


# reject signals


def _intent(part: str = "17") -> RejectSignal:
    return RejectSignal(part=part, result="unknown", detail="The process ended before the result was known.")


def test_an_intent_is_durable_before_it_returns(opened: Open) -> None:
    writer = opened()

    assert writer.intent(some_event(_intent()), timeout_s=10)

    with reading(writer.evidence_folder.parent / DATABASE) as connection:
        assert connection.execute("SELECT part, boot, due_ns FROM intent").fetchall() == [("17", "b", 1)]


def test_a_result_replaces_the_intent(opened: Open) -> None:
    writer = opened("plant")
    intent = some_event(_intent())
    assert writer.intent(intent, timeout_s=10)

    writer.result(intent, some_event(RejectSignal(part="17", result="fired", late_s=0.002)))
    writer.close()

    second = opened("plant")
    assert second.unknown == ()
    (stored,) = second.reader().recent()
    assert stored.key == intent.key
    assert stored.body == RejectSignal(part="17", result="fired", late_s=0.002)


def test_an_intent_without_a_result_becomes_an_unknown_event_once(opened: Open) -> None:
    first = opened("plant")
    intent = some_event(_intent())
    assert first.intent(intent, timeout_s=10)
    first.close()

    second = opened("plant")
    assert [event.key for event in second.unknown] == [intent.key]
    second.close()
    third = opened("plant")
    third.close()

    assert third.unknown == ()
    (stored,) = third.reader().recent()
    assert stored.key == intent.key
    assert stored.body == _intent()
    assert third.outbox("plant").backlog() == 1


def test_an_intent_that_is_not_durable_in_time_returns_false(opened: Open) -> None:
    writer = opened()
    path = writer.evidence_folder.parent / DATABASE
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # as a slow disk does

    began_s = time.monotonic()
    assert not writer.intent(some_event(_intent()), timeout_s=0.05)
    assert time.monotonic() - began_s < 2

    blocker.execute("ROLLBACK")
    blocker.close()


def test_an_intent_must_be_a_reject_signal(opened: Open) -> None:
    with pytest.raises(TypeError, match="expected the body RejectSignal, got valid"):
        opened().intent(some_event(), timeout_s=1)


# a database that cannot be written


def test_while_the_database_is_locked_events_wait_and_then_all_are_stored(opened: Open) -> None:
    writer = opened()
    path = writer.evidence_folder.parent / DATABASE
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    slowest_s = 0.0
    for number in range(500):
        began_s = time.monotonic()
        writer.put(numbered(number))
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    assert writer.status().waiting == 500
    blocker.execute("ROLLBACK")
    blocker.close()

    assert writer.flush(20)
    assert slowest_s < 1
    assert [number_of(event) for event in writer.reader().recent(limit=1000)[::-1]] == list(range(500))
    assert writer.status().failing == ""


# complaint 23: on a full disk the loss is counted and reported
def test_c23_more_events_than_the_memory_keeps_are_lost_oldest_first_and_reported(opened: Open) -> None:
    writer = opened()
    path = writer.evidence_folder.parent / DATABASE
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    writer.put(numbered(0))
    assert _eventually(lambda: not writer._items)  # the writer has taken it and waits for the database

    for number in range(1, RING + 501):
        writer.put(numbered(number))
    lost = writer.status().lost
    waiting = writer.status().waiting
    blocker.execute("ROLLBACK")
    blocker.close()

    assert (lost, waiting) == (501, RING)
    assert writer.flush(60)
    assert _eventually(lambda: len(writer.reader().recent(kind="lost")) == 1)
    body = writer.reader().recent(kind="lost")[0].body
    assert isinstance(body, EventsLost)
    assert (body.where, body.number) == ("store", 501)
    kept = writer.reader().recent(kind="valid", limit=1000)
    assert number_of(kept[0]) == RING + 500
    assert writer.status().stored == RING + 500 - 501 + 1 + 1


# evidence


def test_the_row_of_evidence_belongs_to_its_event(opened: Open) -> None:
    writer = opened()
    event = some_event()
    writer.put(event)
    writer.evidence(event.key, 0, Evidence(name=f"2026/11/30/{event.key}-0.jpg", moment="at"), 10)
    writer.evidence(event.key, 1, Evidence(name="", moment="after", dropped="queue_full"), 0)
    writer.evidence("f" * 32, 0, Evidence(name=f"2026/11/30/{'f' * 32}-0.jpg", moment="at"), 10)  # no such event
    assert writer.flush(10)

    found = writer.reader().event(1)

    assert found is not None
    assert [one.moment for one in found.evidence] == ["at", "after"]
    assert writer.status().evidence_dropped == 1
    assert writer.reader().known([f"2026/11/30/{'f' * 32}-0.jpg"]) == set()


# retention in the thread


# complaint 22: a step of the clock
def test_c22_a_jump_of_the_wall_clock_deletes_nothing(opened: Open) -> None:
    class Jumping(FakeClock):
        wall = 0.0

        def wall_s(self) -> float:
            return self.wall

    clock = Jumping()
    writer = opened(clock=clock, max_age_days=1.0)
    writer.put(numbered(1, wall_us=0))
    assert writer.flush(10)

    clock.wall = 10 * 365 * 86400.0
    clock.now_s += 120.0
    writer.put(numbered(2, wall_us=int(clock.wall * 1e6)))
    assert writer.flush(10)
    writer.ping()
    assert _eventually(lambda: writer.status().ping_s == 120.0)

    assert [number_of(event) for event in writer.reader().recent()] == [2, 1]


def test_events_are_deleted_after_their_age_in_running_time_over_several_starts(opened: Open) -> None:
    for number in range(3):  # each start runs for half a day, and its monotonic clock begins at another time
        clock = FakeClock(1000.0 * number)
        writer = opened(clock=clock, max_age_days=1.2)
        writer.put(numbered(number))
        assert writer.flush(10)
        clock.now_s += 43200.0
        writer.put(numbered(100 + number))
        assert writer.flush(10)
        writer.close()
    writer = opened(clock=FakeClock(), max_age_days=1.2)  # 1.5 days after the first event

    assert _eventually(lambda: [number_of(e) for e in writer.reader().recent()][-1] == 100)
    assert [number_of(e) for e in writer.reader().recent()] == [102, 2, 101, 1, 100]


def test_undelivered_events_and_open_alarms_outlive_the_age(opened: Open) -> None:
    clock = FakeClock()
    writer = opened("plant", clock=clock, max_age_days=1.0)
    for alarm in (1, 2):
        writer.put(some_event(AlarmChanged(alarm="rejects", change="raised", number=alarm)), outputs=())
    writer.put(some_event(AlarmChanged(alarm="health", change="raised", number=1)), outputs=())
    writer.put(some_event(AlarmChanged(alarm="health", change="acked", number=1)), outputs=())
    writer.put(numbered(1))
    writer.put(numbered(2), outputs=())
    assert writer.flush(10)

    clock.now_s = 2 * 86400.0
    writer.ping()

    assert _eventually(lambda: len(writer.reader().recent()) == 2)
    newest, oldest = writer.reader().recent()
    assert number_of(newest) == 1
    assert isinstance(oldest.body, AlarmChanged)
    assert oldest.body.number == 2  # a newer alarm of the name closes the older one


def test_a_full_outbox_drops_the_oldest_events_before_alarms_and_reports_the_number(opened: Open) -> None:
    writer = opened("plant", "cloud", max_waiting=10)
    writer.put(some_event(AlarmChanged(alarm="rejects", change="raised", number=1)), outputs=["plant"])
    for number in range(30):
        writer.put(numbered(number), outputs=["plant"])
    assert writer.flush(10)

    outbox = writer.outbox("plant")
    assert _eventually(lambda: bool(writer.reader().recent(kind="lost")) and outbox.backlog() <= 10)
    body = writer.reader().recent(kind="lost")[-1].body
    assert isinstance(body, EventsLost)
    assert (body.where, body.number) == ("plant", 21)
    waiting = [one.seq for one in outbox.page(0, 100)]
    assert waiting[0] == 1
    assert waiting[-1] >= 31
    assert len(writer.reader().recent(kind="valid")) == 30


@pytest.mark.slow
@given(
    steps=st.lists(
        st.sampled_from(["put", "put_quiet", "flush", "done", "refuse", "bury", "revive", "restart"]), max_size=25
    )
)
@settings(max_examples=20)
def test_outboxes_agree_with_a_list(steps: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("state"))

    def open_store() -> StoreWriter:
        return StoreWriter(Settings(path=folder), SystemClock(), outputs=["plant"])

    writer = open_store()
    waiting: list[str] = []
    dead: list[str] = []
    try:
        for step in steps:
            event = some_event()
            if step == "put":
                writer.put(event)
                waiting.append(event.key)
            elif step == "put_quiet":
                writer.put(event, outputs=())
            assert writer.flush(20)
            page = writer.outbox("plant").page(0, 100)
            assert [one.key for one in page] == waiting
            if step == "done" and page:
                writer.outbox("plant").done(page[len(page) // 2].seq)
                del waiting[: len(page) // 2 + 1]
            elif step == "refuse" and page:
                writer.outbox("plant").refused(page[0].seq)
            elif step == "bury" and page:
                writer.outbox("plant").bury(page[0].seq, "refused")
                dead.append(waiting.pop(0))
            elif step == "restart":
                writer.close(20)
                writer = open_store()
            elif step == "revive" and dead:
                reader = writer.reader()
                assert _eventually(lambda reader=reader: {d.event.key for d in reader.dead()} == set(dead))  # type: ignore[misc]
                chosen = reader.dead()[0]
                assert writer.revive("plant", chosen.seq)
                dead.remove(chosen.event.key)
                waiting.append(chosen.event.key)
        assert [one.key for one in writer.outbox("plant").page(0, 100)] == waiting
    finally:
        writer.close(20)


def test_items_that_become_judged_later_do_not_change_what_was_judged_before(opened: Open) -> None:
    clock = FakeClock()
    writer = opened(clock=clock)
    writer.judged("press-3", "first.png", 1.0)
    writer.put(some_event())
    assert writer.flush(20)
    before = writer.reader().judged("press-3")
    clock.now_s += 10.0
    writer.judged("press-3", "second.png", 2.0)
    writer.put(some_event())
    assert writer.flush(20)

    with contextlib.closing(before) as judged:
        assert [judged.has("first.png", 1.0), judged.has("second.png", 2.0)] == [True, False]


# Complaint 6: a start-up failure leaves nothing behind.
@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE outbox",
        "UPDATE meta SET value = 'no number'",
        "INSERT INTO intent VALUES('k', 'p', 'b', 1, x'00ff')",
    ],
)
def test_a_damaged_store_is_moved_aside_and_a_new_one_begins(
    opened: Open, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Judging must not depend on the disk. The log, an event and the status report what happened."""
    writer = opened("plant")
    writer.put(some_event())
    writer.evidence(some_event().key, 0, Evidence(name="", moment="at", dropped="disk"), 0)
    assert writer.flush(20)
    writer.close()
    evidence = tmp_path / "state" / "evidence" / "2026" / "a.jpg"
    evidence.parent.mkdir(parents=True)
    evidence.write_bytes(b"a picture")
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / DATABASE, isolation_level=None)) as connection:
        connection.execute(damage)

    again = opened("plant")

    assert again.flush(20)
    moved = again.status().moved
    assert moved.startswith("damaged-20")
    assert moved in caplog.text
    (event,) = again.reader().recent()
    assert isinstance(event.body, EventsLost)
    assert (event.body.where, event.body.number) == ("store", 0)
    assert moved in event.body.detail
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / moved)) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)
    kept = moved.replace(DATABASE, "evidence")
    assert (tmp_path / "state" / kept / "2026" / "a.jpg").read_bytes() == b"a picture"
    again.close()
    whole = opened("plant")
    assert whole.status().moved == ""
    assert whole.flush(20)


def test_a_store_that_is_damaged_again_in_the_same_second_keeps_all_copies(opened: Open, tmp_path: Path) -> None:
    for _ in range(3):
        opened(clock=FakeClock()).close()
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / DATABASE, isolation_level=None)) as connection:
            connection.execute("DROP TABLE outbox")
    opened(clock=FakeClock())

    assert len(list((tmp_path / "state").glob(f"damaged-*-{DATABASE}"))) == 3


def test_overwritten_pages_are_damage(opened: Open, tmp_path: Path) -> None:
    opened("plant").close()
    database = tmp_path / "state" / DATABASE
    content = database.read_bytes()
    database.write_bytes(content[:8192] + b"\x55" * (len(content) - 8192))

    assert opened("plant").status().moved


@pytest.mark.parametrize("place", ["start", "mark"])
def test_a_file_without_the_mark_of_andon_may_be_a_wrong_path_so_it_is_refused_and_not_moved(
    opened: Open, tmp_path: Path, place: str
) -> None:
    opened("plant").close()
    database = tmp_path / "state" / DATABASE
    content = bytearray(database.read_bytes())
    content[8192:] = b"\x55" * (len(content) - 8192)
    content[slice(0, 16) if place == "start" else slice(68, 72)] = bytes(16 if place == "start" else 4)
    database.write_bytes(content)

    for _ in range(2):  # the second one also shows that the first left no lock
        with pytest.raises(ConfigError):
            opened("plant")

    assert database.read_bytes() == content
    assert not list((tmp_path / "state").glob("damaged-*"))


# Complaint 23: nothing that an item contains may end the storing of all others.
@pytest.mark.parametrize("key", ["\udcff.png", "a\0b.png", "\x1b[31m", "x" * 100_000, ""])
def test_a_hostile_name_of_an_item_blocks_no_event_and_is_found_again(opened: Open, key: str) -> None:
    writer = opened()
    writer.judged("press-3", key, 1.0)
    writer.put(some_event())

    assert writer.flush(20)

    assert (writer.status().stored, writer.status().failing) == (1, "")
    with contextlib.closing(writer.reader().judged("press-3")) as judged:
        assert judged.has(key, 1.0)


def test_a_state_folder_that_is_deleted_is_logged_once_a_minute_and_reported(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    writer = opened(clock=clock)
    shutil.rmtree(tmp_path / "state")
    writer.ping()
    assert _eventually(lambda: bool(writer.status().failing))
    for _ in range(3):
        writer.put(some_event())
        writer.flush(5)

    assert caplog.text.count("unexpected error") == 1
