"""Leave out the rows of a log that are labelled as faulty, before a detector is trained or calibrated on it."""

import numpy as np
from msgspec.structs import replace

from andon.foundation.errors import DataError
from andon.sources.series.log import Log, Run


def good_rows(log: Log) -> Log:
    """Return the log without the values of rows that are faulty or in a recovery time. A log without labels stays as it is.

    The rows stay, without values. So a window that touches more of them than a gap may bridge is a gap, and keys and times of
    the other windows are those of the whole log.

    Raises:
        DataError: all rows of all runs are faulty.
    """
    if not any(_left_out(run).any() for run in log.runs):
        return log
    if all(_left_out(run).all() for run in log.runs):
        raise DataError(
            "log: expected rows that are labelled as good, got only rows that are labelled as faulty. Are 0 and 1 swapped in the "
            "label column? 0 means good."
        )
    return replace(log, runs=tuple(_without(run) for run in log.runs))


def faulty_count(log: Log) -> int:
    """Return the number of rows that `good_rows` leaves out."""
    return sum(int(_left_out(run).sum()) for run in log.runs)


def _left_out(run: Run) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    none = np.zeros(len(run.times_s), dtype=np.bool_)
    faulty = none if run.faulty is None else run.faulty
    return faulty | (none if run.recovering is None else run.recovering)


def _without(run: Run) -> Run:
    out = _left_out(run)
    if not out.any():
        return run
    return replace(run, values=np.where(out[:, np.newaxis], np.float32(np.nan), run.values))
