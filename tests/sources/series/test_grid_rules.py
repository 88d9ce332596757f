"""Each rule of the grid for sensors, from arriving samples to windows. One test for each rule, with numbers to check on paper."""

import itertools
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.runtime.hand_made import model_bytes
from tests.sources.fake_clock import FakeClock

from andon.monitor.healthy_judge import healthy_judge
from andon.monitor.judging import decide
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost
from andon.runtime.judge import judge_of
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.series.grid import Grid, Points
from andon.sources.series.line_reader import Read
from andon.sources.series.log import Log, Run
from andon.sources.series.replay import replay_log
from andon.sources.series.windows import Windows, window_spec
from andon.sources.stream_settings import Speed

NAN = float("nan")


def grid_of(*channels: Channel, period_s: float = 1.0) -> Grid:
    return Grid(WindowSpec(steps=4, hop=2, period_s=period_s, channels=channels or (Channel(name="x"),)))


def sealed(*pieces: Points) -> dict[int, list[float]]:
    """Return the values of sealed points by number. NaN becomes None."""
    return {
        number: [None if np.isnan(value) else round(float(value), 6) for value in row]  # type: ignore[misc]
        for piece in pieces
        for number, row in zip(piece.numbers.tolist(), piece.values, strict=True)
    }


# resample


@pytest.mark.parametrize(("row_s", "rule"), [(1.0, "linear"), (0.7, "linear"), (2 / 3, "mean"), (0.1, "mean")])
def test_a_channel_is_averaged_from_one_and_a_half_samples_per_point_on_and_the_file_keeps_the_choice(
    row_s: float, rule: str
) -> None:
    found = FoundLogs(channels=(Channel(name="x"),), period_s=row_s, runs=1, rows=9)

    assert window_spec(found, 4, 2, period_s=1.0).channels[0].resample == rule


def test_each_channel_follows_its_own_rule_of_the_file() -> None:
    channels = (Channel(name="mean", resample="mean"), Channel(name="linear"), Channel(name="hold", resample="hold"))
    grid = grid_of(*channels)
    rows = [[0, 0, 0], [4, 2, 1], [2, 4, 1], [6, 8, 5], [0, 0, 0]]

    points = sealed(grid.push([0.0, 0.5, 0.75, 1.25, 4.25], rows), grid.flush())

    # the cell of point 1 holds two samples, and the line goes from the one at 0.75 to the one at 1.25
    assert points[1] == [3.0, 6.0, 1.0]


# seal


def test_a_point_is_sealed_when_the_slowest_live_channel_has_passed_it_by_the_lateness() -> None:
    grid = grid_of(Channel(name="a"), Channel(name="b"))
    grid.push([0.0], [[0.0, 0.0]])
    ahead = grid.push([1.0, 2.0, 3.0, 4.0], [[1.0]] * 4, channels=[0])
    behind = grid.push([1.0, 2.0], [[1.0]] * 2, channels=[1])  # its newest stamp minus two periods is 0
    further = grid.push([4.0], [[1.0]], channels=[1])

    assert sealed(ahead) == {}
    assert list(sealed(behind, further)) == [0, 1]


# late, twice


def test_a_sample_behind_the_sealed_points_is_dropped_and_counted_by_channel_and_changes_nothing() -> None:
    grid = grid_of(Channel(name="a"), Channel(name="b"))
    first = grid.push(np.arange(8.0), np.ones((8, 2)))
    grid.push([1.0], [[9.0]], channels=[1])
    rest = grid.flush()

    assert grid.counters.late == [0, 1]
    assert sealed(first, rest) == {number: [1.0, 1.0] for number in range(8)}


def test_a_sample_out_of_order_within_the_lateness_counts_and_of_two_with_one_stamp_the_last_one() -> None:
    grid = grid_of()
    points = sealed(grid.push([0.0, 2.0, 1.0, 1.0, 3.0], [[0.0], [2.0], [1.0], [7.0], [3.0]]), grid.flush())

    assert points == {0: [0.0], 1: [7.0], 2: [2.0], 3: [3.0]}
    assert (grid.counters.duplicate, sum(grid.counters.late)) == (1, 0)


# future


