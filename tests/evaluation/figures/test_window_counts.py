"""Counting verdicts on the windows of a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.evaluation.figures.window_counts import Counts, count
from andon.foundation.errors import DataError
from andon.runtime.schema import Status
from andon.sources.series.log_truth import WindowTruth

OK, INVALID, REJECT = Status.OK, Status.INVALID, Status.REJECT
GOOD = WindowTruth(faulty=False, recovering=False)
RECOVERING = WindowTruth(faulty=False, recovering=True)

windows = st.one_of(
    st.just(GOOD),
    st.just(RECOVERING),
    st.lists(st.sampled_from(["a:0", "a:1", "b:0"]), min_size=1, max_size=2, unique=True).map(
        lambda events: WindowTruth(faulty=True, recovering=False, events=tuple(events))
    ),
)
judged = st.lists(st.tuples(windows, st.sampled_from(list(Status))), max_size=40)
JudgedPart = list[tuple[WindowTruth, Status]]


def _faulty(*events: str) -> WindowTruth:
    return WindowTruth(faulty=True, recovering=False, events=events)


def _count(pairs: JudgedPart, *, alpha: float = 0.05) -> Counts:
    return count(
        {str(place): truth for place, (truth, _) in enumerate(pairs)},
        {str(place): status for place, (_, status) in enumerate(pairs)},
        alpha=alpha,
    )


def test_everything_is_counted_once() -> None:
    pairs: JudgedPart = [
        *[(GOOD, OK)] * 5,
        (GOOD, REJECT),
        (_faulty("a:0"), REJECT),
        (_faulty("a:1"), OK),
        (RECOVERING, REJECT),
        (GOOD, INVALID),
    ]

    found = _count(pairs)

    assert found == Counts(
        good=6,
        false_rejects=1,
        defective=2,
        misses=1,
        neither=1,
        invalid=1,
        faults=2,
        caught=1,
        dummy_caught=found.dummy_caught,
    )
    assert found.dummy_caught == pytest.approx(2 * 0.05)


@given(pairs=judged)
def test_every_window_is_good_defective_neither_or_invalid(pairs: JudgedPart) -> None:
    found = _count(pairs)

    assert found.good + found.defective + found.neither + found.invalid == len(pairs)
    assert found.false_rejects <= found.good
    assert found.misses <= found.defective
    assert found.caught <= found.faults
    assert 0 <= found.dummy_caught <= found.faults


@given(pairs=judged)
def test_rejecting_every_window_catches_every_fault_and_misses_none(pairs: JudgedPart) -> None:
    found = _count([(truth, REJECT) for truth, _ in pairs], alpha=1.0)

    assert found.caught == found.dummy_caught == found.faults
    assert found.misses == 0
    assert found.false_rejects == found.good


def test_a_fault_that_no_window_touches_is_missed() -> None:
    found = count({"0": GOOD}, {"0": OK}, alpha=0.05, faults=["a:0"])

    assert (found.faults, found.caught, found.dummy_caught) == (1, 0, 0.0)


def test_an_invalid_window_neither_catches_nor_misses() -> None:
    assert _count([(_faulty("a:0"), INVALID)]) == Counts(invalid=1, faults=1)


def test_a_window_without_a_verdict_is_refused() -> None:
    with pytest.raises(DataError, match="expected a verdict, got none"):
        count({"0": GOOD}, {}, alpha=0.05)


def test_runs_are_added_up() -> None:
    one = Counts(good=100, false_rejects=2, faults=1, caught=1, dummy_caught=0.5)
    other = Counts(good=50, false_rejects=1, faults=2, dummy_caught=0.25)

    assert one + other == Counts(good=150, false_rejects=3, faults=3, caught=1, dummy_caught=0.75)


def test_nine_false_rejects_of_300_are_more_than_one_percent_explains() -> None:
    assert not Counts(good=300, false_rejects=9).within_promise(0.01)
    assert Counts(good=300, false_rejects=7).within_promise(0.01)
