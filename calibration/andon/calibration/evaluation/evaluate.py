"""What a model file's verdicts are worth on parts whose truth is known: at its embedded threshold, and over all thresholds."""

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.calibrate import SINGLE_FILES
from andon.calibration.evaluation import metrics
from andon.calibration.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    part_intervals,
    pixel_intervals,
)
from andon.calibration.evaluation.further import NOTHING, Areas, Further, areas, by_score, deciding, further
from andon.runtime.detector import Detector
from andon.runtime.errors import DataError, InputError
from andon.runtime.heat_map import enlarge
from andon.runtime.progress import Progress, silent, track
from andon.runtime.schema import FrameSpec, Status
from andon.sources.items import Collection, Item, Ref
from andon.sources.picture_folder import natural
from andon.sources.truth import Truth

logger = logging.getLogger(__name__)

MAX_PIXELS = 30_000_000
"""Pixel metrics sort all pixels of all pictures; beyond so many, masks are thinned by a whole number, which is reported."""


class Confusion(Struct, frozen=True, kw_only=True):
    """Valid parts at the embedded threshold; REVIEW passes."""

    true_rejects: int
    false_rejects: int
    misses: int
    true_passes: int


class Spread(Struct, frozen=True, kw_only=True):
    """Of the scores of valid parts."""

    mean: float
    sd: float | None
    """Of the sample (n - 1); None for one part."""


class Intervals(Struct, frozen=True, kw_only=True):
    """How far the figures would move with other parts like these, at `level` (`andon.calibration.evaluation.bootstrap`).

    Percentile intervals over parts drawn anew; the two rates have exact ones. Parts of one lot are not independent, and
    the intervals do not know.
    """

    level: float
    resamples: int
    seed: int
    auroc: Interval
    aupr: Interval
    oracle_f1_max: Interval
    tpr_at_1_percent_fpr: Interval
    tpr_at_5_percent_fpr: Interval
    fpr_at_recall: Interval
    false_reject_rate: Interval
    miss_rate: Interval
    pixel_auroc: Interval | None = None
    aupro: Interval | None = None


class KindFigures(Struct, frozen=True, kw_only=True):
    """One type of defect."""

    n: int
    auroc: float
    """Against all good parts."""
    miss_rate: float


class Evaluation(Struct, frozen=True, kw_only=True):
    """Figures over one set. Rates are shares of valid parts; INVALID ones are counted apart."""

    n_good: int
    n_defect: int
    auroc: float
    aupr: float
    """Average precision; read it beside `prevalence`, which is what chance gives."""
    prevalence: float
    false_reject_rate: float
    miss_rate: float
    """At the embedded threshold."""
    invalid: int
    threshold: float
    promise: str
    within_promise: bool | None
    """Whether the false rejects are as few as the promise says, but for chance (99 %); None without a promise."""
    tpr_at_5_percent_fpr: float
    oracle_f1_max: float
    """The best F1 over all thresholds, which nobody can know beforehand."""
    pixel_auroc: float | None = None
    aupro: float | None = None
    """Area under the per-region overlap up to 30 % false positives."""
    mask_step: int | None = None
    """Masks and maps were compared at every `mask_step`-th pixel of the mask."""
    unmasked: int = 0
    """Defective frames without a mask where others have one: left out of the pixel figures."""
    by_defect: dict[str, KindFigures] = {}
    tpr_at_1_percent_fpr: float
    fpr_at_recall: float
    """Share of good parts that would be rejected to find a share `recall` of these defects."""
    recall: float
    confusion: Confusion
    scores_good: Spread
    scores_defect: Spread
    unknown: int = 0
    """Parts whose truth nobody gave: left out."""
    unit: Literal["part", "window"] = "part"
    """What was judged: windows where verdicts on a log were read from a file."""
    frames: int = 0
    """Frames that were judged, where a part counts by the worst of its frames; 0 where each frame is a part."""
    unjudged: int = 0
    """Parts of known truth without a verdict, where verdicts were read from a file."""
    intervals: Intervals | None = None
    """None unless asked for."""
    by_score: dict[str, Areas] = {}
    """The deciding score first, then the file's further ones; empty where it has only the one."""


class Judged(Struct, frozen=True, kw_only=True):
    """One part, with what is true of it."""

    ref: Ref
    score: float
    status: Status
    defective: bool
    kind: str
    further: Further = NOTHING


class PixelEvidence(Struct):
    """Anomaly maps and masks of the same size, picture by picture."""

    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    parts: list[str] = []
    """The physical part in each."""
    step: int = 0
    """Every step-th pixel of the masks was kept."""
    unmasked: int = 0
    """Defective pictures that had a map but no mask."""


