"""Results for judged parts: at the embedded threshold, over all thresholds, by type of defect, and of pixels."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.miss import Counted, miss_bound, miss_bounds_by_kind
from andon.evaluation.figures import ranking
from andon.evaluation.figures.chance import within_promise
from andon.evaluation.figures.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    part_intervals,
    pixel_intervals,
    rate_interval,
)
from andon.evaluation.figures.other_scores import Areas, areas, by_score
from andon.evaluation.figures.pixel_evidence import PixelEvidence
from andon.evaluation.figures.pixels import RankedPixels, rank_pixels
from andon.evaluation.judged_parts import JudgedPart
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent
from andon.runtime.calibration_facts import MissBound
from andon.runtime.schema import Status
from andon.sources.pictures.folder import natural


class Confusion(Struct, frozen=True, kw_only=True):
    """Numbers of valid parts at the embedded threshold, by truth and verdict. REVIEW counts as passed."""

    true_rejects: int
    false_rejects: int
    misses: int
    true_passes: int


class ScoreSpread(Struct, frozen=True, kw_only=True):
    """Mean and standard deviation of the scores of valid parts."""

    mean: float
    sd: float | None
    """Sample standard deviation (n - 1); None for one part."""


class Intervals(Struct, frozen=True, kw_only=True):
    """Confidence intervals at `level`: how much results could change with other parts like these (`figures.intervals`).

    They are percentile intervals over resampled parts. The two rates have exact intervals. Parts of one lot are not independent,
    but the intervals ignore that. A figure that is None has no interval.
    """

    level: float
    resamples: int
    seed: int
    auroc: Interval | None = None
    aupr: Interval | None = None
    oracle_f1_max: Interval | None = None
    tpr_at_1_percent_fpr: Interval | None = None
    tpr_at_5_percent_fpr: Interval | None = None
    fpr_at_recall: Interval | None = None
    false_reject_rate: Interval | None = None
    miss_rate: Interval | None = None
    pixel_auroc: Interval | None = None
    aupro: Interval | None = None


class KindFigures(Struct, frozen=True, kw_only=True):
    """Results for one type of defect."""

    n: int
    auroc: float | None
    """AUROC against all good parts; None if there are none."""
    miss_rate: float
    miss_at_most: float | None = None
    """Upper bound of the share of such defects that pass. The bounds of all types hold together with 95 % confidence. None below
    10 defects of the type."""


class Evaluation(Struct, frozen=True, kw_only=True):
    """Results for one set of parts. Rates are shares of valid parts; INVALID parts are counted separately.

    The set may hold only good parts (to check the promise) or only defective parts (to check misses). Results that compare both
    are then None.
    """

    n_good: int
    n_defect: int
    auroc: float | None
    aupr: float | None
    """Average precision. Random scores give `prevalence`."""
    prevalence: float
    false_reject_rate: float | None
    """Share of good parts that are rejected at the embedded threshold; None without good parts."""
    miss_rate: float | None
    """Share of defective parts that pass at the embedded threshold; None without defective parts."""
    invalid: int
    threshold: float
    promise: str
    within_promise: bool | None
    """True if the number of false rejects is consistent with the promise (99 % quantile); None without a promise."""
    tpr_at_5_percent_fpr: float | None
    oracle_f1_max: float | None
    """The best F1 over all thresholds. Its threshold needs the truth and is not known in advance."""
    pixel_auroc: float | None = None
    aupro: float | None = None
    """Area under the per-region overlap up to 30 % false positives."""
    mask_step: int | None = None
    """Masks and maps were compared at every `mask_step`-th row and column of the mask."""
    unmasked: int = 0
    """Number of defective frames without a mask, if others have one. They are left out of the pixel results."""
    ignored_defects: int = 0
    """Number of defective frames whose defects lie only in pixels that the model file ignores."""
    by_defect: dict[str, KindFigures] = {}
    tpr_at_1_percent_fpr: float | None
    fpr_at_recall: float | None
    """Share of good parts that are rejected at a threshold that finds the share `recall` of these defects."""
    recall: float
    confusion: Confusion
    scores_good: ScoreSpread | None
    scores_defect: ScoreSpread | None
    miss_bound: MissBound | None = None
    """Upper bound of the share of such defects that pass, with 95 % confidence. None without defects, and for windows, because
    windows of one fault depend on each other."""
    unknown: int = 0
    """Number of parts without a known label. They are left out."""
    unit: Literal["part", "window"] = "part"
    """The unit that was judged: windows for a log of verdicts on sensor data, otherwise parts."""
    frames: int = 0
    """Number of judged frames if a part counts by its worst frame; 0 if each frame is a part."""
    unjudged: int = 0
    """Number of parts with a known label but no verdict, if verdicts were read from a file."""
    intervals: Intervals | None = None
    """None if not requested."""
    by_score: dict[str, Areas] = {}
    """AUROC and AUPR of all scores, the deciding score first; empty if the file gives only one score."""


def summarise(
    judged: list[JudgedPart],
    *,
    threshold: float,
    promise: str = "",
    alpha: float | None = None,
    pixels: PixelEvidence | None = None,
    recall: float = 0.99,
    decides: str = "score",
    unit: Literal["part", "window"] = "part",
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Return the results for judged parts.

    Args:
        judged: all parts, including INVALID ones.
        threshold: the threshold at which they were judged.
        promise: the promise in words.
        alpha: the promised rate of false rejects; None without a promise.
        pixels: anomaly maps and masks, if there are any.
        recall: recall for `fpr_at_recall`, 0 < recall <= 1.
        decides: name of the score that decides.
        unit: what was judged. Windows get no bound on misses.
        intervals: whether to compute confidence intervals by resampling the parts.
        seed: seed of the resampling.
        progress: called while parts are resampled.

    Raises:
        DataError: no part could be judged, or the recall is out of bounds.
    """
    valid = [part for part in judged if part.status != Status.INVALID]
    scores = np.array([part.score for part in valid])
    defective = np.array([part.defective for part in valid], np.bool_)
    if not valid:
        raise DataError(f"expected parts that could be judged, got only INVALID parts ({len(judged)}).")
    ranking.require_recall(recall)
    rejected = np.array([part.status == Status.REJECT for part in valid], np.bool_)
    good, bad = scores[~defective], scores[defective]
    both = bool(len(good) and len(bad))
    confusion = _confusion(defective, rejected)
    ranked = (
        rank_pixels(pixels.maps, pixels.masks)
        if pixels is not None and any(mask.any() for mask in pixels.masks)
        else None
    )
    figures = Evaluation(
        n_good=len(good),
        n_defect=len(bad),
        auroc=ranking.auroc(scores, defective) if both else None,
        aupr=ranking.aupr(scores, defective) if both else None,
        prevalence=float(defective.mean()),
        false_reject_rate=confusion.false_rejects / len(good) if len(good) else None,
        miss_rate=confusion.misses / len(bad) if len(bad) else None,
        invalid=len(judged) - len(valid),
        ignored_defects=0 if pixels is None else pixels.ignored,
        threshold=threshold,
        promise=promise,
        within_promise=(
            None if alpha is None or not len(good) else within_promise(confusion.false_rejects, len(good), alpha)
        ),
        tpr_at_5_percent_fpr=ranking.tpr_at_fpr(good, bad, 0.05) if both else None,
        oracle_f1_max=ranking.oracle_f1_max(scores, defective) if both else None,
        by_defect=_by_kind(valid, scores, defective, rejected, bounded=unit == "part"),
        miss_bound=miss_bound(Counted(len(bad), confusion.misses), LEVEL) if len(bad) and unit == "part" else None,
        unit=unit,
        tpr_at_1_percent_fpr=ranking.tpr_at_fpr(good, bad, 0.01) if both else None,
        fpr_at_recall=ranking.fpr_at_recall(good, bad, recall) if both else None,
        recall=recall,
        confusion=confusion,
        scores_good=score_spread(good) if len(good) else None,
        scores_defect=score_spread(bad) if len(bad) else None,
        intervals=(
            _intervals(valid, pixels if ranked else None, ranked, recall=recall, seed=seed, progress=progress)
            if intervals
            else None
        ),
        by_score=_by_score(decides, scores, defective, valid) if both else {},
    )
    return _with_pixels(figures, pixels, ranked) if pixels is not None and ranked is not None else figures


