"""Measure how well scores separate good parts from defects. A higher score means worse; `defective` is True for a defect.

All results here use the truth to choose a threshold, or use all thresholds. They do not describe the embedded threshold.
INVALID parts have no score: the caller leaves them out and counts them.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from andon.foundation.errors import DataError, MissingExtra
from andon.foundation.extras import remedy


def auroc(scores: ArrayLike, defective: ArrayLike) -> float:
    """Return the probability that a defect scores higher than a good part (ties count half): 0.5 is guessing, 1 perfect.

    Args:
        scores: ``[n]``, finite.
        defective: ``[n]`` bool; there must be both kinds.

    Raises:
        DataError: there is only one kind, lengths differ, or scores are not finite.
        MissingExtra: scikit-learn is not installed.
    """
    values, truth = _checked(scores, defective)
    return clip_area(float(_sklearn_metrics().roc_auc_score(truth, values)))


def aupr(scores: ArrayLike, defective: ArrayLike) -> float:
    """Return the average precision (step sum, not trapezoids). Random scores give the share of defects.

    Arguments and errors as for `auroc`.
    """
    values, truth = _checked(scores, defective)
    return clip_area(float(_sklearn_metrics().average_precision_score(truth, values)))


def clip_area(area: float) -> float:
    """Clip an area to 0 .. 1: rounding errors of a long sum may leave it slightly outside."""
    return min(max(area, 0.0), 1.0)


def oracle_f1_max(scores: ArrayLike, defective: ArrayLike) -> float:
    """Return the best F1 over all thresholds. It uses the truth, so no threshold chosen in advance can be expected to reach it.

    Arguments and errors as for `auroc`.
    """
    curve = pr_curve(scores, defective)
    # above the highest defect, precision and recall are 0, so F1 is 0 too
    return float((2 * curve.precision * curve.recall / np.maximum(curve.precision + curve.recall, 1e-300)).max())


class RocCurve(NamedTuple):
    """Points of the ROC curve, from (0, 0) to (1, 1)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Descending. A part is rejected if its score is at or above the threshold. The threshold of (0, 0) is +inf."""


def roc_curve(scores: ArrayLike, defective: ArrayLike) -> RocCurve:
    """Return one point for each distinct score. The area under it by trapezoids is `auroc`.

    Arguments and errors as for `auroc`.
    """
    values, truth = _checked(scores, defective)
    return RocCurve(*_sklearn_metrics().roc_curve(truth, values, drop_intermediate=False))


class PrCurve(NamedTuple):
    """Points of the precision-recall curve, by ascending recall."""

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    """Descending. A part is rejected if its score is at or above the threshold."""


def pr_curve(scores: ArrayLike, defective: ArrayLike) -> PrCurve:
    """Return one point for each distinct score, without scikit-learn's extra point at recall 0.

    The step sum is `aupr`; the area by trapezoids is not. Arguments and errors as for `auroc`.
    """
    values, truth = _checked(scores, defective)
    precision, recall, thresholds = _sklearn_metrics().precision_recall_curve(truth, values, drop_intermediate=False)
    return PrCurve(recall[-2::-1], precision[-2::-1], thresholds[::-1])


def tpr_at_fpr(good: ArrayLike, defects: ArrayLike, fpr: float) -> float:
    """Return the share of defects rejected by the threshold that rejects at most a share `fpr` of these good parts.

    The threshold is the (1 - fpr) quantile of the good scores (the higher order statistic). Scores strictly above it are
    rejected.

    Args:
        good: ``[n]`` scores of good parts.
        defects: ``[d]`` scores of defects.
        fpr: 0 <= fpr < 1.

    Raises:
        DataError: there are no good or no defective scores, or some are not finite.
    """
    threshold = np.quantile(finite_scores(good, "good parts"), 1 - fpr, method="higher")
    return float((finite_scores(defects, "defects") > threshold).mean())


def fpr_at_recall(good: ArrayLike, defects: ArrayLike, recall: float) -> float:
    """Return the share of good parts at or above the threshold that finds the share `recall` of these defects.

    The threshold is the ``ceil(recall * d)``-th largest score of the d defects. Defects at or above it are found.

    Args:
        good: ``[n]`` scores of good parts.
        defects: ``[d]`` scores of defects.
        recall: 0 < recall <= 1.

    Raises:
        DataError: there are no good or no defective scores, or some are not finite.
    """
    descending = np.sort(finite_scores(defects, "defects"))[::-1]
    threshold = descending[order_statistic(len(descending), recall) - 1]
    return float((finite_scores(good, "good parts") >= threshold).mean())


def require_recall(recall: float) -> None:
    """Refuse a recall that is out of bounds.

    Raises:
        DataError: the recall is not within 0 < recall <= 1.
    """
    if not 0.0 < recall <= 1.0:
        raise DataError(f"recall: expected a number within 0 < recall <= 1, got {recall!r}.")


def order_statistic(n: int, recall: float) -> int:
    """Return how many of n defects must be found for a recall: the rank of the threshold among their scores.

    >>> order_statistic(892, 890 / 892), order_statistic(10, 0.99)
    (890, 10)
    """
    require_recall(recall)
    # 890/892 * 892 must give 890: rounding must not add one defect
    return max(1, math.ceil(recall * n - 1e-9))


def _checked(scores: ArrayLike, defective: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = finite_scores(scores, "parts")
    truth = np.asarray(defective).astype(np.bool_)
    if truth.shape != values.shape:
        raise DataError(f"expected one truth per score, got shape {list(truth.shape)} for {list(values.shape)}.")
    if truth.all() or not truth.any():
        raise DataError(
            f"expected good and defective parts, got {len(truth)} that are all {'defective' if truth.all() else 'good'}."
        )
    return values, truth


def finite_scores(scores: ArrayLike, what: str) -> NDArray[np.float64]:
    """Return scores as an array ``[n]``, n >= 1.

    Raises:
        DataError: there are no scores, the shape is wrong, or scores are not finite.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise DataError(f"expected scores of {what}, shape [n] with n >= 1, got shape {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise DataError(
            f"expected finite scores of {what}, got {int((~np.isfinite(values)).sum())} that are not finite."
        )
    return values


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingExtra(f"AUROC, AUPR and their curves need scikit-learn: {remedy('evaluate')}") from error
    return metrics