def evaluate(
    detector: Detector,
    collection: Collection,
    truth: Truth,
    *,
    recall: float = 0.99,
    by_part: bool = False,
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Evaluation, list[Judged]]:
    """Judge all frames whose truth is known, and count.

    Args:
        detector: of frames.
        collection: frames, of which those in `truth` are judged.
        truth: by key.
        recall: of `fpr_at_recall`, 0 < recall <= 1.
        by_part: whether frames of one part (``Ref.part``) count as one, by `worst_frames`, as a file that was calibrated
            on grouped parts promises it. Pixels are counted frame by frame all the same.
        intervals: whether to resample the parts.
        seed: of the resampling.
        progress: told after each frame, and while parts are resampled.

    Raises:
        DataError: no good or no defective part is left, or a recall that is none.
        InputError: a frame that the file cannot judge, with its name.
    """
    judged: list[Judged] = []
    pixels = PixelEvidence()
    known = [ref for ref in collection.refs if ref.key in truth.defective]
    if not known:
        raise DataError(
            "none of the parts has a known truth: give a tree with test/good and test/TYPE, or --truth TABLE.csv."
        )
    crop = detector.card.input.crop if isinstance(detector.card.input, FrameSpec) else None
    for ref in track(known, progress, "evaluating"):
        item = collection.read(ref)
        verdict = None
        if isinstance(item, Item):
            try:
                verdict = detector(item.data)
            except InputError as error:
                raise InputError(f"{ref.key}: {error}") from error
        defective = truth.defective[ref.key]
        judged.append(
            Judged(
                ref=ref,
                score=verdict.score if verdict else float("nan"),
                status=verdict.status if verdict else Status.INVALID,
                defective=defective,
                kind=truth.kind.get(ref.key, "defect") if defective else "good",
                further=further(verdict) if verdict else NOTHING,
            )
        )
        if truth.masks and isinstance(item, Item) and verdict and verdict.status != Status.INVALID:
            mask = truth.mask(ref.key)
            if mask is None and not defective:
                mask = np.zeros(item.data.shape[:2], np.bool_)
            if "anomaly_map" in verdict.evidence:
                pixels.unmasked += mask is None
            if mask is not None and "anomaly_map" in verdict.evidence:
                step = pixels.step = pixels.step or max(1, int(np.ceil(np.sqrt(len(known) * mask.size / MAX_PIXELS))))
                pixels.maps.append(_over_the_mask(verdict.evidence["anomaly_map"], mask, crop)[::step, ::step])
                pixels.masks.append(mask[::step, ::step])
                pixels.parts.append(ref.part)
    if pixels.unmasked and pixels.masks:
        marked = sum(mask.any() for mask in pixels.masks)
        logger.warning(
            "%d of %d defective frames have no mask: they are left out of the pixel figures",
            pixels.unmasked,
            pixels.unmasked + marked,
        )
    calibration = detector.card.calibration
    if not by_part and calibration is not None and calibration.dependence not in ("", SINGLE_FILES):
        logger.warning(
            "the file was calibrated on parts grouped by --group (%s), and here each frame counts as a part: where "
            "several frames show one part, give --group here too, or the promise is held against other counts",
            calibration.dependence,
        )
    frames = len(judged)
    judged = worst_frames(judged) if by_part else judged
    promised = calibration is not None and calibration.kind.startswith("promise")
    figures = summarise(
        judged,
        threshold=detector.threshold,
        promise=calibration.sentence if calibration else "",
        alpha=calibration.alpha if promised and calibration else None,
        pixels=pixels,
        recall=recall,
        decides=deciding(detector.card.reading),
        intervals=intervals,
        seed=seed,
        progress=progress,
    )
    unknown = len(collection.refs) - len(known)
    return structs.replace(figures, unknown=unknown, frames=frames if by_part else 0), judged


def worst_frames(judged: Sequence[Judged]) -> list[Judged]:
    """One entry a part, in the order of their first frames: the frame with the highest score; INVALID only if all are.

    A part is defective where one of its frames is, and of the type of its worst defective frame: a scratch that one view
    shows is a scratch of the part.
    """
    frames: dict[str, list[Judged]] = {}
    for one in judged:
        frames.setdefault(one.ref.part, []).append(one)
    mixed = [part for part, views in frames.items() if len({one.kind for one in views}) > 1]
    if mixed:
        logger.warning(
            "%d of %d parts have frames of several truths, for example %r (%s): each counts as one defective part. Where "
            "numbers begin anew in each folder, let --group take in the folder",
            len(mixed),
            len(frames),
            mixed[0],
            ", ".join(sorted({one.kind for one in frames[mixed[0]]})),
        )
    parts = []
    for views in frames.values():
        worst = max(views, key=_height)
        defects = [one for one in views if one.defective]
        kind = max(defects, key=_height).kind if defects else worst.kind
        parts.append(structs.replace(worst, defective=bool(defects), kind=kind))
    return parts


def _height(one: Judged) -> float:
    return one.score if one.status != Status.INVALID else -np.inf


