"""Counting over time: what verdicts on the windows of a log are worth, against rows whose truth is known.

A window is defective if any of its rows is faulty. A window with rows in a fault's stated recovery, but none faulty,
counts as neither. A fault is caught if one of its windows is REJECT. INVALID windows are judged neither good nor bad:
they are counted apart. Beside every figure stands what rejecting at random at the promised rate would have caught.
"""

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from andon.calibration.evaluation.metrics import random_dummy, within_promise
from andon.runtime.errors import DataError
from andon.runtime.schema import Status


class WindowTruth(IntEnum):
    """What a window of a log is."""

    GOOD = 0
    DEFECTIVE = 1
    NEITHER = 2


class Fault(Struct, frozen=True):
    """One contiguous stretch of faulty rows ``start <= row < stop`` of one run."""

    start: int
    stop: int
    name: str = ""


class Counts(Struct, frozen=True, kw_only=True):
    """Windows and faults, counted; `+` adds another run's."""

    good: int = 0
    """Valid good windows."""
    false_rejects: int = 0
    """Of those, REJECT."""
    defective: int = 0
    """Valid defective windows."""
    misses: int = 0
    """Of those, not REJECT."""
    neither: int = 0
    """Windows in recovery, whatever the verdict."""
    invalid: int = 0
    """INVALID windows outside recovery."""
    faults: int = 0
    caught: int = 0
    """Faults with at least one window that is REJECT."""
    dummy_caught: float = 0.0
    """Faults caught, on average, by rejecting valid windows at random at the promised rate."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def within_promise(self, alpha: float) -> bool:
        """Whether the false rejects are at most the 99 % quantile of what a true rate of alpha gives."""
        return within_promise(self.false_rejects, self.good, alpha)


def label_windows(
    faulty: ArrayLike, starts: ArrayLike, stops: ArrayLike, recovering: ArrayLike | None = None
) -> NDArray[np.uint8]:
    """The `WindowTruth` of each window of one run, ``[N]``.

    Args:
        faulty: ``[rows]`` bool.
        starts: ``[N]`` first row of each window.
        stops: ``[N]`` one past its last row; a window has at least one row.
        recovering: ``[rows]`` bool: within a fault's stated recovery.

    Raises:
        DataError: windows outside the rows, or lengths that differ.
    """
    rows = np.asarray(faulty, np.bool_)
    first, last = _windows(starts, stops, len(rows))
    resting = np.zeros(len(rows), np.bool_) if recovering is None else np.asarray(recovering, np.bool_)
    if resting.shape != rows.shape:
        raise DataError(f"expected a truth a row, got {list(rows.shape)} faulty and {list(resting.shape)} recovering.")
    truth = np.full(len(first), WindowTruth.GOOD, np.uint8)
    truth[_any_within(resting, first, last)] = WindowTruth.NEITHER
    truth[_any_within(rows, first, last)] = WindowTruth.DEFECTIVE
    return truth


def faults_of(faulty: ArrayLike, names: ArrayLike | None = None) -> list[Fault]:
    """The contiguous stretches of faulty rows of one run; a change of name starts another fault.

    Args:
        faulty: ``[rows]`` bool.
        names: ``[rows]`` name of the fault, where known.
    """
    rows = np.asarray(faulty, np.bool_)
    called = np.full(len(rows), "") if names is None else np.asarray(names).astype(np.str_)
    if called.shape != rows.shape:
        raise DataError(f"expected a name a row, got {list(called.shape)} for {list(rows.shape)} rows.")
    if not rows.any():
        return []
    changes = np.flatnonzero((rows[1:] != rows[:-1]) | (called[1:] != called[:-1])) + 1
    edges = [0, *changes.tolist(), len(rows)]
    return [Fault(start, stop, str(called[start])) for start, stop in pairwise(edges) if rows[start]]


def caught_faults(
    faults: Sequence[Fault], rejected: ArrayLike, starts: ArrayLike, stops: ArrayLike
) -> NDArray[np.bool_]:
    """Whether one of the windows that hold rows of each fault is REJECT, ``[faults]``.

    Args:
        faults: of one run.
        rejected: ``[N]`` bool, a window.
        starts: ``[N]`` first row of each window.
        stops: ``[N]`` one past its last row.
    """
    first, last = _windows(starts, stops, None)
    reject = np.asarray(rejected, np.bool_)
    return np.array([bool((reject & _touches(fault, first, last)).any()) for fault in faults], np.bool_)


def count(
    status: ArrayLike,
    starts: ArrayLike,
    stops: ArrayLike,
    *,
    faulty: ArrayLike,
    recovering: ArrayLike | None = None,
    names: ArrayLike | None = None,
    alpha: float,
) -> Counts:
    """Count the verdicts on the windows of one run.

    Args:
        status: ``[N]`` `Status` of each window.
        starts: ``[N]`` first row of each window.
        stops: ``[N]`` one past its last row.
        faulty: ``[rows]`` bool, the truth.
        recovering: ``[rows]`` bool: within a fault's stated recovery.
        names: ``[rows]`` name of the fault.
        alpha: the promised rate, at which the dummy rejects.

    Raises:
        DataError: lengths that differ, or windows outside the rows.
    """
    verdicts = np.asarray(status, np.uint8)
    truth = label_windows(faulty, starts, stops, recovering)
    if verdicts.shape != truth.shape:
        raise DataError(f"expected a status a window, got {list(verdicts.shape)} for {list(truth.shape)} windows.")
    valid = verdicts != Status.INVALID
    reject = verdicts == Status.REJECT
    good = valid & (truth == WindowTruth.GOOD)
    defective = valid & (truth == WindowTruth.DEFECTIVE)
    faults = faults_of(faulty, names)
    first, last = _windows(starts, stops, len(np.asarray(faulty)))
    chances = [int((valid & _touches(fault, first, last)).sum()) for fault in faults]
    return Counts(
        good=int(good.sum()),
        false_rejects=int((good & reject).sum()),
        defective=int(defective.sum()),
        misses=int((defective & ~reject).sum()),
        neither=int((truth == WindowTruth.NEITHER).sum()),
        invalid=int((~valid & (truth != WindowTruth.NEITHER)).sum()),
        faults=len(faults),
        caught=int(caught_faults(faults, reject, starts, stops).sum()),
        dummy_caught=random_dummy(chances, alpha),
    )


def _windows(starts: ArrayLike, stops: ArrayLike, rows: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, last = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    if first.shape != last.shape or first.ndim != 1:
        raise DataError(f"expected a start and a stop a window, got {list(first.shape)} and {list(last.shape)}.")
    if (first < 0).any() or (first >= last).any() or (rows is not None and (last > rows).any()):
        raise DataError(f"expected windows with 0 <= start < stop{'' if rows is None else f' <= {rows} rows'}.")
    return first, last


def _any_within(rows: NDArray[np.bool_], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.bool_]:
    before = np.concatenate([[0], np.cumsum(rows)])
    return np.asarray(before[last] > before[first])


def _touches(fault: Fault, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((first < fault.stop) & (last > fault.start))
