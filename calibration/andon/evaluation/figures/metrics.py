"""Figures over parts and pixels whose truth is known. Scores: higher = worse; `defective` is True for a defect.

AUROC, AUPR, AUPRO, `oracle_f1_max`, `tpr_at_fpr` and `fpr_at_recall` look at the truth to choose a threshold, or at all
thresholds: they say how well scores separate. `false_reject_rate` and `miss_rate` say what a given threshold does.
INVALID parts have no score; whoever calls leaves them out and counts them.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.foundation.errors import DataError, MissingExtra
from andon.foundation.extras import remedy


def auroc(scores: ArrayLike, defective: ArrayLike) -> float:
    """Probability that a defect scores higher than a good part (ties count half): 0.5 is guessing, 1 perfect.

    Args:
        scores: ``[n]``, finite.
        defective: ``[n]`` bool; both kinds must be there.

    Raises:
        DataError: only one kind, other lengths, or scores that are not finite.
        MissingExtra: scikit-learn is not installed.
    """
    values, truth = _checked(scores, defective)
    return within(float(_sklearn_metrics().roc_auc_score(truth, values)))


def aupr(scores: ArrayLike, defective: ArrayLike) -> float:
    """Average precision (step sum, not trapezoids); a random score has the share of defects.

    Arguments and errors as for `auroc`.
    """
    values, truth = _checked(scores, defective)
    return within(float(_sklearn_metrics().average_precision_score(truth, values)))


def within(area: float) -> float:
    """An area within 0 and 1: sums of many steps may end a rounding beside it."""
    return min(max(area, 0.0), 1.0)


def oracle_f1_max(scores: ArrayLike, defective: ArrayLike) -> float:
    """The best F1 over all thresholds, found with the truth in hand: no threshold chosen beforehand attains it.

    Arguments and errors as for `auroc`, but scikit-learn is not needed.
    """
    _, hits, false = _sweep(scores, defective)
    return float((2 * hits / (hits + false + hits[-1])).max())


class RocCurve(NamedTuple):
    """Points of the ROC curve, from (0, 0) to (1, 1)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Falling; rejected is a score at or above. +inf at (0, 0)."""


def roc_curve(scores: ArrayLike, defective: ArrayLike) -> RocCurve:
    """One point at each distinct score, none dropped. The area by trapezoids is `auroc`.

    Arguments and errors as for `auroc`, but scikit-learn is not needed.
    """
    thresholds, hits, false = _sweep(scores, defective)
    return RocCurve(
        np.concatenate([[0.0], false / false[-1]]),
        np.concatenate([[0.0], hits / hits[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


class PrCurve(NamedTuple):
    """Points of the precision-recall curve, recall rising."""

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Falling; rejected is a score at or above."""


def pr_curve(scores: ArrayLike, defective: ArrayLike) -> PrCurve:
    """One point at each distinct score; no point is made up at recall 0. The step sum is `aupr`; trapezoids are not.

    Arguments and errors as for `auroc`, but scikit-learn is not needed.
    """
    thresholds, hits, false = _sweep(scores, defective)
    return PrCurve(hits / hits[-1], hits / (hits + false), thresholds)


def tpr_at_fpr(good: ArrayLike, defects: ArrayLike, fpr: float) -> float:
    """Share of defects rejected by the threshold that rejects at most a share `fpr` of these good parts.

    The threshold is the (1 - fpr) quantile of the good scores, the higher order statistic; reject is strictly above.

    Args:
        good: ``[n]`` scores of good parts.
        defects: ``[d]`` scores of defects.
        fpr: 0 <= fpr < 1.

    Raises:
        DataError: an empty side, or scores that are not finite.
    """
    threshold = np.quantile(_finite(good, "good parts"), 1 - fpr, method="higher")
    return float((_finite(defects, "defects") > threshold).mean())


def fpr_at_recall(good: ArrayLike, defects: ArrayLike, recall: float) -> float:
    """Share of good parts that score at least the threshold that finds a share `recall` of these defects.

    The threshold is the ``ceil(recall * d)``-th largest score of the d defects; found is at or above.

    Args:
        good: ``[n]`` scores of good parts.
        defects: ``[d]`` scores of defects.
        recall: 0 < recall <= 1.

    Raises:
        DataError: an empty side, or scores that are not finite.
    """
    descending = np.sort(_finite(defects, "defects"))[::-1]
    threshold = descending[order_statistic(len(descending), recall) - 1]
    return float((_finite(good, "good parts") >= threshold).mean())


