"""Facts about the samples of each sensor channel. A source measures them, and a monitor compares them with limits."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ChannelSamples(Struct, frozen=True, kw_only=True, eq=False):
    """Facts about the samples up to the end of one window, before they were put onto the grid.

    Arrays are ``[C]``, in the order of `WindowSpec.channels`. Times are in source seconds, so that the facts depend on the
    samples only, and not on the time of their arrival. NaN means unknown.
    """

    begin_s: float
    """Time of the first point of the run."""
    end_s: float
    """Time of the last point of the window."""
    seen_s: Floats
    """Time of the newest sample. Minus infinity if there was none in this run."""
    constant_s: Floats
    """Time between the newest sample and the first one with the same value. A pause that cannot be bridged ends it."""
    mean_period_s: Floats
    """Mean distance of the last samples. Pauses are left out."""
    median_period_s: Floats
    """Median distance of the last samples."""
    low: Floats
    """Lowest finite sample within the window."""
    high: Floats
    """Highest finite sample within the window."""
    not_finite: NDArray[np.bool_]
    """True if a sample within the window was infinite."""
