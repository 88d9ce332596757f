"""Compute effects of chance: the result of random rejects, and how many false rejects are consistent with a promise."""

import numpy as np
from numpy.typing import ArrayLike


def random_dummy(units_per_defect: ArrayLike, alpha: float) -> float:
    """Return the mean number of defects that random rejects at rate alpha catch. A detector must catch more.

    Args:
        units_per_defect: ``[d]``, the number of chances to catch each defect: the windows of a fault, the frames of a part,
            or 1.
        alpha: rate of rejection, 0 <= alpha <= 1.

    >>> round(random_dummy([1, 1, 1, 1], 0.05), 3), round(random_dummy([100], 0.05), 3)
    (0.2, 0.994)
    """
    units = np.asarray(units_per_defect, np.float64)
    return float((1.0 - (1.0 - alpha) ** units).sum())


def within_promise(false_rejects: int, good: int, alpha: float) -> bool:
    """Return whether this number of false rejects among `good` new good units is consistent with a promised rate alpha.

    The number is consistent if it is at most the 99 % quantile for a true rate of exactly alpha. This is a plausibility check,
    not a proof.

    >>> within_promise(9, 300, 0.01), within_promise(7, 300, 0.01)
    (False, True)
    """
    from scipy.stats import binom

    return bool(false_rejects <= binom.ppf(0.99, good, alpha))