def test_a_stamp_more_than_a_second_ahead_is_dropped_and_counted() -> None:
    grid = grid_of(period_s=0.5)
    grid.push([9.5, 10.0, 10.9, 11.1], np.ones((4, 1)), now_s=10.0)

    assert (grid.counters.future, grid.counters.samples) == (1, 3)


def test_three_stamps_in_a_row_from_the_future_are_reported_as_a_wrong_clock() -> None:
    clock = FakeClock(1000.0)
    rows = [(time_s, 1.0) for time_s in (998.0, 999.0, 1000.0, 1050.0, 1051.0)]
    two = items_of(rows, clock=clock)
    three = items_of([*rows, (1052.0, 1.0)], clock=clock)

    assert [one.reason for one in two if isinstance(one, Lost) and "ahead" in one.detail] == []
    assert [one.reason for one in three if isinstance(one, Lost) and "ahead" in one.detail] == [Reason.STALE]


# gap


@pytest.mark.parametrize(("missing", "filled"), [(2, True), (3, False)])
def test_a_hole_of_up_to_three_periods_is_filled_and_marked_and_a_longer_one_is_not_a_number(
    missing: int, filled: bool
) -> None:
    grid = grid_of()
    times_s = [0.0, 1.0, 2.0 + missing, 3.0 + missing, 4.0 + missing]
    pushed, flushed = grid.push(times_s, [[time_s] for time_s in times_s]), grid.flush()
    points = sealed(pushed, flushed)
    marked = dict(
        zip(
            [*pushed.numbers.tolist(), *flushed.numbers.tolist()],
            [*pushed.marked.tolist(), *flushed.marked.tolist()],
            strict=True,
        )
    )

    assert points[2] == ([2.0] if filled else [None])
    assert marked[2] is filled


@pytest.mark.parametrize(("lost", "reasons"), [(1, []), (2, [Reason.GAP])])
def test_a_window_with_more_than_a_twentieth_of_filled_points_is_invalid(lost: int, reasons: list[Reason]) -> None:
    spec = WindowSpec(steps=20, hop=20, period_s=1.0, channels=(Channel(name="x"),))
    rows = [(float(at), 1.0) for at in range(45) if at not in [25, 30][:lost]]

    items = items_of(rows, spec)

    assert [one.reason for one in items if isinstance(one, Lost)] == reasons


# silence


def test_a_silent_channel_is_not_a_number_while_the_others_go_on_and_a_silent_source_is_stale() -> None:
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))
    lines = [f'{{"t": {at}, "values": {{"a": {at}{", " if at < 10 else ""}' for at in range(30)]
    text = [line + (f'"b": {at}}}}}' if at < 10 else "}}") for at, line in enumerate(lines)]
    items = list(follow_lines(text, spec, FakeClock(5e9), silent_s=9.0))

    gaps = [one for one in items if isinstance(one, Lost) and one.reason is Reason.GAP]
    assert {one.channel for one in gaps} == {"b"}
    assert [one.ref.time_s for one in gaps] == [10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 26.0, 28.0]
    stale = [one for one in items if isinstance(one, Lost) and one.reason is Reason.STALE]
    assert [one.detail for one in stale][:2] == ["no data for 2.0 s", "no data for 4.0 s"]


# warming


def test_after_the_start_a_hole_and_a_new_start_of_the_sender_a_stream_warms_up() -> None:
    times_s = [*range(10), *range(20, 30), *range(1, 14)]  # a hole, then the sender starts again
    items = items_of([(float(time_s), 1.0) for time_s in times_s])
    told = [(one.ref.key, one.ref.time_s, one.reason.name if isinstance(one, Lost) else "") for one in items]

    first, second = "stdin#", "stdin-2#"
    assert told[:6] == [
        (f"{first}1", 1.0, "WARMING"),
        (f"{first}3", 3.0, ""),
        (f"{first}5", 5.0, ""),
        (f"{first}7", 7.0, ""),
        (f"{first}9", 9.0, ""),
        (f"{first}10", 10.0, "GAP"),
    ]
    after = [one for one in told if one[1] is not None and one[1] >= 20 and one[0].startswith(first)]
    assert [one[2] for one in after] == ["WARMING", "", "", "", ""]
    again = [one for one in told if one[0].startswith(second)]
    assert [one[1:] for one in again] == [(2.0, "WARMING"), (4.0, ""), (6.0, ""), (8.0, ""), (10.0, ""), (12.0, "")]


# hop