def require_recall(recall: float) -> None:
    """A share of defects that can be asked for.

    Raises:
        DataError: not within 0 < recall <= 1.
    """
    if not 0.0 < recall <= 1.0:
        raise DataError(f"expected a recall within 0 < recall <= 1, got {recall!r}.")


def order_statistic(n: int, recall: float) -> int:
    """How many of n defects must be found for a share `recall` of them: the place of the threshold among their scores.

    >>> order_statistic(892, 890 / 892), order_statistic(10, 0.99)
    (890, 10)
    """
    require_recall(recall)
    # 890/892 * 892 must stay 890: rounding of the product is no reason to ask for one defect more.
    return max(1, math.ceil(recall * n - 1e-9))


def false_reject_rate(good: ArrayLike, threshold: float) -> float:
    """Share of good parts with ``not score <= threshold``, which the graph rejects; NaN without good parts."""
    return _rejected_share(good, threshold)


def miss_rate(defects: ArrayLike, threshold: float) -> float:
    """Share of defects that pass, i.e. with ``score <= threshold``; NaN without defects."""
    return 1.0 - _rejected_share(defects, threshold)


def mean_and_sd(scores: ArrayLike) -> tuple[float, float]:
    """Mean and standard deviation (of the sample: n - 1) of scores; the deviation of one score is NaN.

    Raises:
        DataError: no score, or scores that are not finite.
    """
    values = _finite(scores, "parts")
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


def random_dummy(units_per_defect: ArrayLike, alpha: float) -> float:
    """How many defects are caught on average by rejecting units at random at rate alpha: what must be beaten.

    Args:
        units_per_defect: ``[d]`` how many chances each defect gives: the windows of a fault, the frames of a part, or
            1.
        alpha: rate of rejection, 0 <= alpha <= 1.

    >>> round(random_dummy([1, 1, 1, 1], 0.05), 3), round(random_dummy([100], 0.05), 3)
    (0.2, 0.994)
    """
    units = np.asarray(units_per_defect, np.float64)
    return float((1.0 - (1.0 - alpha) ** units).sum())


def within_promise(false_rejects: int, good: int, alpha: float) -> bool:
    """Whether so many false rejects among `good` fresh good units are no reason to doubt a promised rate alpha.

    At most the 99 % quantile of what a true rate of exactly alpha gives. A check of plausibility, no proof.

    >>> within_promise(9, 300, 0.01), within_promise(7, 300, 0.01)
    (False, True)
    """
    from scipy.stats import binom

    return bool(false_rejects <= binom.ppf(0.99, good, alpha))


class PixelMetrics(NamedTuple):
    """Both figures of one sort over all pixels."""

    auroc: float
    aupro: float


def pixel_metrics(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], limit: float = 0.3) -> PixelMetrics:
    """`pixel_auroc` and `aupro` at the price of one of them.

    Arguments and errors as for `aupro`.
    """
    return rank_pixels(maps, masks).metrics(limit)


def pixel_auroc(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> float:
    """AUROC over all pixels of all pictures, good ones included, each pixel weighing the same.

    Arguments and errors as for `aupro`.
    """
    return _area_under_roc(rank_pixels(maps, masks))


def aupro(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], limit: float = 0.3) -> float:
    """Area under the per-region overlap up to a false-positive rate of `limit`, divided by `limit`: 1 is perfect.

    Every 8-connected region of a mask weighs the same, however small. The false-positive rate is over the background
    pixels of all pictures, good ones included. Thresholds are all scores that occur, ties merged, none quantised
    (Bergmann et al., CVPR 2019 and IJCV 2021). Memory: about 40 bytes a pixel for a moment.

    Args:
        maps: one float ``[h, w]`` a picture, finite; sizes may differ between pictures.
        masks: one ``[h, w]`` a picture, non-zero on defects; all zero for good pictures, which must be given too.
        limit: 0 < limit <= 1.

    Raises:
        DataError: no defect or no background at all, a map and mask of different shape, or maps that are not finite.
    """
    return within(_area_under_pro(rank_pixels(maps, masks), limit))


