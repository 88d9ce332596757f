"""Build the step table of the highest good scores, from which the graph computes p-values.

``p(s) = (1 + number of good scores >= s) / (n + 1)`` is the conformal p-value. Averaged over calibrations, a good part
has p <= a with probability at most a, ties included. The graph counts the knots that are <= s and looks up the count::

    p_value = tail_p[sum(tail_x <= score)]

A knot is one float32 step above a good score, so that a score equal to a good one still counts it as ">= s". With at
most 256 distinct scores the table is exact. With more, it skips ranks, and p is never below the exact value. The relative
error below the 64th highest score is up to 2 % for n = 600 and 7 % for n = 300 000.

p is for charts and people. The decision compares the score with the threshold, because p has no stated confidence.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.foundation.errors import CalibrationError
from andon.runtime.schema import TAIL_KNOTS


class Tail(NamedTuple):
    """The two initialisers that hold the table in the model file."""

    x: NDArray[np.float32]
    """``andon.tail_x``: float32 ``[256]`` ascending knots, padded with +inf."""
    p: NDArray[np.float32]
    """``andon.tail_p``: float32 ``[257]``, descending or equal, from 1 (below all knots) to 1 / (n + 1) (above all knots)."""


def tail(scores: ArrayLike) -> Tail:
    """Return the step table of good scores.

    Args:
        scores: ``[n]`` finite scores of good parts, one per part, in any order. If the caller raises the threshold by the
            parity tolerance, it must raise these scores in the same way first.

    Raises:
        CalibrationError: there are no scores, or some are not finite.

    >>> knots, p = tail([0.125, 0.5, 0.25])
    >>> p[np.sum(knots <= 0.5)]  # one of three scores at least this
    np.float32(0.5)
    """
    ascending = np.sort(_checked(scores))
    n = len(ascending)
    values = np.unique(ascending[n - _ranks(n)])
    above = n - np.searchsorted(ascending, values, side="right")
    knots = _just_above(values)
    x = np.full(TAIL_KNOTS, np.inf, np.float32)
    x[: len(knots)] = knots
    p = np.full(TAIL_KNOTS + 1, _rounded_up(np.array([1 / (n + 1)]))[0], np.float32)
    p[0] = 1.0
    p[1 : len(knots) + 1] = _rounded_up((1 + above) / (n + 1))
    return Tail(x, p)


def scores_of(x: NDArray[np.float32], p: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Return the scores that a table was made from, ``[n]``, ascending.

    With at most 256 distinct scores they are exact. With more, the skipped scores get the value of the next lower knot, and
    those below the lowest knot get its value. Orders between kept ranks are then lost, and no score is too high.

    Args:
        x: ``andon.tail_x``.
        p: ``andon.tail_p``.
        n: number of scores.

    >>> scores_of(*tail([0.5, 0.125, 0.25, 0.25]), 4)
    array([0.125, 0.25 , 0.25 , 0.5  ])
    """
    knots = np.nextafter(x[np.isfinite(x)], np.float32(-np.inf)).astype(np.float64)
    above = np.rint(p[1 : len(knots) + 1].astype(np.float64) * (n + 1) - 1).astype(np.int64)  # scores above each knot
    reached = np.concatenate([[n], above])
    counts = reached[:-1] - reached[1:]
    return np.repeat(knots, np.maximum(counts, 0))


def _ranks(n: int) -> NDArray[np.int64]:
    """Return the ranks, counted from the top, that get a knot: at most 256, dense where p is small."""
    if n <= TAIL_KNOTS:
        return np.arange(1, n + 1)
    dense = np.arange(1, 65)
    middle = np.geomspace(64, n / 2, 128).round().astype(np.int64)
    rest = np.linspace(n / 2, n, 64).round().astype(np.int64)
    return np.unique(np.concatenate([dense, middle, rest]))


def _just_above(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the smallest float32 above each value, but never a subnormal number, which some devices read as zero."""
    nearest = values.astype(np.float32)
    above = np.where(nearest > values, nearest, np.nextafter(nearest, np.float32(np.inf)))
    tiny = np.finfo(np.float32).tiny
    return np.where(np.abs(above) < tiny, tiny, above).astype(np.float32)


def _rounded_up(shares: NDArray[np.float64]) -> NDArray[np.float32]:
    nearest = shares.astype(np.float32)
    return np.where(nearest < shares, np.nextafter(nearest, np.float32(1.0)), nearest).astype(np.float32)


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise CalibrationError(f"expected scores of good parts, shape [n] with n >= 1, got shape {list(values.shape)}.")
    largest = np.finfo(np.float32).max
    if not (np.abs(values) <= largest).all():
        bad = int((~(np.abs(values) <= largest)).sum())
        raise CalibrationError(
            f"expected finite float32 scores, got {bad} of {values.size} that are not finite. Leave out INVALID parts."
        )
    return values
