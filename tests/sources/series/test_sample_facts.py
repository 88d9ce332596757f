"""The facts about the samples of each channel agree with a slow count, in every order of arrival."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.runtime.channel_samples import ChannelSamples
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.series.grid import ON_GRID, Grid, Rule
from andon.sources.series.sample_facts import PERIODS
from andon.sources.series.windows import Windows

CHANNELS = (
    Channel(name="linear", resample="linear"),
    Channel(name="mean", resample="mean"),
    Channel(name="hold", resample="hold", max_hold_s=6.0),
)
SPEC = WindowSpec(steps=5, hop=2, period_s=1.0, channels=CHANNELS)
LATENESS_S = 2.0

Rows = tuple[NDArray[np.float64], NDArray[np.float32]]


def ragged(random: np.random.Generator) -> Rows:
    """Return rows of few levels, with jitter, a hole, empty fields and infinite values."""
    sixteenths = np.unique(random.integers(0, 16 * 60, random.integers(40, 300)))
    hole = random.integers(0, 16 * 60)
    kept = (sixteenths < hole) | (sixteenths > hole + random.integers(0, 16 * 12))
    times_s = sixteenths[kept] / 16 + random.choice([0.0, 1.6e9])
    values = random.integers(0, 3, (len(times_s), 3)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    values[random.random(values.shape) < random.choice([0.0, 0.02])] = np.inf
    return times_s, values


def items_of(rows: Rows, order: NDArray[np.intp], random: np.random.Generator) -> list[Item | Lost]:
    """Return the items of rows that arrive in an order, in blocks of any size."""
    times_s, values = rows
    grid, windows = Grid(SPEC, lateness_s=LATENESS_S), Windows(SPEC, "a")
    items: list[Item | Lost] = []
    while len(order):
        block, order = np.split(order, [random.integers(1, 60)])
        items += windows.push(grid.push(times_s[block], values[block]))
    items += windows.push(grid.flush())
    assert sum(grid.counters.late) == 0
    return items


def counted(times_s: NDArray[np.float64], values: NDArray[np.float32], end: float, reach_s: float) -> list[float]:
    """Count the facts of one channel sample by sample: seen, constant, mean and median period, low, high, not finite."""
    seen, since, last = -math.inf, math.nan, math.nan
    stamps: list[float] = []
    window = []
    infinite = False
    for time_s, value in zip(times_s.tolist(), values.tolist(), strict=True):
        if time_s > end + ON_GRID or math.isnan(value):
            continue
        inside = time_s > end - SPEC.steps + ON_GRID
        if math.isinf(value):
            infinite = infinite or inside
            continue
        if value != last or time_s - seen > reach_s:
            since = time_s
        seen, last = time_s, value
        stamps.append(time_s)
        if inside:
            window.append(value)
    mean = median = math.nan
    if len(stamps) > PERIODS:
        distances = np.diff(stamps[-PERIODS - 1 :])
        median = float(np.median(distances))
        mean = float(distances[distances <= 5 * median].mean())
    low, high = (min(window), max(window)) if window else (math.nan, math.nan)
    return [seen, seen - since, mean, median, low, high, float(infinite)]


def facts_of(samples: ChannelSamples) -> NDArray[np.float64]:
    return np.stack(
        [
            samples.seen_s,
            samples.constant_s,
            samples.mean_period_s,
            samples.median_period_s,
            samples.low,
            samples.high,
            samples.not_finite.astype(np.float64),
        ]
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_facts_agree_with_a_slow_count(seed: int) -> None:
    random = np.random.default_rng(seed)
    times_s, values = rows = ragged(random)

    for item in items_of(rows, np.arange(len(times_s)), random):
        assert item.samples is not None
        end = item.samples.end_s
        assert end == item.ref.time_s
        expected = [
            counted(times_s, values[:, place], end, Rule.of(channel, 1.0).reach)
            for place, channel in enumerate(CHANNELS)
        ]
        np.testing.assert_allclose(facts_of(item.samples), np.array(expected).T, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_facts_do_not_depend_on_the_order_of_arrival_within_the_lateness_nor_on_blocks(seed: int) -> None:
    random = np.random.default_rng(seed)
    times_s, _ = rows = ragged(random)
    order = np.argsort(times_s + random.uniform(0, 0.999 * LATENESS_S, len(times_s)))

    straight = items_of(rows, np.arange(len(times_s)), random)
    mixed = items_of(rows, order, random)

    assert [item.ref for item in mixed] == [item.ref for item in straight]
    for one, other in zip(straight, mixed, strict=True):
        assert one.samples is not None
        assert other.samples is not None
        np.testing.assert_array_equal(facts_of(one.samples), facts_of(other.samples))


def test_a_short_peak_that_the_mean_of_a_cell_hides_is_in_the_facts() -> None:
    spec = WindowSpec(steps=4, hop=4, period_s=1.0, channels=(Channel(name="x", resample="mean"),))
    grid, windows = Grid(spec), Windows(spec, "a")
    values = np.zeros((81, 1), np.float32)
    values[25] = 100.0
    items = [*windows.push(grid.push(np.arange(81) / 10, values)), *windows.push(grid.flush())]
    first, second = [item for item in items if isinstance(item, Item)]

    assert first.data.max() == pytest.approx(10.0)
    assert first.samples is not None
    assert second.samples is not None
    assert (first.samples.high[0], second.samples.high[0]) == (100.0, 0.0)
