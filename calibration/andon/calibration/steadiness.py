"""Check that scores did not drift while the calibration windows were recorded. Under drift no promise survives.

The record is cut into 2 and into 4 pieces of equal length. The levels and the spreads of the pieces are compared by ranks
(Kruskal and Wallis, Journal of the American Statistical Association 47, 1952). A spread is the distance from the median of the
piece. Neighbouring windows depend on each other. The statistic is therefore divided by the autocorrelation
time within pieces, the largest one over all pieces.

The check cannot see states that the record does not hold. It finds a slow drift by half a standard deviation in half of the
records of 600 independent windows, and in all records of 3000.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, rankdata

from andon.calibration.dependence import autocorrelation_time
from andon.runtime.calibration_facts import Steadiness

PIECES = (2, 4)
"""Numbers of pieces that a run is cut into."""
LIMIT = 0.005
"""Lowest p-value for which a promise is made."""
SHORTEST = 40
"""Shortest run that is checked, in windows. Pieces of shorter runs are too small to be compared."""


def steadiness(runs: Sequence[ArrayLike]) -> Steadiness | None:
    """Return the smallest p-value over all comparisons within runs, multiplied by the number of runs (Bonferroni).

    Differences between whole runs are not drift. `dependence.design_effect` measures them.

    Args:
        runs: one ``[n]`` array of finite scores per contiguous run, in time order.

    Returns:
        None if no run has at least `SHORTEST` scores.
    """
    long = [np.asarray(run, np.float64) for run in runs if len(np.asarray(run)) >= SHORTEST]
    if not long:
        return None
    smallest = min(min(drift_p_values(run, pieces)) for run in long for pieces in PIECES)
    return Steadiness(p=min(1.0, smallest * len(long)), limit=LIMIT, pieces=PIECES)


def is_steady(check: Steadiness | None) -> bool:
    """Return False if the check found a drift. Without a check the answer is True."""
    return check is None or check.p >= check.limit


def drift_p_values(run: ArrayLike, pieces: int) -> tuple[float, float]:
    """Return two p-values: that the levels of all pieces of a run are equal, and that their spreads are.

    Args:
        run: ``[n]`` finite scores in time order, n >= 2 * pieces.
        pieces: number of pieces of equal length, >= 2.
    """
    values = np.asarray(run, np.float64)
    cuts = [len(values) * place // pieces for place in range(1, pieces)]
    distances = [np.abs(piece - np.median(piece)) for piece in np.split(values, cuts)]
    return _p_value(values, cuts), _p_value(np.concatenate(distances), cuts)


def _p_value(values: NDArray[np.float64], cuts: list[int]) -> float:
    ranks = rankdata(values)
    n, middle = len(ranks), (len(ranks) + 1) / 2
    variance = float(((ranks - middle) ** 2).sum()) / (n - 1)
    if variance == 0.0:
        return 1.0
    pieces = np.split(ranks, cuts)
    statistic = sum(len(piece) * float(piece.mean() - middle) ** 2 for piece in pieces) / variance
    tau = max(autocorrelation_time(piece) for piece in pieces)
    return float(chi2.sf(statistic / tau, len(cuts)))
