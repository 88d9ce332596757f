"""Shelved alarms: a time limit of 8 hours and a reason are required (ISA 18.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.monitor.shelving import LONGEST_S, ended, shelved, unshelved


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