@pytest.mark.parametrize(("steps", "hop"), [(4, 2), (3, 1), (2, 5)])
def test_windows_end_at_each_hop_after_the_first_full_one_and_carry_the_time_of_their_last_point(
    steps: int, hop: int
) -> None:
    spec = WindowSpec(steps=steps, hop=hop, period_s=1.0, channels=(Channel(name="x"),))
    items = [one for one in items_of([(float(at), float(at)) for at in range(30)], spec) if isinstance(one, Item)]

    assert [one.ref.time_s for one in items] == list(range(steps - 1, 30, hop))
    assert [one.data[:, 0].tolist() for one in items] == [
        list(range(end - steps + 1, end + 1)) for end in range(steps - 1, 30, hop)
    ]


# the property of all rules together

CHANNELS = (
    Channel(name="linear", low=-3.0, high=3.0),
    Channel(name="mean", resample="mean"),
    Channel(name="hold", resample="hold"),
)
SPEC = WindowSpec(steps=4, hop=3, period_s=1.0, channels=CHANNELS)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.from_bytes(model_bytes(SPEC, threshold=1.0))


def verdicts(items: Sequence[Item | Lost], detector: Detector) -> list[tuple[object, ...]]:
    """Return everything that a line reports about items, with the checks of health."""
    judge = healthy_judge(judge_of(detector), detector.card, FakeClock(), live=False)
    made = [decide(item, judge, seq=number, wall_s=0.0) for number, item in enumerate(items)]
    return [
        (one.ref, one.verdict.status, one.verdict.reason, repr(one.verdict.score), one.detail, one.channel)
        for one in made
    ]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_verdicts_do_not_depend_on_the_order_of_arrival_within_the_lateness_nor_on_the_speed(
    seed: int, detector: Detector
) -> None:
    random = np.random.default_rng(seed)
    times_s, values = samples(random)
    order = np.argsort(times_s + random.uniform(0, 1.999, len(times_s)))
    log = log_of(times_s, values)

    speeds: tuple[Speed, ...] = ("max", "recorded")
    replayed = [
        verdicts(list(replay_log(log, SPEC, FakeClock(), speed, threading.Event())), detector) for speed in speeds
    ]
    grid, windows, mixed = Grid(SPEC), Windows(SPEC, "a"), list[Item | Lost]()
    while len(order):
        block, order = np.split(order, [random.integers(1, 40)])
        mixed += windows.push(grid.push(times_s[block], values[block]))
    mixed += windows.push(grid.flush())

    assert replayed[0] == replayed[1] == verdicts(mixed, detector)


def samples(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    times_s = np.cumsum(random.choice([0.25, 0.5, 1.0, 1.25, 6.0], 120, p=[0.3, 0.3, 0.2, 0.18, 0.02]))
    values = random.normal(0, 1.5, (len(times_s), 3)).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    values[random.random(values.shape) < 0.01] = 20.0
    begin = int(random.integers(0, 100))
    values[begin : begin + 30, 0] = 0.5
    return times_s, values


def log_of(times_s: NDArray[np.float64], values: NDArray[np.float32]) -> Log:
    found = FoundLogs(channels=CHANNELS, period_s=1.0, runs=1, rows=len(times_s))
    return Log(found=found, runs=(Run(name="a", times_s=times_s, values=values),))


# samples as lines


def items_of(
    rows: Sequence[tuple[float, float]],
    spec: WindowSpec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="x"),)),  # noqa: B008 - immutable
    *,
    clock: FakeClock | None = None,
) -> list[Item | Lost]:
    """Return the items of rows (time, value) that arrive line by line. The clock is far from the times of the rows."""
    text = [f'{{"t": {time_s}, "values": [{value}]}}' for time_s, value in rows]
    return list(follow_lines(text, spec, clock or FakeClock(5e9)))


def follow_lines(
    text: Sequence[str], spec: WindowSpec, clock: FakeClock, *, silent_s: float = 0.0
) -> Iterator[Item | Lost]:
    def reads() -> Iterator[Read]:
        for line in text:
            yield Read((line.encode(),), len(line))
        for _ in itertools.repeat(None, int(silent_s)):
            clock.sleep(1.0)
            yield Read((), 0)

    return receive(reads(), spec, Sender("stdin", "standard input"), clock, threading.Event(), stale_after_s=2.0)
