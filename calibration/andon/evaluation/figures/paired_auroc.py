"""Compare the AUROC of several detectors on the same pictures, with confidence intervals of the differences.

The detectors see the same pictures, so their errors are alike, and the interval of a difference is narrower than the intervals
of both figures suggest. Each resample therefore draws pictures for all detectors at once. A good part is drawn together with all
pictures made from it, because they resemble each other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.evaluation.figures.intervals import LEVEL, RESAMPLES, Interval
from andon.foundation.errors import DataError

Floats = NDArray[np.float64]


class PairedAuroc:
    """AUROC of each detector on the same pictures, and its values in resamples of the pictures.

    Args:
        scores: ``[n]`` for each detector, higher is worse. +inf is allowed, NaN is not.
        defective: ``[n]`` bool; there must be both kinds.
        parts: ``[n]``, the physical part of each picture.
        resamples: number of draws.
        seed: seed of the draws.

    Raises:
        DataError: lengths differ, a score is NaN, or there is only one kind.
    """

    def __init__(
        self,
        scores: Mapping[str, ArrayLike],
        defective: ArrayLike,
        parts: Sequence[str],
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        truth = np.asarray(defective).astype(np.bool_)
        if truth.all() or not truth.any():
            raise DataError(
                f"expected good and defective pictures, got {len(truth)} that are all "
                f"{'defective' if len(truth) and truth.all() else 'good'}."
            )
        copies = _draws(truth, parts, resamples, seed)
        pairs = copies[:, truth].sum(axis=1) * copies[:, ~truth].sum(axis=1)
        self._values: dict[str, Floats] = {}
        for name, given in scores.items():
            values = np.asarray(given, np.float64)
            if values.shape != truth.shape or np.isnan(values).any():
                raise DataError(f"{name}: expected {len(truth)} scores without NaN, got shape {list(values.shape)}.")
            defect, good = values[truth][:, np.newaxis], values[~truth]
            above = (defect > good) + 0.5 * (defect == good)
            wins = ((copies[:, truth] @ above) * copies[:, ~truth]).sum(axis=1)
            self._values[name] = (wins / pairs).clip(0.0, 1.0)

    def auroc(self, name: str) -> float:
        """Return the AUROC of a detector."""
        return float(self._values[name][0])

    def interval(self, name: str, level: float = LEVEL) -> Interval:
        """Return the percentile interval of an AUROC."""
        return _interval(self._values[name][1:], level)

    def difference(self, name: str, other: str, level: float = LEVEL) -> Interval:
        """Return the percentile interval of the AUROC of `name` minus the AUROC of `other`."""
        return _interval((self._values[name] - self._values[other])[1:], level)


def _draws(truth: NDArray[np.bool_], parts: Sequence[str], resamples: int, seed: int) -> Floats:
    """Return the number of copies of each picture, ``[1 + resamples, n]``. The first row is the data themselves."""
    if len(parts) != len(truth):
        raise DataError(f"expected one part for each of {len(truth)} pictures, got {len(parts)}.")
    names, of = np.unique(np.asarray(parts, dtype=np.str_), return_inverse=True)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples).astype(np.float64)
    copies = drawn[:, of]
    # a draw may lack one kind if parts have pictures of one kind only; it has no AUROC
    copies = copies[(copies[:, truth].sum(axis=1) > 0) & (copies[:, ~truth].sum(axis=1) > 0)]
    return np.vstack([np.ones((1, len(truth))), copies])


def _interval(values: Floats, level: float) -> Interval:
    if not len(values):
        raise DataError("expected resamples with good and defective pictures, got none.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high))
