"""Counting verdicts on the windows of a log."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from andon.calibration.evaluation.counting import (
    Counts,
    Fault,
    WindowTruth,
    caught_faults,
    count,
    faults_of,
    label_windows,
)
from andon.runtime.errors import DataError
from andon.runtime.schema import Status

OK, INVALID, REJECT = Status.OK, Status.INVALID, Status.REJECT
GOOD, DEFECTIVE, NEITHER = WindowTruth.GOOD, WindowTruth.DEFECTIVE, WindowTruth.NEITHER

Bools = NDArray[np.bool_]


@st.composite
def logs(draw: st.DrawFn) -> tuple[Bools, Bools, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    rows = draw(st.integers(5, 60))
    faulty, recovering = draw(arrays(np.bool_, rows)), draw(arrays(np.bool_, rows))
    length, hop = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    starts = np.arange(0, rows - length + 1, hop)
    status = draw(arrays(np.uint8, len(starts), elements=st.sampled_from([0, 1, 2, 3])))
    return faulty, recovering, starts, starts + length, status


def test_a_window_is_defective_by_one_faulty_row_and_neither_by_one_recovering_row() -> None:
    faulty = [0, 0, 0, 1, 0, 0, 0, 0, 0]
    recovering = [0, 0, 0, 0, 1, 1, 1, 0, 0]

    found = label_windows(faulty, [0, 1, 3, 4, 6, 7], [2, 4, 5, 6, 8, 9], recovering)

    assert found.tolist() == [GOOD, DEFECTIVE, DEFECTIVE, NEITHER, NEITHER, GOOD]


@given(log=logs())
def test_labels_agree_with_looking_at_each_window(
    log: tuple[Bools, Bools, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]],
) -> None:
    faulty, recovering, starts, stops, _ = log
    expected = [
        DEFECTIVE if faulty[a:b].any() else NEITHER if recovering[a:b].any() else GOOD
        for a, b in zip(starts, stops, strict=True)
    ]

    assert label_windows(faulty, starts, stops, recovering).tolist() == expected


def test_faults_are_the_stretches_of_faulty_rows() -> None:
    assert faults_of([1, 1, 0, 0, 1, 0, 1]) == [Fault(0, 2), Fault(4, 5), Fault(6, 7)]
    assert faults_of([0, 0]) == []
    assert faults_of([]) == []


def test_a_change_of_name_starts_another_fault() -> None:
    assert faults_of([1, 1, 1, 0], ["leak", "leak", "jam", ""]) == [Fault(0, 2, "leak"), Fault(2, 3, "jam")]


@given(faulty=arrays(np.bool_, st.integers(0, 40)))
def test_faults_cover_the_faulty_rows_and_no_other(faulty: Bools) -> None:
    covered = np.zeros(len(faulty), np.bool_)
    for fault in faults_of(faulty):
        covered[fault.start : fault.stop] = True

    np.testing.assert_array_equal(covered, faulty)


def test_a_fault_is_caught_by_one_reject_among_the_windows_that_hold_its_rows() -> None:
    faults = [Fault(2, 4), Fault(6, 7), Fault(9, 12)]

    caught = caught_faults(faults, [False, True, False, True], [0, 3, 6, 12], [3, 6, 9, 15])

    assert caught.tolist() == [True, False, False]


def test_everything_is_counted_once() -> None:
    faulty = np.zeros(100, np.bool_)
    faulty[20:30] = faulty[60:70] = True
    recovering = np.zeros(100, np.bool_)
    recovering[30:40] = True
    starts = np.arange(0, 100, 10)
    status = [OK, REJECT, REJECT, REJECT, OK, INVALID, OK, OK, OK, OK]

    found = count(status, starts, starts + 10, faulty=faulty, recovering=recovering, alpha=0.05)

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


@given(log=logs())
def test_every_window_is_good_defective_neither_or_invalid(
    log: tuple[Bools, Bools, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]],
) -> None:
    faulty, recovering, starts, stops, status = log
    found = count(status, starts, stops, faulty=faulty, recovering=recovering, alpha=0.05)

    assert found.good + found.defective + found.neither + found.invalid == len(starts)
    assert found.false_rejects <= found.good
    assert found.misses <= found.defective
    assert found.caught <= found.faults
    assert 0 <= found.dummy_caught <= found.faults


@given(log=logs())
def test_rejecting_every_window_catches_every_fault_that_has_one_and_misses_none(
    log: tuple[Bools, Bools, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]],
) -> None:
    faulty, recovering, starts, stops, _ = log
    found = count(np.full(len(starts), REJECT), starts, stops, faulty=faulty, recovering=recovering, alpha=1.0)

    assert found.caught == found.dummy_caught
    assert found.misses == 0
    assert found.false_rejects == found.good


def test_an_invalid_window_neither_catches_nor_misses() -> None:
    found = count([INVALID], [0], [5], faulty=[0, 0, 1, 0, 0], alpha=0.05)

    assert found == Counts(invalid=1, faults=1)


def test_runs_are_added_up() -> None:
    one = Counts(good=100, false_rejects=2, faults=1, caught=1, dummy_caught=0.5)
    other = Counts(good=50, false_rejects=1, faults=2, dummy_caught=0.25)

    assert one + other == Counts(good=150, false_rejects=3, faults=3, caught=1, dummy_caught=0.75)


def test_nine_false_rejects_of_300_are_more_than_one_percent_explains() -> None:
    assert Counts(good=300, false_rejects=7).within_promise(0.01)
    assert not Counts(good=300, false_rejects=9).within_promise(0.01)


@pytest.mark.parametrize(
    ("starts", "stops", "message"),
    [
        ([0], [11], "<= 10 rows"),
        ([3], [3], "start < stop"),
        ([-1], [3], "0 <= start"),
        ([0, 1], [3], "a start and a stop"),
    ],
)
def test_windows_outside_the_log_are_refused(starts: list[int], stops: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_windows(np.zeros(10), starts, stops)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="a truth a row"):
        label_windows([0, 1], [0], [1], [0])
    with pytest.raises(DataError, match="a name a row"):
        faults_of([0, 1], ["leak"])
    with pytest.raises(DataError, match="a status a window"):
        count([0, 0], [0], [1], faulty=[0, 1], alpha=0.05)
