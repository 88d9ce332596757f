"""A sensor log in memory: one or more runs of rows, before they are cut into windows."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.sources.collection import FoundLogs


class Run(Struct, frozen=True, kw_only=True):
    """One continuous recording: a file or a simulation."""

    name: str
    times_s: NDArray[np.float64]
    """``[n]``, ascending."""
    values: NDArray[np.float32]
    """``[n, C]`` in sensor units; NaN where a channel has no sample."""
    faulty: NDArray[np.bool_] | None = None
    """``[n]``: the truth, if known. Only evaluation uses it (`log_truth.py`)."""
    recovering: NDArray[np.bool_] | None = None
    """``[n]``: rows in the recovery time that is stated for a fault. They count as neither good nor faulty."""
    fault: NDArray[np.str_] | None = None
    """``[n]``: name of the fault; empty if there is none."""
    time_per_s: float = 1.0
    """Units of the file's time column per second, if its name states a unit. Tables of intervals use the same unit."""


class Log(Struct, frozen=True, kw_only=True):
    """All runs of one source, and a description of them."""

    found: FoundLogs
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    """Readable sentences about the reading of the files: label columns, units of time, sorting."""
