"""The memory of a page about a line: the newest item, the history of scores, and the counts of the shift."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.outcomes import some_outcome
from tests.sources.fake_clock import FakeClock

from andon.monitor.line_view import HISTORY_S, RECENT, LineView, ShiftState
from andon.runtime.schema import Status


def no_shift(_wall_s: float) -> float:
    return 0.0


def hourly(wall_s: float) -> float:
    return wall_s - wall_s % 3600


def test_the_newest_item_keeps_its_frame_and_older_items_do_not() -> None:
    view = LineView(FakeClock(), no_shift)
    for seq in range(1, 4):
        view.put(some_outcome(seq))

    assert view.seen is not None
    assert view.seen.outcome.data is not None
    older = view.find(2, "line.mp4#2")
    assert older is not None
    assert older.data is None
    assert not older.verdict.evidence


def test_an_item_without_a_frame_is_the_last_one_but_the_picture_stays_the_older_one() -> None:
    """Complaint 3: a silent camera is INVALID, and the age of the picture grows."""
    clock = FakeClock()
    view = LineView(clock, no_shift)
    view.put(some_outcome(1))
    clock.now_s = 10.0
    view.put(some_outcome(2, Status.INVALID, data=None))

    assert view.last is not None
    assert view.seen is not None
    assert (view.last.outcome.seq, view.last.at_s) == (2, 10.0)
    assert (view.seen.outcome.seq, view.seen.at_s) == (1, 0.0)


@given(
    items=st.lists(
        st.tuples(st.floats(0, 5), st.sampled_from(list(Status)), st.floats(-1e6, 1e6)), min_size=1, max_size=60
    )
)
def test_the_history_has_the_range_the_worst_status_and_the_number_of_each_second(
    items: list[tuple[float, Status, float]],
) -> None:
    clock = FakeClock()
    view = LineView(clock, no_shift)
    expected: dict[int, list[tuple[Status, float]]] = {}
    for pause_s, status, score in items:
        clock.now_s += pause_s
        view.put(some_outcome(1, status, score))
        expected.setdefault(int(clock.now_s), []).append((status, math.nan if status is Status.INVALID else score))

    found = view.seconds()

    assert [second.at for second in found] == list(expected)
    for second in found:
        scores = [score for _, score in expected[second.at] if not math.isnan(score)]
        assert second.items == len(expected[second.at])
        assert second.worst == max(status for status, _ in expected[second.at]).name
        assert (second.low, second.high) == ((min(scores), max(scores)) if scores else (None, None))


def test_the_memory_of_a_line_is_bounded() -> None:
    clock = FakeClock()
    view = LineView(clock, no_shift)
    for seq in range(1, 1001):
        clock.now_s += 1.0
        view.put(some_outcome(seq))

    assert len(view.seconds()) == HISTORY_S
    assert view.find(1000 - RECENT, f"line.mp4#{1000 - RECENT}") is None
    assert view.find(1000 - RECENT + 1, f"line.mp4#{1000 - RECENT + 1}") is not None


def test_the_counts_begin_again_with_each_shift_and_say_whether_the_shift_is_whole() -> None:
    clock = FakeClock(1800.0)
    view = LineView(clock, hourly)
    view.put(some_outcome(1, Status.REJECT, wall_s=1801.0))

    first = view.shift(1802.0)
    assert (first.since_wall_s, first.whole, first.by_status) == (1800.0, False, {"REJECT": 1})

    view.put(some_outcome(2, Status.OK, wall_s=3601.0))
    second = view.shift(3602.0)
    assert (second.since_wall_s, second.whole, second.by_status) == (3600.0, True, {"OK": 1})


def test_a_shift_without_items_has_counts_of_zero_and_not_those_of_the_last_shift() -> None:
    view = LineView(FakeClock(1800.0), hourly)
    view.put(some_outcome(1, wall_s=1801.0))

    assert view.shift(7300.0).by_status == {}


def test_a_clock_that_is_set_back_does_not_begin_an_old_shift_again() -> None:
    """Complaint 22: counters do not depend on steps of the clock."""
    view = LineView(FakeClock(3700.0), hourly)
    view.put(some_outcome(1, wall_s=3701.0))
    view.put(some_outcome(2, wall_s=100.0))

    assert view.shift(101.0).by_status == {"OK": 2}


def test_an_item_is_found_only_by_its_number_and_its_key() -> None:
    view = LineView(FakeClock(), no_shift)
    view.put(some_outcome(7))

    assert view.find(7, "line.mp4#7") is not None
    assert view.find(7, "line.mp4#8") is None
    assert view.find(8, "line.mp4#7") is None


def test_the_counts_of_a_shift_go_on_after_a_restart_and_those_of_another_shift_do_not() -> None:
    before = LineView(FakeClock(1800.0), hourly)
    before.put(some_outcome(1, Status.REJECT, wall_s=1801.0))
    kept: ShiftState = before.shift_state(1801.0)

    same, next_hour = LineView(FakeClock(2000.0), hourly), LineView(FakeClock(3700.0), hourly)
    same.put(some_outcome(1, wall_s=2001.0))
    for view in (same, next_hour):
        view.resume(kept)

    assert same.shift(2002.0).by_status == {"OK": 1, "REJECT": 1}
    assert (same.shift(2002.0).since_wall_s, same.shift(2002.0).whole) == (1800.0, False)
    assert next_hour.shift(3701.0).by_status == {}


def test_the_verdicts_of_another_model_file_do_not_count_against_the_promise_of_the_present_one() -> None:
    view = LineView(FakeClock(1800.0), hourly)
    view.put(some_outcome(1, Status.REJECT, wall_s=1801.0))
    kept = view.shift_state(1801.0)
    other = some_outcome(2, wall_s=1802.0)
    view.put(replace(other, verdict=replace(other.verdict, model="77b1")))

    counts = view.shift(1803.0)
    assert (counts.by_status, counts.model) == ({"REJECT": 1, "OK": 1}, "77b1")
    assert counts.by_status_of_model == {"OK": 1}
    for model, expected in (("0f3a", {"REJECT": 1, "OK": 1}), ("77b1", {"OK": 1})):
        again = LineView(FakeClock(1900.0), hourly)
        again.put(replace(other, verdict=replace(other.verdict, model=model)))
        again.resume(kept)
        assert again.shift(1901.0).by_status_of_model == expected
        assert again.shift(1901.0).by_status == {"REJECT": 1, "OK": 1}
    assert view.shift(3700.0).by_status_of_model == {}