def summarise(
    judged: list[Judged],
    *,
    threshold: float,
    promise: str = "",
    alpha: float | None = None,
    pixels: PixelEvidence | None = None,
    recall: float = 0.99,
    decides: str = "score",
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """The figures over parts that have been judged.

    Args:
        judged: all parts, INVALID ones too.
        threshold: at which they were judged.
        promise: in words.
        alpha: the promised rate of false rejects; None without a promise.
        pixels: where there are maps and masks.
        recall: as for `evaluate`.
        decides: name of the score that decides.
        intervals: as for `evaluate`.
        seed: as for `evaluate`.
        progress: as for `evaluate`.

    Raises:
        DataError: no good or no defective part can be judged, or a recall that is none.
    """
    valid = [part for part in judged if part.status != Status.INVALID]
    scores = np.array([part.score for part in valid])
    defective = np.array([part.defective for part in valid], np.bool_)
    if not defective.any() or defective.all():
        raise DataError(
            f"an evaluation needs good and defective parts that can be judged; got {int((~defective).sum())} good and "
            f"{int(defective.sum())} defective ones ({len(judged) - len(valid)} INVALID)."
        )
    rejected = np.array([part.status == Status.REJECT for part in valid], np.bool_)
    good, bad = scores[~defective], scores[defective]
    confusion = Confusion(
        true_rejects=int(rejected[defective].sum()),
        false_rejects=int(rejected[~defective].sum()),
        misses=int((~rejected[defective]).sum()),
        true_passes=int((~rejected[~defective]).sum()),
    )
    by_kind: dict[str, KindFigures] = {}
    for kind in natural({part.kind for part in valid if part.defective}):
        of_kind = np.array([part.defective and part.kind == kind for part in valid], np.bool_)
        by_kind[kind] = KindFigures(
            n=int(of_kind.sum()),
            auroc=metrics.auroc(
                np.concatenate([good, scores[of_kind]]), np.arange(len(good) + of_kind.sum()) >= len(good)
            ),
            miss_rate=float((~rejected[of_kind]).mean()),
        )
    ranked = (
        metrics.rank_pixels(pixels.maps, pixels.masks)
        if pixels is not None and any(mask.any() for mask in pixels.masks)
        else None
    )
    of_pixels = ranked.metrics() if ranked else None
    drawn = (
        _intervals(valid, pixels if ranked else None, ranked, recall=recall, seed=seed, progress=progress)
        if intervals
        else None
    )
    return Evaluation(
        n_good=len(good),
        n_defect=len(bad),
        auroc=metrics.auroc(scores, defective),
        aupr=metrics.aupr(scores, defective),
        prevalence=float(defective.mean()),
        false_reject_rate=confusion.false_rejects / len(good),
        miss_rate=confusion.misses / len(bad),
        invalid=len(judged) - len(valid),
        threshold=threshold,
        promise=promise,
        within_promise=None if alpha is None else metrics.within_promise(confusion.false_rejects, len(good), alpha),
        tpr_at_5_percent_fpr=metrics.tpr_at_fpr(good, bad, 0.05),
        oracle_f1_max=metrics.oracle_f1_max(scores, defective),
        pixel_auroc=of_pixels.auroc if of_pixels else None,
        aupro=of_pixels.aupro if of_pixels else None,
        mask_step=pixels.step if of_pixels and pixels else None,
        unmasked=pixels.unmasked if of_pixels and pixels else 0,
        by_defect=by_kind,
        tpr_at_1_percent_fpr=metrics.tpr_at_fpr(good, bad, 0.01),
        fpr_at_recall=metrics.fpr_at_recall(good, bad, recall),
        recall=recall,
        confusion=confusion,
        scores_good=_spread(good),
        scores_defect=_spread(bad),
        intervals=drawn,
        by_score=_by_score(decides, scores, defective, valid),
    )


def _by_score(
    decides: str, scores: NDArray[np.float64], defective: NDArray[np.bool_], valid: list[Judged]
) -> dict[str, Areas]:
    every = by_score(decides, scores, [part.further for part in valid])
    return areas(every, defective) if len(every) > 1 else {}


def _intervals(
    valid: list[Judged],
    pixels: PixelEvidence | None,
    ranked: metrics.RankedPixels | None,
    *,
    recall: float,
    seed: int,
    progress: Progress,
) -> Intervals:
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


def _spread(scores: NDArray[np.float64]) -> Spread:
    mean, sd = metrics.mean_and_sd(scores)
    return Spread(mean=mean, sd=sd if len(scores) > 1 else None)


def _over_the_mask(
    anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_], crop: tuple[float, float, float, float] | None
) -> NDArray[np.float32]:
    """The map at the size of the mask. What the crop cut away counts as the least suspicious: a defect there was not found."""
    height, width = mask.shape
    left, top, right, bottom = (round(10_000 * share) for share in crop or (0.0, 0.0, 1.0, 1.0))
    rows = slice(height * top // 10_000, height * bottom // 10_000)
    columns = slice(width * left // 10_000, width * right // 10_000)
    whole = np.full((height, width), np.finfo(np.float32).min, np.float32)
    whole[rows, columns] = enlarge(anomaly_map, (rows.stop - rows.start, columns.stop - columns.start))
    return whole
