"""The truth about windows, from the labels of a log. Evaluation joins it with the windows by key; detectors never see it."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.items import Ref
from andon.runtime.schema import WindowSpec
from andon.sources.series.log import Log, Run


class WindowTruth(Struct, frozen=True, kw_only=True):
    """The truth about one window. A window is defective if any of its rows is faulty."""

    faulty: bool
    recovering: bool
    """True if no row is faulty but some are in the recovery time of a fault. Such a window is neither good nor defective."""
    fault: str = ""
    """Name of the last fault in the window, if the log names faults."""
    events: tuple[str, ...] = ()
    """Faults that the window touches; ``run:0`` is the first fault of the run.

    A fault is detected if one of its windows is REJECT.
    """

    @property
    def good(self) -> bool:
        """True if the window is neither faulty nor recovering. A REJECT is then a false reject."""
        return not (self.faulty or self.recovering)


def window_truth(log: Log, spec: WindowSpec, refs: Sequence[Ref]) -> dict[str, WindowTruth]:
    """Return the truth about windows by key. Windows of runs without labels are left out.

    Args:
        log: the log from which the windows were cut.
        spec: the specification with the steps and the period of the windows.
        refs: the windows, including GAP ones. Each covers the rows in ``(time_s - steps * period_s, time_s]``.
    """
    runs = {run.name: run for run in log.runs if run.faulty is not None}
    by_run: dict[str, list[Ref]] = {}
    for ref in refs:
        if ref.group in runs and ref.time_s is not None:
            by_run.setdefault(ref.group, []).append(ref)
    return {key: truth for name, some in by_run.items() for key, truth in _of_run(runs[name], spec, some)}


def events_of(run: Run) -> list[tuple[str, int, int]]:
    """Return the identity of each fault of a run, its first row, and the row after its last one.

    Consecutive faulty rows with the same fault name are one fault.
    """
    if run.faulty is None:
        return []
    name = run.fault if run.fault is not None else np.full(len(run.faulty), "")
    faulty = np.concatenate([[False], run.faulty, [False]])
    starts = np.flatnonzero(faulty[1:] & ~faulty[:-1])
    stops = np.flatnonzero(faulty[:-1] & ~faulty[1:])
    changes = np.flatnonzero(run.faulty[1:] & run.faulty[:-1] & (name[1:] != name[:-1])) + 1
    first, last = np.sort(np.concatenate([starts, changes])), np.sort(np.concatenate([stops, changes]))
    return [(f"{run.name}:{at}", int(a), int(b)) for at, (a, b) in enumerate(zip(first, last, strict=True))]


def rows_of(run: Run, spec: WindowSpec, ends_s: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return `begin` and `end` of the rows of each window, given its end time in seconds; ``begin <= row < end``."""
    slack_s = 1e-3 * spec.period_s  # as in the grid: a stamp may miss its point by a thousandth of a period
    begin = np.searchsorted(run.times_s, ends_s - spec.steps * spec.period_s + slack_s, side="right")
    end = np.searchsorted(run.times_s, ends_s + slack_s, side="right")
    return begin, end


def _of_run(run: Run, spec: WindowSpec, refs: list[Ref]) -> list[tuple[str, WindowTruth]]:
    assert run.faulty is not None
    begin, end = rows_of(run, spec, np.array([ref.time_s for ref in refs], dtype=np.float64))
    faulty = _any(run.faulty, begin, end)
    recovering = np.zeros(len(refs), dtype=bool) if run.recovering is None else _any(run.recovering, begin, end)
    events = events_of(run)
    firsts = np.array([first for _, first, _ in events], dtype=np.intp)
    stops = np.array([stop for _, _, stop in events], dtype=np.intp)
    low, high = np.searchsorted(stops, begin, side="right"), np.searchsorted(firsts, end, side="left")
    truths = []
    for at, ref in enumerate(refs):
        touched = events[low[at] : high[at]] if faulty[at] else []
        name = str(run.fault[touched[-1][1]]) if touched and run.fault is not None else ""
        truths.append(
            (
                ref.key,
                WindowTruth(
                    faulty=bool(faulty[at]),
                    recovering=bool(recovering[at] and not faulty[at]),
                    fault=name,
                    events=tuple(event for event, _, _ in touched),
                ),
            )
        )
    return truths


def _any(rows: NDArray[np.bool_], begin: NDArray[np.intp], end: NDArray[np.intp]) -> NDArray[np.bool_]:
    running = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(rows, out=running[1:])
    return np.asarray(running[end] > running[np.minimum(begin, end)])