def _confusion(defective: NDArray[np.bool_], rejected: NDArray[np.bool_]) -> Confusion:
    return Confusion(
        true_rejects=int(rejected[defective].sum()),
        false_rejects=int(rejected[~defective].sum()),
        misses=int((~rejected[defective]).sum()),
        true_passes=int((~rejected[~defective]).sum()),
    )


def _by_kind(
    valid: Sequence[JudgedPart],
    scores: NDArray[np.float64],
    defective: NDArray[np.bool_],
    rejected: NDArray[np.bool_],
    *,
    bounded: bool,
) -> dict[str, KindFigures]:
    good = scores[~defective]
    members = {
        kind: np.array([part.defective and part.kind == kind for part in valid], np.bool_)
        for kind in natural({part.kind for part in valid if part.defective})
    }
    counted = {kind: Counted(int(one.sum()), int((~rejected[one]).sum())) for kind, one in members.items()}
    bounds = miss_bounds_by_kind(counted, LEVEL) if bounded else {}
    by_kind: dict[str, KindFigures] = {}
    for kind, of_kind in members.items():
        by_kind[kind] = KindFigures(
            n=int(of_kind.sum()),
            auroc=(
                ranking.auroc(
                    np.concatenate([good, scores[of_kind]]), np.arange(len(good) + of_kind.sum()) >= len(good)
                )
                if len(good)
                else None
            ),
            miss_rate=float((~rejected[of_kind]).mean()),
            miss_at_most=bounds[kind].beta if kind in bounds else None,
        )
    return by_kind