class RankedPixels(NamedTuple):
    """All pixels by score, descending, summed up at the last pixel of each tie: ``[t]``, t distinct scores."""

    thresholds: NDArray[np.float32]
    """The scores, falling."""
    pixels: NDArray[np.int64]
    """Pixels that score at least this."""
    background: NDArray[np.int64]
    """Of those, background."""
    overlap: NDArray[np.float64]
    """Mean over regions of the share of the region that scores at least this."""

    def metrics(self, limit: float = 0.3) -> PixelMetrics:
        """Both figures, exact."""
        return PixelMetrics(within(_area_under_roc(self)), within(_area_under_pro(self, limit)))

    def some(self, points: int, limit: float = 0.3) -> NDArray[np.int64]:
        """Places of at most `points` thresholds that draw the curve of overlap over the false-positive rate well.

        Half of them at equal steps of the rate up to twice the limit, a quarter at equal steps of the overlap, the rest
        at equal steps of the rate beyond; all thresholds, where there are not more.
        """
        if len(self.thresholds) <= points:
            return np.arange(len(self.thresholds))
        total, half, quarter = self.background[-1], points // 2, points // 4
        knee = min(1.0, 2 * limit)
        rates = np.concatenate([np.linspace(0.0, knee, half), np.linspace(knee, 1.0, quarter)])
        by_rate = np.searchsorted(self.background, rates * total)
        by_overlap = np.searchsorted(self.overlap, np.linspace(0.0, 1.0, quarter - 2))
        last = len(self.thresholds) - 1
        return np.unique(np.minimum(np.concatenate([[0, last], by_rate, by_overlap]), last))


def rank_pixels(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> RankedPixels:
    """The one sort over all pixels from which all pixel figures and curves follow.

    Arguments and errors as for `aupro`.
    """
    pairs = checked_pairs(maps, masks)
    keys = np.empty(sum(scores.size for scores, _ in pairs), np.uint64)
    counts = [np.zeros(1, np.int64)]
    regions = at = 0
    for scores, mask in pairs:
        if not np.isfinite(scores).all():
            raise DataError("expected finite anomaly maps; leave out pictures that are INVALID.")
        labels, found = regions_of(mask)
        flat = labels.ravel()
        here = np.bincount(flat, minlength=found + 1)
        counts[0] += here[0]
        counts.append(here[1:])
        # score above, region below in one number: sorted in place, it is three times as fast as sorting places
        keys[at : at + flat.size] = _falling(scores.ravel())
        keys[at : at + flat.size] <<= np.uint64(32)
        keys[at : at + flat.size] |= np.where(flat > 0, flat + regions, 0).astype(np.uint64)
        regions += found
        at += flat.size
    del pairs
    sizes = np.concatenate(counts)
    if regions == 0 or sizes[0] == 0:
        missing = "defect" if regions == 0 else "background"
        raise DataError(
            f"expected masks with defects and with background, got no {missing} pixel in {len(maps)} pictures."
        )
    keys.sort()
    # Archives hold 10^8 pixels: what is no longer needed goes at once, and sums are made in place.
    region = keys.astype(np.uint32)  # the lower half
    keys >>= np.uint64(32)
    falling = keys.astype(np.uint32)
    del keys
    ends = tie_ends(falling)
    thresholds = _scores(falling[ends])
    del falling
    weights = 1.0 / (sizes * regions)
    weights[0] = 0.0
    share = weights[region]
    overlap = np.cumsum(share, out=share)[ends]
    del share
    return RankedPixels(
        thresholds=thresholds, pixels=ends + 1, background=np.cumsum(region == 0)[ends], overlap=overlap
    )


def checked_pairs(
    maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]
) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Maps and masks as arrays ``[h, w]``, picture by picture.

    Raises:
        DataError: not as many maps as masks, or a pair of different shape.
    """
    if len(maps) != len(masks):
        raise DataError(f"expected as many maps as masks, got {len(maps)} and {len(masks)}.")
    pairs = [(np.asarray(a, np.float32), np.asarray(b) != 0) for a, b in zip(maps, masks, strict=True)]
    for index, (scores, mask) in enumerate(pairs):
        if scores.shape != mask.shape or scores.ndim != 2:
            raise DataError(
                f"picture {index}: expected a map and a mask [h, w] of one shape, got {list(scores.shape)} and "
                f"{list(mask.shape)}; resize masks with nearest neighbour."
            )
    return pairs


def regions_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """8-connected regions of a mask: ``[h, w]`` with 0 for background and 1 to n, and n."""
    from scipy import ndimage

    labels, found = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    return labels, int(found)


def tie_ends(ordered: NDArray[np.number]) -> NDArray[np.int64]:
    """Index of the last of each run of equal values, ``[n]`` with n >= 1."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def _area_under_roc(ranked: RankedPixels) -> float:
    # In whole pixels, so that the area is exact: 10^8 pixels squared still fit into int64.
    false_step = np.diff(ranked.background, prepend=0)
    true = ranked.pixels - ranked.background
    twice = 2 * int(np.dot(false_step, true))
    total = int(true[-1]) * int(ranked.background[-1])
    true[1:] -= true[:-1].copy()
    return (twice - int(np.dot(false_step, true))) / (2 * total)


