"""Logs are cut into windows of equal length."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.grid import Grid, Points
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import Windows, cut, window_spec

CHANNELS = (
    Channel(name="linear", resample="linear"),
    Channel(name="mean", resample="mean"),
    Channel(name="hold", resample="hold"),
)


def log_of(times_s: NDArray[np.float64], values: NDArray[np.float32], channels: tuple[Channel, ...] = CHANNELS) -> Log:
    found = FoundLogs(channels=channels, period_s=1.0, runs=1, rows=len(times_s))
    return Log(found=found, runs=(Run(name="a", times_s=times_s, values=values),))


def regular(rows: int, names: str = "xy") -> Log:
    values = np.arange(rows * len(names), dtype=np.float32).reshape(rows, len(names))
    return log_of(np.arange(rows, dtype=np.float64), values, tuple(Channel(name=name) for name in names))


def told(items: Iterator[Item | Lost] | list[Item | Lost]) -> list[tuple[str, float | None, bytes | Reason]]:
    """Return the keys, times and bytes of items, without the WARMING items of a stream."""
    return [
        (item.ref.key, item.ref.time_s, item.data.tobytes() if isinstance(item, Item) else item.reason)
        for item in items
        if isinstance(item, Item) or item.reason is not Reason.WARMING
    ]


def ragged(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Rows with jitter, holes, a pause and empty fields."""
    sixteenths = np.unique(random.integers(0, 16 * 80, random.integers(40, 300)))
    hole = random.integers(0, 16 * 80)
    kept = (sixteenths < hole) | (sixteenths > hole + random.integers(0, 16 * 12))
    times_s = sixteenths[kept] / 16 + random.choice([0.0, 1.6e9])
    values = random.normal(size=(len(times_s), 3)).astype(np.float32)
    values[random.random(values.shape) < random.choice([0.0, 0.05])] = np.nan
    return times_s, values


@given(
    seed=st.integers(0, 2**32 - 1),
    lateness=st.sampled_from([0.5, 2.0, 6.0]),
    steps=st.integers(1, 8),
    hop=st.integers(1, 9),
)
@settings(max_examples=60)
def test_rows_in_any_order_within_the_lateness_and_blocks_of_any_size_give_the_windows_of_the_log(
    seed: int, lateness: float, steps: int, hop: int
) -> None:
    random = np.random.default_rng(seed)
    times_s, values = ragged(random)
    spec = WindowSpec(steps=steps, hop=hop, period_s=1.0, channels=CHANNELS)
    order = np.argsort(times_s + random.uniform(0, 0.999 * lateness, len(times_s)))
    grid, windows = Grid(spec, lateness_s=lateness), Windows(spec, "a")

    items: list[Item | Lost] = []
    while len(order):
        block, order = np.split(order, [random.integers(1, 60)])
        items += windows.push(grid.push(times_s[block], values[block]))
    items += windows.push(grid.flush())

    assert sum(grid.counters.late) == 0
    assert told(items) == told(iter(cut(log_of(times_s, values), spec)))


@given(seed=st.integers(0, 2**32 - 1), lateness=st.sampled_from([0.5, 2.0, 6.0]))
@settings(max_examples=8)
def test_channels_that_arrive_one_by_one_give_the_windows_of_the_log(seed: int, lateness: float) -> None:
    random = np.random.default_rng(seed)
    times_s, values = ragged(random)
    spec = WindowSpec(steps=5, hop=2, period_s=1.0, channels=CHANNELS)
    rows, places = np.nonzero(
        np.ones_like(values, dtype=bool)
    )  # also for empty fields: the sender states that there is no value
    order = np.argsort(times_s[rows] + random.uniform(0, 0.999 * lateness, len(rows)))
    grid, windows = Grid(spec, lateness_s=lateness), Windows(spec, "a")

    items: list[Item | Lost] = []
    for at in order.tolist():
        row, place = rows[at], int(places[at])
        items += windows.push(grid.push(times_s[[row]], values[[row], place][:, None], channels=[place]))
    items += windows.push(grid.flush())

    assert told(items) == told(iter(cut(log_of(times_s, values), spec)))


