"""The tail of good scores as a step table, which the graph turns into p-values.

``p(s) = (1 + number of good scores >= s) / (n + 1)``: the conformal p-value. Averaged over calibrations, a good part
has p <= a with probability at most a, ties included. The graph counts the knots that are <= s and looks the count up::

    p_value = tail_p[sum(tail_x <= score)]

A knot stands one float32 above a good score, so that a score equal to a good one still counts it as ">= s". With at
most 256 distinct scores the table is then exact; beyond that it skips ranks and p is never below the exact one
(relative error beyond the 64th highest score up to 2 % for n = 600, 7 % for n = 300 000). p is for charts and people;
the decision compares score with threshold: p carries no confidence.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.foundation.errors import CalibrationError
from andon.runtime.schema import TAIL_KNOTS


class Tail(NamedTuple):
    """The two initialisers of the model file."""

    x: NDArray[np.float32]
    """``andon.tail_x``: float32 ``[256]`` ascending knots, padded with +inf."""
    p: NDArray[np.float32]
    """``andon.tail_p``: float32 ``[257]``, never ascending, from 1 (below all knots) to 1 / (n + 1) (above them)."""


def tail(scores: ArrayLike) -> Tail:
    """The step table of good scores.

    Args:
        scores: ``[n]`` finite scores of good parts, any order, one a part. Whoever lifts the threshold by the parity
            tolerance lifts them alike beforehand.

    Raises:
        CalibrationError: no scores, or scores that are not finite.

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


def _ranks(n: int) -> NDArray[np.int64]:
    """Ranks from the top that get a knot: dense where p is small, at most 256 of them."""
    if n <= TAIL_KNOTS:
        return np.arange(1, n + 1)
    dense = np.arange(1, 65)
    middle = np.geomspace(64, n / 2, 128).round().astype(np.int64)
    rest = np.linspace(n / 2, n, 64).round().astype(np.int64)
    return np.unique(np.concatenate([dense, middle, rest]))


def _just_above(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The smallest float32 that is greater than each value, but never a subnormal, which some devices read as zero."""
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
            f"expected finite float32 scores, got {bad} of {values.size} that are not; leave out INVALID parts."
        )
    return values
