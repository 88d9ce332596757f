"""Shelved alarms: a time limit of 8 hours and a reason are required (ISA 18.2)."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.some_event import some_event

from andon.foundation.errors import ConfigError
from andon.monitor.event import AlarmShelved, Event
from andon.monitor.shelving import LONGEST_S, Shelf, ended, resumed, shelved, unshelved


@given(seconds=st.floats(1e-3, LONGEST_S), now_s=st.floats(0, 1e9))
def test_a_shelf_ends_at_its_time_and_not_before(seconds: float, now_s: float) -> None:
    shelves = shelved({}, "a", "rejects", now_s, seconds, reason="trial", by="Ana")

    assert ended(shelves, now_s + seconds) == [("a", "rejects")]
    if now_s + seconds > now_s:
        assert ended(shelves, now_s) == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, LONGEST_S + 1, float("nan"), float("inf")])
def test_a_time_that_is_not_within_8_hours_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="seconds: expected a time above 0 and at most 28800 s"):
        shelved({}, "a", "rejects", 0.0, seconds, reason="trial", by="Ana")


@pytest.mark.parametrize(
    ("reason", "by"), [("", "Ana"), ("  ", "Ana"), ("x" * 201, "Ana"), ("trial", ""), ("trial", "x" * 65)]
)
def test_an_alarm_is_shelved_only_with_a_reason_and_a_person(reason: str, by: str) -> None:
    with pytest.raises(ConfigError, match=r"^(reason|by): expected 1 to"):
        shelved({}, "a", "rejects", 0.0, 60.0, reason=reason, by=by)


def test_shelving_again_replaces_the_time_and_another_alarm_is_not_affected() -> None:
    first = shelved({}, "a", "rejects", 0.0, 60.0, reason="trial", by="Ana")
    both = shelved(first, "a", "health", 0.0, 60.0, reason="lens is cleaned", by="Ben")

    again = shelved(both, "a", "rejects", 50.0, 60.0, reason="second trial", by="Ana")

    assert (again["a", "rejects"].until_s, again["a", "rejects"].reason) == (110.0, "second trial")
    assert unshelved(again, "a", "rejects") == {("a", "health"): both["a", "health"]}
    assert unshelved(again, "b", "rejects") == again


def test_control_characters_of_a_reason_are_escaped() -> None:
    shelf = shelved({}, "a", "rejects", 0.0, 60.0, reason="trial\x1b[31m\nbatch", by="Ana")["a", "rejects"]

    assert "\x1b" not in shelf.reason
    assert "\n" not in shelf.reason


def shelving(
    at_s: float,
    change: Literal["shelved", "unshelved", "expired"] = "shelved",
    *,
    seconds: float = 60.0,
    boot: str = "b",
) -> Event:
    """Return an event at a monotonic time. Its wall time is 5000 s later."""
    body = AlarmShelved(alarm="rejects", change=change, seconds=seconds, reason="trial", by="Ana")
    return some_event(body, boot=boot, mono_ns=int(at_s * 1e9), wall_us=int((at_s + 5000) * 1e6))


def test_a_shelf_survives_a_restart_with_the_rest_of_its_time() -> None:
    found = resumed([shelving(100.0)], boot="b", now_s=130.0, wall_s=0.0)

    assert found == {("press-3", "rejects"): Shelf(until_s=160.0, reason="trial", by="Ana")}


def test_after_a_restart_of_the_machine_the_wall_clock_counts() -> None:
    found = resumed([shelving(100.0)], boot="other", now_s=7.0, wall_s=5140.0)

    assert found["press-3", "rejects"].until_s == pytest.approx(27.0)


def test_a_shelf_that_ended_before_the_restart_or_meanwhile_does_not_return() -> None:
    assert resumed([shelving(100.0), shelving(110.0, "unshelved")], boot="b", now_s=120.0, wall_s=0.0) == {}
    assert resumed([shelving(100.0), shelving(110.0, "expired")], boot="b", now_s=120.0, wall_s=0.0) == {}
    assert resumed([shelving(100.0)], boot="b", now_s=160.0, wall_s=0.0) == {}
    assert resumed([shelving(100.0), shelving(120.0, seconds=5.0)], boot="b", now_s=130.0, wall_s=0.0) == {}


@given(wall_s=st.floats(0, 1e9), now_s=st.floats(0, 1e6), seconds=st.floats(1, 1e9))
def test_c22_no_clock_makes_a_shelf_longer_than_its_time_or_8_hours(
    wall_s: float, now_s: float, seconds: float
) -> None:
    for shelf in resumed([shelving(100.0, seconds=seconds)], boot="", now_s=now_s, wall_s=wall_s).values():
        assert shelf.until_s - now_s <= min(seconds, LONGEST_S) * (1 + 1e-9)
