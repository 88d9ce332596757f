"""A sensor log in memory: one or more runs of rows, before they are cut into windows."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.sources.collection import FoundLogs


class Run(Struct, frozen=True, kw_only=True):
    """One contiguous recording: a file, a simulation."""

    name: str
    times_s: NDArray[np.float64]
    """``[n]``, ascending."""
    values: NDArray[np.float32]
    """``[n, C]`` in sensor units; NaN where a channel gave nothing."""
    faulty: NDArray[np.bool_] | None = None
    """``[n]``: truth, where known; joined only in evaluation (`truth.py`)."""
    recovering: NDArray[np.bool_] | None = None
    """``[n]``: rows within a fault's stated recovery, which count as neither."""
    fault: NDArray[np.str_] | None = None
    """``[n]``: name of the fault, or empty."""


class Log(Struct, frozen=True, kw_only=True):
    """All runs of one source, with what they have in common."""

    found: FoundLogs
    runs: tuple[Run, ...]