@given(rows=st.integers(0, 60), steps=st.integers(1, 12), hop=st.integers(1, 14))
def test_a_log_without_holes_is_cut_into_slices_of_its_rows(rows: int, steps: int, hop: int) -> None:
    log = regular(rows)
    windows = cut(log, WindowSpec(steps=steps, hop=hop, period_s=1.0, channels=log.found.channels))

    ends = range(steps, rows + 1, hop)
    assert [ref.key for ref in windows.refs] == [f"a#{end - 1}" for end in ends]
    for end, item in zip(ends, windows, strict=True):
        assert isinstance(item, Item)
        assert item.data.dtype == np.float32
        np.testing.assert_array_equal(item.data, log.runs[0].values[end - steps : end])


def test_disjoint_windows_can_be_had_from_a_file_with_overlapping_ones() -> None:
    log = regular(12)
    spec = window_spec(log.found, 4, 1)

    assert [ref.time_s for ref in cut(log, spec, hop=4).refs] == [3, 7, 11]


def test_channels_are_found_by_name_whatever_their_order() -> None:
    log = regular(4, "yzx")
    spec = WindowSpec(steps=4, hop=4, period_s=1.0, channels=(Channel(name="x"), Channel(name="y")))

    (item,) = cut(log, spec)

    assert isinstance(item, Item)
    np.testing.assert_array_equal(item.data, log.runs[0].values[:, [2, 0]])


def test_a_channel_that_is_not_there_is_refused_with_the_nearest_one() -> None:
    spec = WindowSpec(steps=4, hop=4, period_s=1.0, channels=(Channel(name="pressure"),))

    with pytest.raises(DataError, match=r"no channel 'pressure'.*did you mean 'Pressure1'"):
        cut(log_of(np.arange(4.0), np.ones((4, 1), np.float32), (Channel(name="Pressure1"),)), spec)


def test_a_hole_is_one_gap_and_windows_start_anew_behind_it() -> None:
    log = regular(30, "x")
    kept = np.r_[0:10, 20:30]
    run = Run(name="a", times_s=log.runs[0].times_s[kept], values=log.runs[0].values[kept])
    windows = cut(Log(found=log.found, runs=(run,)), window_spec(log.found, 4, 4))

    assert [(ref.time_s, type(item).__name__) for ref, item in zip(windows.refs, windows, strict=True)] == [
        (3, "Item"),
        (7, "Item"),
        (10, "Lost"),
        (23, "Item"),
        (27, "Item"),
    ]


def test_a_window_with_more_than_a_twentieth_of_its_points_filled_is_not_judged() -> None:
    rows = np.delete(np.arange(40.0), [5, 25, 27])  # one point in 20 is 5 %, two are 10 %
    log = log_of(rows, np.ones((len(rows), 1), np.float32), (Channel(name="x"),))
    first, second = cut(log, window_spec(log.found, 20, 20))

    assert isinstance(first, Item)
    assert isinstance(second, Lost)
    assert second.reason is Reason.GAP
    assert "5%" in second.detail


def test_a_channel_that_stays_silent_is_a_gap_at_every_hop_that_names_it() -> None:
    log = regular(40)
    log.runs[0].values[:, 1] = np.nan
    items = list(cut(log, window_spec(log.found, 4, 10)))

    assert len(items) == 4
    assert all(isinstance(item, Lost) and item.reason is Reason.GAP and "channels y" in item.detail for item in items)


def test_a_stream_says_that_it_is_warming_until_a_window_is_there() -> None:
    log = regular(12, "x")
    spec = window_spec(log.found, 8, 2)
    points = Points(np.arange(12), log.runs[0].values, np.zeros(12, dtype=bool))

    reasons = [item.reason if isinstance(item, Lost) else Reason.NONE for item in Windows(spec, "a").push(points)]

    assert reasons == [Reason.WARMING] * 3 + [Reason.NONE] * 3


def test_a_coarser_period_averages_the_rows() -> None:
    log = regular(41, "x")
    spec = window_spec(log.found, 4, 4, period_s=5.0)
    first = next(iter(cut(log, spec)))

    assert [channel.resample for channel in spec.channels] == ["mean"]
    assert isinstance(first, Item)
    assert first.data[:, 0].tolist() == [0, 3, 8, 13]  # the first cell has row 0 only


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="steps >= 1"):
        window_spec(regular(4).found, 0, 1)


def test_a_reference_to_another_log_is_refused() -> None:
    log = regular(8)
    windows = cut(log, window_spec(log.found, 4, 4))
    other = cut(regular(80), window_spec(log.found, 4, 4))

    with pytest.raises(DataError, match="a#79"):
        windows.read(other.refs[-1])
