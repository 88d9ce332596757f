"""Find parts among good ones whose score is far above the others, so that people can look at them.

Scores of good parts are positive, and their logarithms are spread about symmetrically. The rule compares the logarithm of a
score with the median, in units of the robust standard deviation (1.4826 times the median absolute deviation). Up to half of
the parts may be outliers before the median follows them. Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers
(1993). They propose a limit of 3.5.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LIMIT = 4.5
"""Robust standard deviations above the median. `docs/lab-log.md` has the figures for 3.5, 4, 4.5 and 5."""
SMALLEST_SPREAD = 0.02
"""Smallest standard deviation of the logarithms. An outlier therefore has at least 1.09 times the median score."""
LEAST = 10
"""Smallest number of parts. With fewer, the deviation is too uncertain to call any of them an outlier."""


def outlying(scores: ArrayLike) -> NDArray[np.bool_]:
    """Return for each score whether it is far above the others.

    Args:
        scores: ``[N]``, higher = worse. Scores that are not finite are never outliers and do not count. If a score is 0 or
            negative, there are no outliers, because the scores have no logarithms.

    >>> outlying([1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 1.1, 0.9, 1.0, 1.0, 3.0]).nonzero()[0].tolist()
    [10]
    """
    values = np.asarray(scores, np.float64)
    finite = np.isfinite(values)
    far = np.zeros(values.shape, np.bool_)
    if finite.sum() < LEAST or values[finite].min() <= 0:
        return far
    logs = np.log(values[finite])
    middle = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - middle))
    far[finite] = logs > middle + LIMIT * max(float(spread), SMALLEST_SPREAD)
    return far