def _area_under_pro(ranked: RankedPixels, limit: float) -> float:
    if not 0.0 < limit <= 1.0:
        raise DataError(f"expected a limit of the false-positive rate within 0 < limit <= 1, got {limit!r}.")
    total = int(ranked.background[-1])
    # Two points beyond the limit are enough; the long rest of the curve is not copied.
    few = int(np.searchsorted(ranked.background, limit * total, side="right")) + 2
    false = np.concatenate([[0.0], ranked.background[:few] / total])
    overlap = np.concatenate([[0.0], ranked.overlap[:few]])
    inside = int(np.searchsorted(false, limit, side="right"))
    if inside < len(false) and false[inside - 1] < limit:
        share = (limit - false[inside - 1]) / (false[inside] - false[inside - 1])
        at_limit = overlap[inside - 1] + share * (overlap[inside] - overlap[inside - 1])
        false = np.append(false[:inside], limit)
        overlap = np.append(overlap[:inside], at_limit)
    else:
        false, overlap = false[:inside], overlap[:inside]
    return float(np.trapezoid(overlap, false) / limit)


def _falling(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers that ascend where finite scores fall: the bits of a float ascend with it, those of negative ones fall."""
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 and 0 are one score
    return np.asarray(np.where(bits >> np.uint32(31), bits, ~(bits | _SIGN)))


def _scores(falling: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The scores that `_falling` made numbers of."""
    return np.asarray(np.where(falling >> np.uint32(31), falling, ~falling ^ _SIGN)).view(np.float32)


_SIGN = np.uint32(1 << 31)


def _rejected_share(scores: ArrayLike, threshold: float) -> float:
    values = np.asarray(scores)
    return float((~(values <= threshold)).mean()) if values.size else math.nan


def _sweep(scores: ArrayLike, defective: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores, falling; and how many defects and good parts score at least each."""
    values, truth = _checked(scores, defective)
    order = np.argsort(-values, kind="stable")
    ends = tie_ends(values[order])
    hits = np.cumsum(truth[order], dtype=np.int64)[ends]
    return values[order][ends], hits, ends + 1 - hits


def _checked(scores: ArrayLike, defective: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = _finite(scores, "parts")
    truth = np.asarray(defective).astype(np.bool_)
    if truth.shape != values.shape:
        raise DataError(f"expected a truth for each score, got {list(truth.shape)} for {list(values.shape)}.")
    if truth.all() or not truth.any():
        raise DataError(
            f"expected good parts and defects, got {len(truth)} that are all {'defects' if truth.all() else 'good'}."
        )
    return values, truth


def _finite(scores: ArrayLike, what: str) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise DataError(f"expected scores of {what}, shape [n] with n >= 1, got shape {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise DataError(f"expected finite scores of {what}, got {int((~np.isfinite(values)).sum())} that are not.")
    return values


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingExtra(f"AUROC and AUPR need scikit-learn: {remedy('evaluate')}") from error
    return metrics
