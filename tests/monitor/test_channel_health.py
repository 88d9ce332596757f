"""The health of a channel: each problem is found, and a healthy channel has none."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.monitor.channel_health import ChannelLimits, ChannelState, limits_of_channel, silence, step
from andon.runtime.schema import Channel, Reason

LIMITS = ChannelLimits(stale_after_s=2.0, low=-1.0, high=1.0, stuck_after_s=5.0, period_s=0.5, rate_samples=4)


def run(samples: list[tuple[float, float]], limits: ChannelLimits = LIMITS) -> list[tuple[Reason, ...]]:
    """Return the problems of each sample (time, value). The state goes through JSON after each."""
    state, seen = ChannelState(started_s=0.0), []
    for time_s, value in samples:
        state, problems = step(state, value, time_s, limits)
        state = msgspec.json.decode(msgspec.json.encode(state), type=ChannelState)
        seen.append(problems)
    return seen


def test_a_channel_that_moves_within_its_range_at_its_rate_has_no_problems() -> None:
    assert set(run([(number / 2, math.sin(number)) for number in range(100)])) == {()}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, Reason.NOT_FINITE),
        (-math.inf, Reason.NOT_FINITE),
        (1.01, Reason.OUT_OF_RANGE),
        (-1.01, Reason.OUT_OF_RANGE),
    ],
)
def test_a_value_that_the_sensor_cannot_measure_is_a_problem_of_that_sample_only(value: float, reason: Reason) -> None:
    assert run([(0.0, 0.5), (0.5, value), (1.0, 0.6)]) == [(), (reason,), ()]


def test_a_channel_that_repeats_one_value_for_too_long_is_stuck_until_it_moves() -> None:
    seen = run([(number / 2, 0.5 if number < 14 else number / 100) for number in range(16)])

    assert seen == [()] * 11 + [(Reason.STUCK,)] * 3 + [()] * 2


def test_a_value_that_is_not_finite_does_not_make_a_stuck_channel_look_alive() -> None:
    assert run([(0.0, 0.5), (3.0, math.nan), (5.5, 0.5)])[-1] == (Reason.STUCK,)


# Complaint 16: a camera declares 25 frames a second and delivers 21. The same holds for sensors.
@pytest.mark.parametrize(("period_s", "wrong"), [(0.5, False), (0.46, False), (0.54, False), (0.6, True), (0.42, True)])
def test_a_rate_that_differs_by_more_than_a_tenth_is_wrong_after_one_measurement(period_s: float, wrong: bool) -> None:
    seen = run([(number * period_s, math.sin(number)) for number in range(12)])

    assert seen[:4] == [()] * 4
    assert set(seen[4:]) == {(Reason.WRONG_RATE,) if wrong else ()}


def test_samples_that_all_have_one_time_have_a_wrong_rate() -> None:
    assert run([(1.0, number / 10) for number in range(6)])[-1] == (Reason.WRONG_RATE,)


def test_a_silence_is_no_wrong_rate() -> None:
    times_s = [*(number / 2 for number in range(6)), *(100 + number / 2 for number in range(10))]

    assert set(run([(time_s, math.sin(time_s)) for time_s in times_s])) == {()}


# Complaint 17: subscriptions go silent. Each channel has its own age.
def test_a_channel_is_missing_before_its_first_sample_and_stale_after_its_last() -> None:
    state = ChannelState(started_s=10.0)
    before = [silence(state, now_s, LIMITS) for now_s in (10.0, 12.0, 12.5)]
    state, _ = step(state, 0.5, 13.0, LIMITS)
    after = [silence(state, now_s, LIMITS) for now_s in (13.0, 15.0, 15.5)]

    assert before == [Reason.NONE, Reason.NONE, Reason.MISSING_CHANNEL]
    assert after == [Reason.NONE, Reason.NONE, Reason.STALE]


samples = st.lists(st.tuples(st.integers(0, 4), st.integers(-12, 12)), max_size=40)


@given(samples, st.integers(0, 1000))
def test_only_differences_of_times_count(given_samples: list[tuple[int, int]], start_s: int) -> None:
    time_s, early, late = 0.0, [], []
    for pause, tenths in given_samples:
        time_s += pause / 4
        early.append((time_s, tenths / 8))
        late.append((start_s + time_s, tenths / 8))

    assert run(early) == run(late)


@given(samples, st.integers(1, 8))
def test_a_sample_out_of_order_changes_nothing_for_the_next_ones(
    given_samples: list[tuple[int, int]], back: int
) -> None:
    plain, disturbed, time_s = ChannelState(started_s=0.0), ChannelState(started_s=0.0), 10.0
    for pause, tenths in given_samples:
        time_s += pause / 4
        plain, expected = step(plain, tenths / 8, time_s, LIMITS)
        disturbed, got = step(disturbed, tenths / 8, time_s, LIMITS)
        assert got == expected
        disturbed, _ = step(disturbed, 0.123, time_s - back, LIMITS)
    assert disturbed == plain


def test_the_range_of_a_model_file_is_widened_by_its_width_and_states_may_keep_a_value() -> None:
    moving = limits_of_channel(Channel(name="t", low=10.0, high=30.0), stuck_after_s=9.0, period_s=1.0)
    constant = limits_of_channel(Channel(name="c", low=3.0, high=3.0))
    states = limits_of_channel(Channel(name="s", resample="hold"), stuck_after_s=9.0, period_s=1.0)

    assert (moving.low, moving.high, moving.stuck_after_s, moving.period_s) == (-10.0, 50.0, 9.0, 1.0)
    assert (constant.low, constant.high) == (None, None)
    assert (states.stuck_after_s, states.period_s) == (None, None)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"stale_after_s": 0.0}, "stale_after_s above 0 seconds, got 0"),
        ({"stuck_after_s": math.inf}, "stuck_after_s above 0 seconds, got inf"),
        ({"period_s": -1.0}, "period_s above 0 seconds, got -1"),
        ({"low": 2.0, "high": 1.0}, "expected low <= high, got low = 2, high = 1"),
        ({"rate_tolerance": 1.0}, "0 < rate_tolerance < 1"),
        ({"rate_samples": 1}, "rate_samples of at least 2, got 0.1 and 1"),
    ],
)
def test_limits_that_cannot_work_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ChannelLimits(**settings)