def _with_pixels(figures: Evaluation, pixels: PixelEvidence, ranked: RankedPixels) -> Evaluation:
    return structs.replace(
        figures,
        pixel_auroc=ranked.auroc(),
        aupro=ranked.aupro(),
        mask_step=pixels.step,
        unmasked=pixels.unmasked,
    )


def _by_score(
    decides: str, scores: NDArray[np.float64], defective: NDArray[np.bool_], valid: list[JudgedPart]
) -> dict[str, Areas]:
    every = by_score(decides, scores, [part.other_scores for part in valid])
    return areas(every, defective) if len(every) > 1 else {}


def _intervals(
    valid: list[JudgedPart],
    pixels: PixelEvidence | None,
    ranked: RankedPixels | None,
    *,
    recall: float,
    seed: int,
    progress: Progress,
) -> Intervals:
    if len({part.defective for part in valid}) < 2:
        return _of_one_rate(valid, seed)
    of_parts = part_intervals(
        [part.score for part in valid],
        [part.defective for part in valid],
        [part.status == Status.REJECT for part in valid],
        recall=recall,
        parts=[part.ref.part for part in valid],
        seed=seed,
        progress=progress,
    )
    of_pixels = (
        pixel_intervals(pixels.maps, pixels.masks, ranked=ranked, parts=pixels.parts, seed=seed, progress=progress)
        if pixels
        else None
    )
    return Intervals(
        level=LEVEL,
        resamples=RESAMPLES,
        seed=seed,
        **structs.asdict(of_parts),
        **(structs.asdict(of_pixels) if of_pixels else {}),
    )


def _of_one_rate(valid: list[JudgedPart], seed: int) -> Intervals:
    """Return the interval of the only rate that exists if all parts are good or all are defective. It needs no resampling."""
    rejected = sum(part.status == Status.REJECT for part in valid)
    if valid[0].defective:
        missed = rate_interval(len(valid) - rejected, len(valid))
        return Intervals(level=LEVEL, resamples=0, seed=seed, miss_rate=missed)
    return Intervals(level=LEVEL, resamples=0, seed=seed, false_reject_rate=rate_interval(rejected, len(valid)))


def score_spread(scores: NDArray[np.float64]) -> ScoreSpread:
    """Return mean and standard deviation of scores.

    Raises:
        DataError: there are no scores, or some are not finite.
    """
    values = ranking.finite_scores(scores, "parts")
    return ScoreSpread(mean=float(values.mean()), sd=float(values.std(ddof=1)) if len(values) > 1 else None)
