"""The status page is complete, bounded and without secrets."""

from collections.abc import Callable

import msgspec
from hypothesis import given
from msgspec.structs import fields, replace
from tests.monitor.statuses import FULL, LINE, statuses, with_line

from andon.monitor.alarms import AlarmState
from andon.monitor.shelving import Shelf
from andon.monitor.status import LineStatus, OutputStatus, ProcessStatus, StoreStatus
from andon.monitor.status_json import LinePart, OutputPart, StatusPage, StorePart, status_json


def test_the_status_is_the_golden_one(golden_text: Callable[[str, str], None]) -> None:
    golden_text("status.json", msgspec.json.format(status_json(FULL), indent=2).decode() + "\n")


@given(statuses)
def test_any_status_is_valid_json_of_the_schema(status: ProcessStatus) -> None:
    page = msgspec.json.decode(status_json(status), type=StatusPage)

    assert page.schema == 1
    assert [line.name for line in page.lines] == [line.name for line in status.lines]


def test_a_new_field_of_the_status_is_shown_or_left_out_on_purpose() -> None:
    internal = {
        "since_s",
        "stale_after_s",
        "last_outcome_s",
        "judging_since_s",
        "ping_s",
    }  # ages are shown in their place
    for status, part in ((LineStatus, LinePart), (StoreStatus, StorePart), (OutputStatus, OutputPart)):
        shown = {field.name for field in fields(part)}
        assert {field.name for field in fields(status)} - internal <= shown


def test_the_window_of_an_alarm_is_not_shown_because_it_can_be_long() -> None:
    long = replace(FULL, lines=(replace(LINE, alarms={"rejects": AlarmState(window=(True,) * 10_000)}),))

    assert len(status_json(long)) < 4000


def test_a_shelved_alarm_is_shown_with_the_time_that_is_left() -> None:
    shelf = Shelf(until_s=FULL.now_s + 90.0, reason="trial", by="Ana")

    page = msgspec.json.decode(status_json(with_line(shelved={"rejects": shelf})))

    assert page["lines"][0]["shelved"] == [{"name": "rejects", "left_s": 90.0, "reason": "trial", "by": "Ana"}]
