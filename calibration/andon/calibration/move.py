"""Judge whether a recalibration moved the threshold implausibly far: the line has drifted, or bad parts are among the new ones.

The move is measured in ranks, so the tests are exact for every continuous distribution of scores. Distances of scores are not:
for heavy tails even clean recalibrations move the threshold by several times its distance from the median.

If nothing changed, the number of new scores above an old order statistic has a beta-binomial distribution. There are six
tests: at the threshold, the 90 % point and the median of the old scores, and the same from the side of the new scores.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import betabinom

from andon.foundation.errors import CalibrationError
from andon.runtime.calibration_facts import Move

THRESHOLD_LIMIT = 1e-4
"""Tail probability at the thresholds below which a move is implausible."""
BODY_LIMIT = 1e-4 / 6
"""The same at the median and the 90 % point, where both directions count."""


def tail_probability(count: int, n_other: int, n: int, above: int) -> float:
    """Return the probability that at least `count` of the other scores are above an order statistic of n scores.

    Args:
        count: observed number.
        n_other: number of other scores.
        n: number of scores that the order statistic comes from.
        above: number of these n scores above the order statistic, 0 <= above < n.

    >>> [tail_probability(count, 620, 620, 1) < 1e-4 for count in (16, 17)]
    [False, True]
    """
    return float(betabinom.sf(count - 1, n_other, above + 1, n - above))


def threshold_move(
    old_scores: ArrayLike, new_scores: ArrayLike, *, above_old: int, above_new: int, forced: bool = False
) -> Move:
    """Compare the scores of two calibrations.

    Args:
        old_scores: ``[n]`` finite scores of the old calibration, one per part.
        new_scores: ``[m]`` finite scores of the new one.
        above_old: number of old scores above the old threshold's order statistic, < n.
        above_new: number of new scores above the new threshold's order statistic, < m.
        forced: whether the user accepts the move in any case.

    Raises:
        CalibrationError: there are no scores, or some are not finite.
    """
    old, new = _ascending(old_scores), _ascending(new_scores)
    before = _exceeding(new, old, above_old)
    after = _exceeding(old, new, above_new)
    at_threshold = [
        tail_probability(before, len(new), len(old), above_old),
        tail_probability(after, len(old), len(new), above_new),
    ]
    in_body = [p for first, second in ((old, new), (new, old)) for p in _body(first, second)]
    middle = float(np.median(old))
    distance = float(old[len(old) - 1 - above_old]) - middle
    return Move(
        n_before=len(old),
        above_before=before,
        above_after=after,
        p=min(*at_threshold, *in_body),
        median_shift=(float(np.median(new)) - middle) / distance if distance > 0 else 0.0,
        implausible=min(at_threshold) < THRESHOLD_LIMIT or min(in_body) < BODY_LIMIT,
        forced=forced,
    )


def _body(first: NDArray[np.float64], second: NDArray[np.float64]) -> Sequence[float]:
    """Return the tail probabilities at the median and at the 90 % point of the first scores."""
    ranks = (math.floor(len(first) / 2), math.floor(len(first) / 10))
    return [tail_probability(_exceeding(second, first, above), len(second), len(first), above) for above in ranks]


def _exceeding(scores: NDArray[np.float64], others: NDArray[np.float64], above: int) -> int:
    """Return how many scores exceed the order statistic of the others that leaves `above` of them above it."""
    return int((scores > others[len(others) - 1 - above]).sum())


def _ascending(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.sort(np.asarray(scores, np.float64).ravel())
    if not len(values) or not np.isfinite(values).all():
        raise CalibrationError(
            "scores of two calibrations: expected at least one finite score in each. Leave out INVALID."
        )
    return values
