"""Rows with time stamps are resampled to a regular grid, with one rule for each point."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.foundation.errors import InputError
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.series.grid import Grid, Points

NAN = float("nan")


def spec(*rules: str, period_s: float = 1.0, max_gap_s: float | None = None) -> WindowSpec:
    channels = tuple(
        Channel(name=f"{rule}{at}", resample=rule, max_gap_s=max_gap_s)  # type: ignore[arg-type]
        for at, rule in enumerate(rules)
    )
    return WindowSpec(steps=4, hop=2, period_s=period_s, channels=channels)


def sealed(grid: Grid, times_s: list[float], values: list[float]) -> Points:
    grid.push(times_s, np.array(values)[:, None])
    return grid.flush()


def whole(rule: str, times_s: list[float], values: list[float], max_gap_s: float | None = None) -> Points:
    return sealed(Grid(spec(rule, max_gap_s=max_gap_s), lateness_s=math.inf), times_s, values)


def reference(rule: str, times_s: NDArray[np.float64], values: NDArray[np.float32], number: int) -> tuple[float, bool]:
    """Compute value and mark at one point of a grid of 1 s with gaps and holds of 3 s, from the definition."""
    before = [at for at, time_s in enumerate(times_s) if time_s <= number]
    after = [at for at, time_s in enumerate(times_s) if time_s >= number]
    if rule == "hold":
        held = before and number - times_s[before[-1]] <= 3
        return (float(values[before[-1]]), False) if held else (NAN, False)
    inside = [at for at, time_s in enumerate(times_s) if number - 1 < time_s <= number]
    if rule == "mean" and inside:
        return float(np.float32(np.mean(values[inside].astype(float)))), False
    if before and times_s[before[-1]] == number:
        return float(values[before[-1]]), False
    if not before or not after:
        return NAN, False
    a, b = before[-1], after[0]
    hole = times_s[b] - times_s[a]
    if hole > 3:
        return NAN, False
    low, high = float(values[a]), float(values[b])
    return float(np.float32(low + (high - low) * ((number - times_s[a]) / hole))), rule == "mean" or hole > 1.5


@pytest.mark.parametrize("rule", ["linear", "mean", "hold"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_every_point_is_what_its_rule_says(rule: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    sixteenths = np.unique(random.integers(0, 16 * 30, random.integers(1, 60)))
    times_s = sixteenths / 16
    values = random.normal(size=len(times_s)).astype(np.float32)

    points = whole(rule, times_s.tolist(), values.tolist())

    expected = [reference(rule, times_s, values, number) for number in points.numbers.tolist()]
    np.testing.assert_allclose(points.values[:, 0], [value for value, _ in expected], rtol=1e-6)
    if rule != "hold":
        assert points.marked.tolist() == [mark for _, mark in expected]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_no_point_is_left_out_but_those_that_nothing_can_bridge(seed: int) -> None:
    random = np.random.default_rng(seed)
    times_s = np.unique(random.integers(0, 16 * 60, random.integers(2, 40))) / 16

    numbers = whole("linear", times_s.tolist(), times_s.tolist()).numbers

    every = range(math.ceil(times_s[0]), math.floor(times_s[-1]) + 1)
    assert numbers.tolist() == [j for j in every if j - times_s[times_s <= j].max() <= 4]


def test_a_recording_with_a_year_of_pause_costs_no_more_than_its_rows() -> None:
    points = whole("linear", [0, 1, 2, 3e7, 3e7 + 1], [0, 1, 2, 3, 4])

    assert points.numbers.tolist() == [0, 1, 2, 3, 4, 5, 6, 30_000_000, 30_000_001]
    assert np.isnan(points.values[3:7]).all()


def test_a_stamp_a_thousandth_of_a_period_late_is_on_its_point() -> None:
    grid = Grid(spec("linear", period_s=0.1), lateness_s=math.inf)
    points = sealed(grid, [0.1 * k for k in range(40)], list(range(40)))  # 0.1 * 3 is above 0.3

    assert points.values[:, 0].tolist() == list(range(40))
    assert not points.marked.any()


def test_a_sample_behind_the_watermark_is_dropped_and_counted() -> None:
    grid = Grid(spec("linear"), lateness_s=1.0)
    first = grid.push([0, 1, 2, 3, 4], np.arange(5.0)[:, None])
    grid.push([1.5], [[99.0]])

    assert first.numbers.tolist() == [0, 1, 2]
    assert grid.counters.late == [1]
    assert grid.flush().values[:, 0].tolist() == [3, 4]


def test_the_last_arrival_of_the_same_stamp_wins() -> None:
    grid = Grid(spec("linear"))
    grid.push([0, 1, 1, 2], np.array([[0.0], [5.0], [7.0], [2.0]]))

    assert grid.flush().values[:, 0].tolist() == [0, 7, 2]
    assert grid.counters.duplicate == 1


def test_a_stamp_from_the_future_does_not_close_the_door_on_the_present() -> None:
    grid = Grid(spec("linear"))
    grid.push([0, 1e9, 1, 2], np.array([[0.0], [9.0], [1.0], [2.0]]), now_s=2.5)

    assert grid.counters.future == 1
    assert grid.flush().values[:, 0].tolist() == [0, 1, 2]


def test_a_channel_that_lags_holds_the_others_up_until_it_is_stale() -> None:
    grid = Grid(spec("linear", "linear"), lateness_s=0.0, stale_after_s=5.0)
    grid.push([0, 1], np.ones((2, 1)), channels=[1])

    waiting = [len(grid.push([time_s], [[1.0]], channels=[0])) for time_s in range(10)]

    assert sum(waiting[2:6]) == 0
    assert waiting[7] > 0


def test_an_empty_field_lets_the_other_channels_go_on() -> None:
    values = np.ones((10, 2))
    values[:, 1] = NAN
    points = Grid(spec("linear", "linear"), lateness_s=0.0).push(np.arange(10.0), values)

    assert len(points) >= 8
    assert np.isnan(points.values[:, 1]).all()
    assert np.isfinite(points.values[:, 0]).all()


def test_a_reset_forgets_the_time_but_not_the_counters() -> None:
    grid = Grid(spec("linear"))
    grid.push([100, 101], np.ones((2, 1)))
    grid.reset()
    grid.push([0, 1], np.ones((2, 1)))

    assert grid.flush().numbers.tolist() == [0, 1]
    assert grid.counters.samples == 4


@pytest.mark.parametrize(
    ("times_s", "values"), [([0.0], np.ones((1, 2))), ([0.0, 1.0], np.ones((1, 1))), ([NAN], np.ones((1, 1)))]
)
def test_rows_that_do_not_fit_are_refused(times_s: list[float], values: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="expected"):
        Grid(spec("linear")).push(times_s, values)


@pytest.mark.parametrize("time_s", [1e19, -1e19, 1e300, -1e308])
def test_a_stamp_beyond_what_the_grid_can_count_is_refused_and_leaves_the_grid_as_it_was(time_s: float) -> None:
    grid = Grid(spec("linear", period_s=0.5))
    grid.push([0.0, 0.5, 1.0], [[1.0], [2.0], [3.0]])

    with pytest.raises(InputError, match="expected times within"):
        grid.push([1.5, time_s], [[4.0], [5.0]])
    grid.push([1.5], [[4.0]])
    assert grid.flush().values[-1] == 4.0


def test_rows_whose_clock_stands_still_do_not_pile_up() -> None:
    grid = Grid(spec("linear"))
    grid.push([0.0, 1.0, 2.0, 3.0], [[1.0]] * 4)
    grid.flush()
    for _ in range(1000):
        grid.push([3.4], [[1.0]])

    assert sum(len(rows) for rows, _ in grid._pending) < 100
