"""The start of a shift, also on the two days a year on which clocks are changed."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.shifts import shift_began

BERLIN = ZoneInfo("Europe/Berlin")
THREE = [time(6), time(14), time(22)]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("now", "began"),
    [
        ("2026-11-30T13:59:59+01:00", "2026-11-30T06:00:00+01:00"),
        ("2026-11-30T14:00:00+01:00", "2026-11-30T14:00:00+01:00"),
        ("2026-12-01T05:59:00+01:00", "2026-11-30T22:00:00+01:00"),
    ],
)
def test_a_shift_begins_at_its_time_of_day_and_the_night_shift_on_the_day_before(now: str, began: str) -> None:
    assert shift_began(at(now), THREE, BERLIN) == at(began)


def test_a_start_that_occurs_twice_counts_the_first_time_only() -> None:
    # 25 October 2026: clocks go back from 03:00 to 02:00
    starts = [time(2, 30), time(14)]

    assert shift_began(at("2026-10-25T02:45:00+02:00"), starts, BERLIN) == at("2026-10-25T02:30:00+02:00")
    assert shift_began(at("2026-10-25T02:45:00+01:00"), starts, BERLIN) == at("2026-10-25T02:30:00+02:00")


def test_a_start_that_does_not_occur_is_moved_by_the_missing_hour() -> None:
    # 29 March 2026: clocks go forward from 02:00 to 03:00
    assert shift_began(at("2026-03-29T04:00:00+02:00"), [time(2, 30)], BERLIN) == at("2026-03-29T03:30:00+02:00")


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - the zone is added below
    starts=st.lists(st.times().map(lambda one: one.replace(second=0, microsecond=0)), min_size=1, max_size=5),
)
def test_the_shift_has_begun_and_not_longer_than_a_day_and_an_hour_ago(now: datetime, starts: list[time]) -> None:
    wall_s = now.replace(tzinfo=UTC).timestamp()

    began = shift_began(wall_s, starts, BERLIN)

    assert wall_s - timedelta(hours=25).total_seconds() <= began <= wall_s
    assert shift_began(began, starts, BERLIN) == began
