"""The outbox of one output: pages, deliveries, refusals and dead events."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.monitor.some_event import some_event
from tests.monitor.test_store_writer import _eventually

from andon.monitor.event import decode
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StoreWriter]:
    """Return a store with ten events for the outputs ``plant`` and ``cloud``."""
    opened = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant", "cloud"])
    for _ in range(10):
        opened.put(some_event())
    assert opened.flush(20)
    yield opened
    opened.close()


def _seqs(writer: StoreWriter, after: int = 0, limit: int = 100) -> list[int]:
    return [one.seq for one in writer.outbox("plant").page(after, limit)]


def test_a_page_has_the_oldest_undelivered_events_after_a_number(writer: StoreWriter) -> None:
    assert _seqs(writer, limit=3) == [1, 2, 3]
    assert _seqs(writer, after=8) == [9, 10]
    assert _seqs(writer, after=10) == []


def test_the_payload_is_the_event_with_its_number_and_key(writer: StoreWriter) -> None:
    (one,) = writer.outbox("plant").page(3, 1)

    event = decode(one.payload)

    assert (event.seq, event.key) == (one.seq, one.key) == (4, one.key)


def test_delivered_events_are_not_returned_again_even_before_the_commit(writer: StoreWriter) -> None:
    writer.outbox("plant").done(4)

    assert _seqs(writer) == [5, 6, 7, 8, 9, 10]
    assert _eventually(lambda: writer.outbox("plant").backlog() == 6)
    assert writer.outbox("cloud").backlog() == 10


def test_delivered_events_stay_delivered_after_a_restart(writer: StoreWriter, tmp_path: Path) -> None:
    writer.outbox("plant").done(4)
    writer.close()

    again = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant"])

    assert _seqs(again) == [5, 6, 7, 8, 9, 10]
    again.close()


def test_more_deliveries_than_one_transaction_deletes_are_all_recorded(tmp_path: Path) -> None:
    writer = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant"])
    for _ in range(450):
        writer.put(some_event())
    assert writer.flush(20)

    writer.outbox("plant").done(450)
    writer.close()

    again = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant"])
    assert again.outbox("plant").backlog() == 0
    again.close()


def test_refusals_are_counted_and_survive_a_restart(writer: StoreWriter, tmp_path: Path) -> None:
    writer.outbox("plant").refused(1)
    writer.outbox("plant").refused(1)
    assert writer.outbox("plant").page(0, 1)[0].refusals == 2
    writer.close()

    again = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant", "cloud"])
    again.outbox("plant").refused(1)

    assert again.outbox("plant").page(0, 1)[0].refusals == 3
    assert again.outbox("cloud").page(0, 1)[0].refusals == 0
    again.close()


def test_a_buried_event_is_not_returned_and_is_listed_with_its_reason(writer: StoreWriter) -> None:
    writer.outbox("plant").bury(2, "HTTP 422")

    assert _seqs(writer, limit=3) == [1, 3, 4]
    assert writer.outbox("plant").backlog() == 9
    assert _eventually(lambda: len(writer.reader().dead()) == 1)
    (dead,) = writer.reader().dead("plant")
    assert (dead.output, dead.seq, dead.reason, dead.event.seq) == ("plant", 2, "HTTP 422", 2)
    assert writer.reader().dead("cloud") == []


def test_a_dead_event_that_is_sent_again_follows_all_others_with_its_own_key(writer: StoreWriter) -> None:
    outbox = writer.outbox("plant")
    key = outbox.page(1, 1)[0].key
    outbox.bury(2, "HTTP 422")
    outbox.done(10)

    assert _eventually(lambda: len(writer.reader().dead()) == 1)
    assert writer.revive("plant", 2)

    (one,) = outbox.page(10, 10)  # a sender that is past the event sees it
    assert (one.seq, one.key, one.refusals) == (11, key, 0)
    assert decode(one.payload).seq == 2
    assert writer.reader().dead() == []
    writer.put(some_event())
    assert writer.flush(10)
    assert _seqs(writer, after=10) == [11, 12]


def test_an_event_that_is_not_dead_is_not_sent_again(writer: StoreWriter) -> None:
    assert not writer.revive("plant", 3)
    assert not writer.revive("nothing", 3)
    assert writer.outbox("plant").backlog() == 10


def test_an_unknown_output_has_no_outbox(writer: StoreWriter) -> None:
    with pytest.raises(KeyError):
        writer.outbox("nothing")


def test_events_of_an_output_that_is_configured_again_are_still_there(
    writer: StoreWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.close()

    without = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["cloud"])
    without.close()
    assert "10 events wait for the output plant, which is not configured" in caplog.text

    again = StoreWriter(Settings(path=str(tmp_path)), SystemClock(), outputs=["plant", "cloud"])
    assert again.outbox("plant").backlog() == 10
    again.close()
