"""Actions of people: each becomes one event, and a wrong one is refused without an effect."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.outcomes import some_outcome
from tests.monitor.some_event import some_event
from tests.monitor.statuses import FULL
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.monitor.event import AlarmShelved, Body, Confirmed, Rejected
from andon.monitor.line_view import LineView
from andon.monitor.operator_actions import OperatorActions, with_shelves
from andon.monitor.records import record
from andon.monitor.shelving import Shelf
from andon.monitor.store import Settings, StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.runtime.schema import Status
from andon.sources.clock import SystemClock


class Line:
    """The line ``bottles`` of `FULL`, with what happened on it."""

    def __init__(self, reader: StoreReader | None = None) -> None:
        self.clock = FakeClock(1000.0)
        self.events: list[tuple[str, Body]] = []
        self.acknowledged: list[tuple[str, str, int, str]] = []
        self.view = LineView(self.clock, lambda _wall_s: 0.0)
        self.actions = OperatorActions(
            self.clock,
            record=lambda line, body: self.events.append((line, body)),
            status=lambda: FULL,
            acknowledge=self._acknowledge,
            views={"bottles": self.view, "caps": LineView(self.clock, lambda _wall_s: 0.0)},
            reader=lambda: reader,
        )

    def _acknowledge(self, *what: Any) -> bool:
        self.acknowledged.append(what)
        return True


def test_an_alarm_is_acknowledged_with_the_number_that_the_person_saw() -> None:
    line = Line()

    line.actions.acknowledge("bottles", "rejects", 3, by="Ana")
    line.actions.acknowledge("bottles", "drift", 0, by="Ana")

    assert line.acknowledged == [("bottles", "rejects", 3, "Ana"), ("bottles", "drift", 0, "Ana")]


def test_shelving_and_both_ends_of_a_shelf_are_events() -> None:
    line = Line()

    line.actions.shelve("bottles", "rejects", 60.0, reason="trial", by="Ana")
    line.actions.unshelve("bottles", "rejects", by="Ben")
    line.actions.shelve("bottles", "rejects", 60.0, reason="trial", by="Ana")
    line.clock.now_s = 1059.0
    line.actions.end_shelves()
    line.clock.now_s = 1060.0
    line.actions.end_shelves()

    assert [body for _, body in line.events] == [
        AlarmShelved(alarm="rejects", change="shelved", seconds=60.0, reason="trial", by="Ana"),
        AlarmShelved(alarm="rejects", change="unshelved", by="Ben"),
        AlarmShelved(alarm="rejects", change="shelved", seconds=60.0, reason="trial", by="Ana"),
        AlarmShelved(alarm="rejects", change="expired"),
    ]
    assert line.actions.shelves == {}


def test_shelves_of_an_earlier_start_go_on_except_those_of_lines_that_do_not_exist() -> None:
    line = Line()
    kept = {
        ("bottles", "rejects"): Shelf(until_s=1060.0, reason="trial", by="Ana"),
        ("gone", "rejects"): Shelf(until_s=1060.0, reason="trial", by="Ana"),
    }

    line.actions.resume_shelves(kept)

    assert list(line.actions.shelves) == [("bottles", "rejects")]


def test_the_end_of_a_shelf_that_does_not_exist_is_no_event() -> None:
    line = Line()

    line.actions.unshelve("bottles", "rejects", by="Ana")

    assert line.events == []


def test_the_status_shows_the_shelves_of_each_line() -> None:
    line = Line()
    line.actions.shelve("bottles", "rejects", 60.0, reason="trial", by="Ana")

    bottles, caps = with_shelves(FULL, line.actions.shelves).lines

    assert bottles.shelved["rejects"].until_s == 1060.0
    assert caps.shelved == {}
    assert with_shelves(FULL, {}) is FULL


@pytest.mark.parametrize(
    ("line_name", "alarm", "message"),
    [
        ("press", "rejects", "line: expected one of bottles, caps, got press"),
        ("bottles", "fire", "alarm: expected one of rejects, health, drift, got fire"),
        ("caps", "drift", "alarm: expected one of none, got drift"),
    ],
)
def test_an_unknown_line_or_alarm_is_refused_without_an_event(line_name: str, alarm: str, message: str) -> None:
    line = Line()

    with pytest.raises(ConfigError, match=message):
        line.actions.shelve(line_name, alarm, 60.0, reason="trial", by="Ana")
    with pytest.raises(ConfigError, match=message):
        line.actions.acknowledge(line_name, alarm, 1, by="Ana")

    assert (line.events, line.acknowledged) == ([], [])


def test_a_confirmed_item_is_kept_with_its_verdict_for_an_audit() -> None:
    line = Line()
    outcome = some_outcome(7, Status.REJECT, 3.5)
    line.view.put(outcome)

    line.actions.confirm_item("bottles", 7, "line.mp4#7", "good", by="Ana")

    assert line.events == [
        ("bottles", Confirmed(item="line.mp4#7", truth="good", by="Ana", verdict=record(outcome))),
    ]


def test_an_item_that_the_page_never_showed_cannot_be_confirmed() -> None:
    line = Line()
    line.view.put(some_outcome(7))

    with pytest.raises(ConfigError, match="item: expected one of the newest items of bottles"):
        line.actions.confirm_item("bottles", 6, "line.mp4#6", "good", by="Ana")
    with pytest.raises(ConfigError, match="by: expected 1 to 64 characters"):
        line.actions.confirm_item("bottles", 7, "line.mp4#7", "good", by=" ")

    assert line.events == []


def test_the_item_of_a_stored_event_is_confirmed_on_its_own_line_only(tmp_path: Path) -> None:
    verdict = record(some_outcome(7, Status.REJECT, 3.5))
    with closing(StoreWriter(Settings(path=str(tmp_path / "s"), ballast_bytes=1 << 18), SystemClock())) as store:
        store.put(some_event(Rejected(verdict=verdict), line="bottles"), ())
        store.put(some_event(line="bottles"), ())
        assert store.flush(10.0)
        line = Line(store.reader())

        line.actions.confirm_event("bottles", 1, "defective", by="Ana")
        for name, number in (("caps", 1), ("bottles", 2), ("bottles", 99)):
            with pytest.raises(ConfigError, match=f"event: expected the number of an event of {name} with a verdict"):
                line.actions.confirm_event(name, number, "good", by="Ana")

    assert line.events == [
        ("bottles", Confirmed(item="line.mp4#7", truth="defective", by="Ana", verdict=verdict, event=1)),
    ]
