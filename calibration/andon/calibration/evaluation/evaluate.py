"""What a model file's verdicts are worth on parts whose truth is known: at its embedded threshold, and over all thresholds."""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.evaluation import metrics
from andon.runtime.detector import Detector
from andon.runtime.errors import DataError, InputError
from andon.runtime.heat_map import enlarge
from andon.runtime.progress import Progress, silent, track
from andon.runtime.schema import FrameSpec, Status
from andon.sources.items import Collection, Item, Ref
from andon.sources.truth import Truth

MAX_PIXELS = 30_000_000
"""Pixel metrics sort all pixels of all pictures; beyond so many, masks are thinned by a whole number, which is reported."""


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
    by_defect: dict[str, KindFigures] = {}


class Judged(Struct, frozen=True, kw_only=True):
    """One part, with what is true of it."""

    ref: Ref
    score: float
    status: Status
    defective: bool
    kind: str


def evaluate(
    detector: Detector, collection: Collection, truth: Truth, *, progress: Progress = silent
) -> tuple[Evaluation, list[Judged]]:
    """Judge all frames whose truth is known, and count.

    Raises:
        DataError: no good or no defective part is left.
        InputError: a frame that the file cannot judge, with its name.
    """
    judged: list[Judged] = []
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    known = [ref for ref in collection.refs if ref.key in truth.defective]
    if not known:
        raise DataError(
            "none of the parts has a known truth: give a tree with test/good and test/TYPE, or --truth TABLE.csv."
        )
    step = 0
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
            )
        )
        if truth.masks and isinstance(item, Item) and verdict and verdict.status != Status.INVALID:
            mask = truth.mask(ref.key)
            if mask is None and not defective:
                mask = np.zeros(item.data.shape[:2], np.bool_)
            if mask is not None and "anomaly_map" in verdict.evidence:
                step = step or max(1, int(np.ceil(np.sqrt(len(known) * mask.size / MAX_PIXELS))))
                maps.append(_over_the_mask(verdict.evidence["anomaly_map"], mask, crop)[::step, ::step])
                masks.append(mask[::step, ::step])
    return _figures(detector, judged, maps, masks, step), judged


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


def _figures(detector: Detector, judged: list[Judged], maps: list[Any], masks: list[Any], step: int) -> Evaluation:
    valid = [part for part in judged if part.status != Status.INVALID]
    scores = np.array([part.score for part in valid])
    defective = np.array([part.defective for part in valid], np.bool_)
    if not defective.any() or defective.all():
        raise DataError(
            f"an evaluation needs good and defective parts that can be judged; got {int((~defective).sum())} good and "
            f"{int(defective.sum())} defective ones ({len(judged) - len(valid)} INVALID)."
        )
    rejected = np.array([part.status == Status.REJECT for part in valid], np.bool_)
    calibration = detector.card.calibration
    promised = calibration is not None and calibration.kind.startswith("promise")
    good = scores[~defective]
    pixels = metrics.pixel_metrics(maps, masks) if masks and any(mask.any() for mask in masks) else None
    by_kind: dict[str, KindFigures] = {}
    for kind in sorted({part.kind for part in valid if part.defective}):
        of_kind = np.array([part.kind == kind for part in valid], np.bool_)
        by_kind[kind] = KindFigures(
            n=int(of_kind.sum()),
            auroc=metrics.auroc(
                np.concatenate([good, scores[of_kind]]), np.arange(len(good) + of_kind.sum()) >= len(good)
            ),
            miss_rate=float((~rejected[of_kind]).mean()),
        )
    return Evaluation(
        n_good=len(good),
        n_defect=int(defective.sum()),
        auroc=metrics.auroc(scores, defective),
        aupr=metrics.aupr(scores, defective),
        prevalence=float(defective.mean()),
        false_reject_rate=float(rejected[~defective].mean()),
        miss_rate=float((~rejected[defective]).mean()),
        invalid=len(judged) - len(valid),
        threshold=detector.threshold,
        promise=calibration.sentence if calibration else "",
        within_promise=metrics.within_promise(int(rejected[~defective].sum()), len(good), calibration.alpha)
        if promised and calibration
        else None,
        tpr_at_5_percent_fpr=metrics.tpr_at_fpr(good, scores[defective], 0.05),
        oracle_f1_max=metrics.oracle_f1_max(scores, defective),
        pixel_auroc=pixels.auroc if pixels else None,
        aupro=pixels.aupro if pixels else None,
        mask_step=step if pixels else None,
        by_defect=by_kind,
    )
