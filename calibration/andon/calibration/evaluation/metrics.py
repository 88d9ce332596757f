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

from andon.runtime.errors import DataError, MissingExtra


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
    return float(_sklearn_metrics().roc_auc_score(truth, values))


def aupr(scores: ArrayLike, defective: ArrayLike) -> float:
    """Average precision (step sum, not trapezoids); a random score has the share of defects.

    Arguments and errors as for `auroc`.
    """
    values, truth = _checked(scores, defective)
    return float(_sklearn_metrics().average_precision_score(truth, values))


def oracle_f1_max(scores: ArrayLike, defective: ArrayLike) -> float:
    """The best F1 over all thresholds, found with the truth in hand: no threshold chosen beforehand attains it.

    Arguments and errors as for `auroc`, but scikit-learn is not needed.
    """
    values, truth = _checked(scores, defective)
    order = np.argsort(-values, kind="stable")
    ends = _tie_ends(values[order])
    hits = np.cumsum(truth[order])[ends]
    return float((2 * hits / (ends + 1 + truth.sum())).max())


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
    # 890/892 * 892 must stay 890: rounding of the product is no reason to ask for one defect more.
    wanted = max(1, math.ceil(recall * len(descending) - 1e-9))
    return float((_finite(good, "good parts") >= descending[wanted - 1]).mean())


def false_reject_rate(good: ArrayLike, threshold: float) -> float:
    """Share of good parts with ``not score <= threshold``, which the graph rejects; NaN without good parts."""
    return _rejected_share(good, threshold)


def miss_rate(defects: ArrayLike, threshold: float) -> float:
    """Share of defects that pass, i.e. with ``score <= threshold``; NaN without defects."""
    return 1.0 - _rejected_share(defects, threshold)


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
    ranked = _rank(maps, masks)
    return PixelMetrics(_area_under_roc(ranked), _area_under_pro(ranked, limit))


def pixel_auroc(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> float:
    """AUROC over all pixels of all pictures, good ones included, each pixel weighing the same.

    Arguments and errors as for `aupro`.
    """
    return _area_under_roc(_rank(maps, masks))


def aupro(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], limit: float = 0.3) -> float:
    """Area under the per-region overlap up to a false-positive rate of `limit`, divided by `limit`: 1 is perfect.

    Every 8-connected region of a mask weighs the same, however small. The false-positive rate is over the background
    pixels of all pictures, good ones included. Thresholds are all scores that occur, ties merged, none quantised
    (Bergmann et al., CVPR 2019 and IJCV 2021). Memory: about 55 bytes a pixel for a moment.

    Args:
        maps: one float ``[h, w]`` a picture, finite; sizes may differ between pictures.
        masks: one ``[h, w]`` a picture, non-zero on defects; all zero for good pictures, which must be given too.
        limit: 0 < limit <= 1.

    Raises:
        DataError: no defect or no background at all, a map and mask of different shape, or maps that are not finite.
    """
    return _area_under_pro(_rank(maps, masks), limit)


class _Ranked(NamedTuple):
    """All pixels by score, descending, summed up at the last pixel of each tie."""

    pixels: NDArray[np.int64]
    """Pixels so far."""
    background: NDArray[np.int64]
    """Of those, background."""
    overlap: NDArray[np.float64]
    """Mean over regions of the share of the region so far."""


def _rank(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> _Ranked:
    from scipy import ndimage

    if len(maps) != len(masks):
        raise DataError(f"expected as many maps as masks, got {len(maps)} and {len(masks)}.")
    pairs = [(np.asarray(a, np.float32), np.asarray(b) != 0) for a, b in zip(maps, masks, strict=True)]
    for index, (scores, mask) in enumerate(pairs):
        if scores.shape != mask.shape or scores.ndim != 2:
            raise DataError(
                f"picture {index}: expected a map and a mask [h, w] of one shape, got {list(scores.shape)} and "
                f"{list(mask.shape)}; resize masks with nearest neighbour."
            )
    pixels = sum(scores.size for scores, _ in pairs)
    negated = np.empty(pixels, np.float32)
    region = np.empty(pixels, np.int32)
    regions = at = 0
    for scores, mask in pairs:
        labels, found = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
        flat = labels.ravel()
        region[at : at + flat.size] = np.where(flat > 0, flat + regions, 0)
        np.negative(scores.ravel(), out=negated[at : at + flat.size])
        regions += found
        at += flat.size
    del pairs
    if not np.isfinite(negated).all():
        raise DataError("expected finite anomaly maps; leave out pictures that are INVALID.")
    sizes = np.bincount(region, minlength=regions + 1)
    if regions == 0 or sizes[0] == 0:
        missing = "defect" if regions == 0 else "background"
        raise DataError(
            f"expected masks with defects and with background, got no {missing} pixel in {len(maps)} pictures."
        )
    # Archives hold 10^8 pixels: what is no longer needed goes at once, and sums are made in place.
    order = np.argsort(negated)
    region = region[order]
    negated = negated[order]
    del order
    ends = _tie_ends(negated)
    del negated
    weights = 1.0 / (sizes * regions)
    weights[0] = 0.0
    share = weights[region]
    overlap = np.cumsum(share, out=share)[ends]
    del share
    return _Ranked(pixels=ends + 1, background=np.cumsum(region == 0)[ends], overlap=overlap)


def _area_under_roc(ranked: _Ranked) -> float:
    # In whole pixels, so that the area is exact: 10^8 pixels squared still fit into int64.
    false_step = np.diff(ranked.background, prepend=0)
    true = ranked.pixels - ranked.background
    twice = 2 * int(np.dot(false_step, true))
    total = int(true[-1]) * int(ranked.background[-1])
    true[1:] -= true[:-1].copy()
    return (twice - int(np.dot(false_step, true))) / (2 * total)


def _area_under_pro(ranked: _Ranked, limit: float) -> float:
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


def _tie_ends(ordered: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index of the last of each run of equal values."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)


def _rejected_share(scores: ArrayLike, threshold: float) -> float:
    values = np.asarray(scores)
    return float((~(values <= threshold)).mean()) if values.size else math.nan


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
        raise MissingExtra("AUROC and AUPR need scikit-learn: pip install 'andon[evaluate]'") from error
    return metrics
