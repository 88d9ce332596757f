"""Evaluate the verdicts of a model file on parts with known labels, at the embedded threshold and over all thresholds."""

import logging
from collections import Counter

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.evaluation.figures.other_scores import deciding, other_scores
from andon.evaluation.figures.part_figures import Evaluation, summarise
from andon.evaluation.figures.pixel_evidence import PixelEvidence
from andon.evaluation.judged_parts import JudgedPart, worst_frames
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.items import Data
from andon.runtime.judge import judge_items
from andon.runtime.mask_pixels import ignored_in
from andon.runtime.schema import FrameSpec, Status
from andon.sources.collection import Collection
from andon.sources.truth import Truth

logger = logging.getLogger(__name__)


class FrameVerdicts(Struct, frozen=True, kw_only=True):
    """The verdicts on all frames with known labels."""

    judged: list[JudgedPart]
    """The judged frames, in the order of the collection."""
    pixels: PixelEvidence
    unknown: int
    """Number of frames without a known label. They are left out."""


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
) -> tuple[Evaluation, list[JudgedPart]]:
    """Judge all frames with known labels, and return the results and the judged parts.

    Args:
        detector: a detector for frames.
        collection: frames. Those in `truth` are judged.
        truth: truth by key.
        recall: recall for `fpr_at_recall`, 0 < recall <= 1.
        by_part: whether frames of one part (``Ref.part``) count as one part, by `worst_frames`. Use it for a file that was
            calibrated on grouped parts. Pixels are still counted frame by frame.
        intervals: whether to compute confidence intervals by resampling the parts.
        seed: seed of the resampling.
        progress: called after each frame, and while parts are resampled.

    Raises:
        DataError: no part is left, a mask does not fit its frame, or the recall is out of bounds.
        JudgeError: the runtime failed, so results for the other frames would mislead.
    """
    verdicts = judge_frames(detector, collection, truth, progress=progress)
    return frame_figures(
        detector, verdicts, recall=recall, by_part=by_part, intervals=intervals, seed=seed, progress=progress
    )


def judge_frames(
    detector: Detector, collection: Collection, truth: Truth, *, progress: Progress = silent
) -> FrameVerdicts:
    """Judge all frames with known labels.

    Unreadable frames and frames of another size than in calibration count as INVALID. A warning gives their number and reasons.

    Raises:
        DataError: there are no such frames, or a mask does not fit its frame.
        JudgeError: the runtime failed, so results for the other frames would mislead.
    """
    known = [ref for ref in collection.refs if ref.key in truth.defective]
    if not known:
        raise DataError(
            "expected parts with known labels, got none. Give a folder with test/good and test/TYPE, or --truth TABLE.csv."
        )
    crop = detector.card.input.crop if isinstance(detector.card.input, FrameSpec) else None
    judged: list[JudgedPart] = []
    pixels = PixelEvidence(expected=len(known))
    resized = 0
    reasons: Counter[str] = Counter()
    example = ""
    items = (collection.read(ref) for ref in track(known, progress, "evaluating"))
    for one in judge_items(detector, items):
        ref, verdict = one.ref, one.verdict
        defective = truth.defective[ref.key]
        judged.append(
            JudgedPart(
                ref=ref,
                score=verdict.score,
                status=verdict.status,
                defective=defective,
                kind=truth.kind.get(ref.key, "defect") if defective else "good",
                other_scores=other_scores(verdict),
            )
        )
        if not one.judged:
            reasons[verdict.reason.code] += 1
            example = example or f"{ref.key}: {one.detail}"
        seen = verdict.status != Status.INVALID and "anomaly_map" in verdict.evidence
        if truth.masks and one.data is not None and seen:
            mask = truth.mask(ref.key)
            if mask is None and not defective:
                mask = np.zeros(one.data.shape[:2], np.bool_)
            if mask is None:
                pixels.unmasked += 1
            else:
                resized += _is_resized(ref.key, mask, one.data)
                ignored = ignored_in(detector.card.input, (mask.shape[0], mask.shape[1]))
                pixels.ignored += ignored is not None and bool(mask.any()) and not (mask & ~ignored).any()
                pixels.add(verdict.evidence["anomaly_map"], mask, ref.part, crop, ignored)
    if reasons:
        logger.warning(
            "%d of %d frames were not judged and count as INVALID: %s. The first: %s",
            reasons.total(),
            len(known),
            ", ".join(f"{count} {code}" for code, count in reasons.most_common()),
            example,
        )
    if pixels.unmasked and pixels.masks:
        marked = sum(mask.any() for mask in pixels.masks)
        logger.warning(
            "%d of %d defective frames have no mask. They are left out of the pixel results",
            pixels.unmasked,
            pixels.unmasked + marked,
        )
    if pixels.ignored:
        logger.warning(
            "%d defective frames have their defects only in pixels that the model file ignores. They cannot be found there, and "
            "count as missed if they are OK",
            pixels.ignored,
        )
    if resized:
        logger.warning(
            "%d masks have another size than their frames. Maps are compared at the size of the masks", resized
        )
    return FrameVerdicts(judged=judged, pixels=pixels, unknown=len(collection.refs) - len(known))


def frame_figures(
    detector: Detector,
    verdicts: FrameVerdicts,
    *,
    recall: float = 0.99,
    by_part: bool = False,
    intervals: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Evaluation, list[JudgedPart]]:
    """Return the results and the parts that they describe.

    Args:
        detector: the detector that judged the frames.
        verdicts: from `judge_frames`.
        recall: as for `evaluate`.
        by_part: as for `evaluate`.
        intervals: as for `evaluate`.
        seed: as for `evaluate`.
        progress: called while parts are resampled.

    Raises:
        DataError: no part can be judged, or the recall is out of bounds.
    """
    calibration = detector.card.calibration
    if not by_part and calibration is not None and calibration.grouped:
        logger.warning(
            "the file was calibrated on parts grouped by --group (%s), but here each frame counts as a part. If several frames "
            "show one part, give --group here too. Otherwise the counts do not fit the promise",
            calibration.drawn,
        )
    judged = worst_frames(verdicts.judged) if by_part else verdicts.judged
    figures = summarise(
        judged,
        threshold=detector.threshold,
        promise=detector.promise,
        alpha=calibration.alpha if calibration and detector.promised else None,
        pixels=verdicts.pixels,
        recall=recall,
        decides=deciding(detector.card.reading),
        intervals=intervals,
        seed=seed,
        progress=progress,
    )
    frames = len(verdicts.judged) if by_part else 0
    return structs.replace(figures, unknown=verdicts.unknown, frames=frames), judged


def _is_resized(key: str, mask: NDArray[np.bool_], frame: Data) -> bool:
    """Return whether a mask has another scale than its frame.

    Raises:
        DataError: its proportions differ by more than a pixel, so the mask cannot be for this frame.
    """
    (height, width), (of_height, of_width) = mask.shape, frame.shape[:2]
    if abs(height * of_width - width * of_height) > max(of_height, of_width):
        raise DataError(
            f"{key}: expected a mask with the proportions of its frame, {of_height} x {of_width} (height x width), got "
            f"{height} x {width}. Was the mask turned or cut, or does it belong to another frame?"
        )
    return (height, width) != (of_height, of_width)
