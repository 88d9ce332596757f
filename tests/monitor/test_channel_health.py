"""The health of a channel: each problem is found, and a healthy channel has none."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.monitor.channel_health import FAULTY_WIDTHS, ChannelLimits, findings, limits_of_channel, samples_of
from andon.runtime.calibration_facts import ChannelHealth
from andon.runtime.channel_samples import ChannelSamples
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.series.grid import Grid
from andon.sources.series.windows import Windows

CHANNEL = Channel(name="voltage", unit="V")
LIMITS = ChannelLimits(stale_after_s=2.0, low=-1.0, high=1.0, stuck_after_s=5.0, period_s=0.5)
SPEC = WindowSpec(steps=4, hop=1, period_s=0.5, channels=(CHANNEL, Channel(name="clock")))


def problems(samples: list[tuple[float, float]], limits: ChannelLimits = LIMITS) -> list[tuple[Reason, ...]]:
    """Return the problems of each window of a channel with samples (time, value). A second channel keeps the time."""
    grid, windows = Grid(SPEC), Windows(SPEC, "a")
    end_s = samples[-1][0] if samples else 20.0
    times_s = sorted({time_s for time_s, _ in samples} | set(np.arange(0.0, end_s + 0.1, 0.5).tolist()))
    values = dict(samples)
    rows = np.array([[values.get(time_s, math.nan), time_s] for time_s in times_s])
    items = [*windows.push(grid.push(times_s, rows)), *windows.push(grid.flush())]
    free = ChannelLimits()
    return [
        tuple(one.reason for one in findings(item.samples, SPEC.channels, [limits, free]))
        for item in items
        if item.samples is not None
    ]


def regular(count: int, period_s: float = 0.5) -> list[tuple[float, float]]:
    return [(number * period_s, math.sin(number)) for number in range(count)]


def test_a_channel_that_moves_within_its_range_at_its_rate_has_no_problems() -> None:
    assert set(problems(regular(100))) == {()}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.inf, Reason.NOT_FINITE),
        (-math.inf, Reason.NOT_FINITE),
        (1.01, Reason.OUT_OF_RANGE),
        (-1.01, Reason.OUT_OF_RANGE),
    ],
)
def test_a_value_that_the_sensor_cannot_measure_is_a_problem_of_the_windows_that_contain_it(
    value: float, reason: Reason
) -> None:
    samples = regular(40)
    samples[20] = (10.0, value)
    seen = problems(samples)

    assert [number for number, one in enumerate(seen) if one] == [20, 21, 22, 23]
    assert set(seen) == {(), (reason,)}


def test_a_channel_that_repeats_one_value_for_too_long_is_stuck_until_it_moves() -> None:
    seen = problems([(number / 2, 0.5 if number < 14 else number / 100) for number in range(16)])

    assert seen == [()] * 11 + [(Reason.STUCK,)] * 3 + [()] * 2


def test_a_missing_value_does_not_make_a_stuck_channel_look_alive() -> None:
    seen = problems([(number / 2, 0.5) for number in range(13) if number != 6])

    assert seen[-1] == (Reason.STUCK,)


def test_a_channel_that_returns_with_its_old_value_is_not_stuck_at_once() -> None:
    late = [(20.0 + number / 2, 0.5) for number in range(4)]
    seen = problems([(0.0, 0.4), (0.5, 0.5), *late])

    assert seen[-1] == ()


# Complaint 16: a camera declares 25 frames a second and delivers 21. The same holds for sensors.
@pytest.mark.parametrize(("period_s", "wrong"), [(0.5, False), (0.46, False), (0.54, False), (0.6, True), (0.42, True)])
def test_a_rate_that_differs_by_more_than_a_tenth_is_wrong_after_one_measurement(period_s: float, wrong: bool) -> None:
    seen = problems(regular(60, period_s))

    assert seen[0] == ()
    assert set(seen[-20:]) == {(Reason.WRONG_RATE,) if wrong else ()}


def test_a_channel_that_loses_every_second_sample_has_a_wrong_rate() -> None:
    assert problems(regular(100)[::2])[-1] == (Reason.WRONG_RATE,)


@pytest.mark.parametrize(
    "times_s",
    [
        [*(number / 2 for number in range(30)), *(100 + number / 2 for number in range(6))],  # a silence
        [number / 2 + (number // 20) / 2 for number in range(80)],  # each twentieth sample is missing, as in SKAB
        [round(number / 2 + 0.05 * (number % 3), 2) for number in range(80)],  # jitter
    ],
)
def test_silences_single_losses_and_jitter_are_no_wrong_rate(times_s: list[float]) -> None:
    assert Reason.WRONG_RATE not in {reason for one in problems([(t, math.sin(t)) for t in times_s]) for reason in one}


# Complaint 17: subscriptions go silent. Each channel has its own age.
def test_a_channel_is_stale_after_its_last_sample_while_others_go_on() -> None:
    silent = [(number / 2, math.sin(number)) for number in range(5)]
    rows = problems([*silent, (20.0, 0.0)])

    assert [one for one in rows[:-1] if one] == [(Reason.STALE,)] * (len(rows) - 1 - 9)
    assert rows[:9] == [()] * 9  # up to 4.0 s, two seconds after the last sample
    assert rows[-1] == ()


def test_a_channel_without_any_sample_is_missing_after_the_same_time() -> None:
    seen = problems([])

    assert seen[:5] == [()] * 5
    assert set(seen[5:]) == {(Reason.MISSING_CHANNEL,)}


def facts(**changes: list[float] | float | list[bool]) -> ChannelSamples:
    healthy: dict[str, Any] = {
        "seen_s": [100.0] * 3, "constant_s": [0.0] * 3, "mean_period_s": [0.5] * 3, "median_period_s": [0.5] * 3,
        "low": [-0.5] * 3, "high": [0.5] * 3, "not_finite": [False] * 3,
    }  # fmt: skip
    arrays = {name: np.asarray(value) for name, value in (healthy | changes).items()}
    return ChannelSamples(begin_s=0.0, end_s=100.0, **arrays)


def test_the_most_important_problem_comes_first_and_each_states_channel_value_and_limit() -> None:
    channels = (CHANNEL, Channel(name="current"), Channel(name="flow"))
    samples = facts(
        constant_s=[7.0, 0.0, 0.0],
        high=[1.5, 0.5, 0.5],
        seen_s=[100.0, 97.0, -math.inf],
        mean_period_s=[0.6, math.nan, math.nan],
        median_period_s=[0.6, math.nan, math.nan],
    )

    found = findings(samples, channels, [LIMITS] * 3)

    assert [(one.channel, one.reason) for one in found] == [
        ("flow", Reason.MISSING_CHANNEL),
        ("current", Reason.STALE),
        ("voltage", Reason.OUT_OF_RANGE),
        ("voltage", Reason.STUCK),
        ("voltage", Reason.WRONG_RATE),
    ]
    assert [one.detail for one in found] == [
        "flow: missing channel: no sample for 100 s (limit 2 s)",
        "current: stale: no sample for 3 s (limit 2 s)",
        "voltage: out of range: 1.5 V (limits -1 and 1 V)",
        "voltage: stuck: one value for 7 s (limit 5 s)",
        "voltage: wrong rate: one sample each 0.6 s (expected 0.5 s)",
    ]


def test_a_window_without_samples_is_checked_for_its_values() -> None:
    data = np.array([[0.0, 0.0, 0.0], [0.5, math.nan, 3.0]], np.float32)

    found = findings(samples_of(data, 0.5), (CHANNEL, Channel(name="current"), Channel(name="flow")), [LIMITS] * 3)

    assert [(one.channel, one.reason) for one in found] == [
        ("current", Reason.NOT_FINITE),
        ("flow", Reason.OUT_OF_RANGE),
    ]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-12, 12)), min_size=1, max_size=40), st.integers(0, 1000))
def test_only_differences_of_times_count(given_samples: list[tuple[int, int]], start: int) -> None:
    time_s, early, late = 0.0, [], []
    for pause, eighths in given_samples:
        time_s += pause / 4
        early.append((time_s, eighths / 8))
        late.append((start * 0.5 + time_s, eighths / 8))

    channels = (CHANNEL,)
    spec = WindowSpec(steps=4, hop=1, period_s=0.5, channels=channels)
    seen = []
    for samples in (early, late):
        grid, windows = Grid(spec), Windows(spec, "a")
        items = windows.push(grid.push([t for t, _ in samples], [[v] for _, v in samples]))
        items += windows.push(grid.flush())
        seen.append([findings(item.samples, channels, [LIMITS]) for item in items if item.samples is not None])

    assert seen[0] == seen[1]


def test_only_a_value_that_a_sensor_of_this_range_cannot_measure_is_out_of_range() -> None:
    # the model file rejects values closer to its range, with the reason outside_training
    assert (FAULTY_WIDTHS, limits_of_channel(Channel(name="t", low=10.0, high=30.0)).high) == (100.0, 2030.0)


def test_the_range_of_a_model_file_is_widened_by_its_width_and_states_may_keep_a_value() -> None:
    moving = limits_of_channel(Channel(name="t", low=10.0, high=30.0), stuck_after_s=9.0, period_s=1.0, widths=1.0)
    constant = limits_of_channel(Channel(name="c", low=3.0, high=3.0))
    states = limits_of_channel(Channel(name="s", resample="hold"), stuck_after_s=9.0, period_s=1.0)

    assert (moving.low, moving.high, moving.stuck_after_s, moving.period_s) == (-10.0, 50.0, 9.0, 1.0)
    assert (constant.low, constant.high) == (None, None)
    assert (states.stuck_after_s, states.period_s) == (None, None)


def test_a_slow_channel_is_not_stale_before_five_periods_or_the_pause_that_its_file_allows() -> None:
    each_minute = ChannelHealth(name="t", low=0.0, high=1.0, period_s=60.0)

    assert limits_of_channel(Channel(name="t"), each_minute).stale_after_s == 300.0
    assert limits_of_channel(Channel(name="t", max_gap_s=600.0), each_minute).stale_after_s == 600.0
    assert limits_of_channel(Channel(name="t", resample="hold", max_hold_s=900.0)).stale_after_s == 900.0
    assert limits_of_channel(Channel(name="t"), stale_after_s=7.0).stale_after_s == 7.0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"stale_after_s": 0.0}, "stale_after_s above 0 seconds, got 0"),
        ({"stuck_after_s": math.inf}, "stuck_after_s above 0 seconds, got inf"),
        ({"period_s": -1.0}, "period_s above 0 seconds, got -1"),
        ({"low": 2.0, "high": 1.0}, "expected low <= high, got low = 2, high = 1"),
        ({"rate_tolerance": 1.0}, "expected 0 < rate_tolerance < 1, got 1"),
    ],
)
def test_limits_that_cannot_work_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ChannelLimits(**settings)
