"""Calibrate a model file again, on the machine that judges, from new good parts. No PyTorch is needed.

=============  =====================================================================================================
verify         This machine must compute what the exporting machine computed (golden sample).
scene          The scene check is fitted to a share of the new parts, before anything is judged (`scene.fit_scene`).
score          The file scores the other parts, one at a time, as on the line (`scoring.score`).
calibrate      Threshold, tail and promise follow from these scores (`calibrate.calibrate`).
compare        A move of the threshold that is implausible without a change of the line is refused (`move`).
=============  =====================================================================================================

Nothing is written here. The caller gets the bytes of the new file, and writes them atomically.
"""

import logging
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from andon.calibration.calibrate import calibrate
from andon.calibration.known_defects import MISSED, KnownDefects
from andon.calibration.request import CalibrationRequest, PromiseRequest, ShiftRequest
from andon.calibration.review import defects_below
from andon.calibration.scene import LEAST_PARTS, PARTS, fit_scene
from andon.calibration.scoring import Scores, score
from andon.calibration.units import reduce_to_units, top_parts
from andon.foundation.errors import CalibrationError, ConfigError, NotEnoughParts
from andon.foundation.progress import Progress, silent
from andon.runtime.detector import Detector
from andon.runtime.items import Ref
from andon.runtime.model_file.format import ModelFile, parse
from andon.runtime.schema import FrameSpec, WindowSpec
from andon.runtime.session import Device, open_session
from andon.sources.collection import Collection

logger = logging.getLogger(__name__)

SCENE_SHARE = 0.2
"""Share of the new good parts to which the scene check is fitted. The others set the threshold."""


class Recalibrated(Struct, frozen=True, kw_only=True):
    """A file that was calibrated again, and what a person should look at before it is used."""

    data: bytes
    """The new file."""
    before: ModelFile
    after: ModelFile
    scene_parts: int
    """Number of new parts to which the scene check was fitted."""
    top_parts: Sequence[tuple[str, float]]
    """The new parts with the highest scores. A defective part among them would have set the threshold."""


def recalibrate(
    data: bytes,
    good: Collection,
    request: CalibrationRequest,
    *,
    device: Device = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    defects: Collection | None = None,
    missed: float = MISSED,
) -> Recalibrated:
    """Calibrate a file from new good parts.

    Args:
        data: a calibrated model file.
        good: new good parts from the line. Windows of logs must be disjoint.
        request: the promise, the date, and the reason for the log. `same_promise` asks for the promise that the file has.
        device: device that will judge. The promise is valid for this device only.
        seed: seed of the choice of parts for the scene check, and of the part drawn from each lot.
        progress: reports the reading of parts.
        defects: known defects that set the lower limit of the review band. None: no band, or one from good parts (`request`).
        missed: largest share of such defects that may pass.

    Raises:
        NotEnoughParts: the parts do not support the promise. The message gives the number of photos or windows to collect.
        CalibrationError: too many parts were lost, the scores support no statement, or the threshold moved implausibly far.
        DeviceError: this machine does not reproduce the golden sample, or has no such device.
        ConfigError: the parts are grouped in another way than those of the file, and the move is not forced.
    """
    before = parse(data)
    _refuse_other_groups(before, request)
    if defects is not None:
        defects_below(len(defects.refs), missed, request.promise.confidence)  # before anything is scored
    if before.golden is not None:
        Detector(before, open_session(data, device=device), frame_size="any").verify()
    fitted, scene_refs, refs = data, list[Ref](), list(good.refs)
    if isinstance(before.card.input, FrameSpec) and before.card.input.scene is not None:
        scene_refs, refs = scene_split(good.refs, seed=seed)
        fitted = fit_scene(data, good, refs=scene_refs, seed=seed, progress=progress)
    scores = score(fitted, good, device=device, seed=seed, progress=progress, refs=refs)
    try:
        known = None
        if defects is not None:
            known = KnownDefects(score(fitted, defects, device=device, seed=seed, progress=progress), missed)
        return _calibrated(before, fitted, scores, request, scene_parts=len(scene_refs), seed=seed, defects=known)
    except NotEnoughParts as error:
        raise _in_photos(error, len(scene_refs), len(refs), request.promise) from error


def recalibrate_from_scores(data: bytes, scores: Scores, request: CalibrationRequest, *, seed: int = 0) -> Recalibrated:
    """Calibrate a file from scores that it gave good parts earlier. The scene check stays as it is.

    Args:
        data: a calibrated model file.
        scores: stored scores of this file (`stored_scores.read_scores`).
        request: as for `recalibrate`.
        seed: as for `recalibrate`.

    Raises:
        NotEnoughParts, CalibrationError, ConfigError: as `recalibrate`.
    """
    before = parse(data)
    _refuse_other_groups(before, request)
    return _calibrated(before, data, scores, request, scene_parts=0, seed=seed)


def same_promise(model: ModelFile) -> PromiseRequest:
    """Return the request for the promises that a file has: rate, shift, and a review band from good parts.

    A review band from defects needs these defects again, so it is not part of the request. Without a promise, ask for the
    strictest one that the parts support.
    """
    calibration = model.card.calibration
    if calibration is None or not calibration.promised:
        return PromiseRequest()
    shift, review = calibration.shift, calibration.review
    return PromiseRequest(
        false_reject=calibration.alpha,
        confidence=calibration.confidence,
        shift=ShiftRequest(parts=shift.parts, rejects=shift.rejects, share=shift.share) if shift else None,
        review=review.alpha if review and review.source == "good_parts" else None,
    )


def scene_split(refs: Sequence[Ref], *, seed: int) -> tuple[list[Ref], list[Ref]]:
    """Divide good parts into those that fit the scene check, and those that set the threshold. Groups stay together.

    About a fifth fits the scene check, at least `LEAST_PARTS` and at most `PARTS` if the groups allow it.

    Raises:
        CalibrationError: all parts are in one group, so they cannot be divided.
    """
    groups = sorted({ref.group for ref in refs})
    if len(groups) < 2:
        raise CalibrationError(
            "good parts: expected several parts or lots, because some fit the scene check and the others set the threshold; got "
            f"{len(refs)} frames of one. Collect more parts."
        )
    sizes = dict.fromkeys(groups, 0)
    for ref in refs:
        sizes[ref.group] += 1
    wanted = min(PARTS, max(LEAST_PARTS, round(SCENE_SHARE * len(refs))))
    chosen: set[str] = set()
    for group in np.random.default_rng(seed).permutation(groups)[:-1].tolist():
        if sum(sizes[one] for one in chosen) >= wanted:
            break
        chosen.add(group)
    return [ref for ref in refs if ref.group in chosen], [ref for ref in refs if ref.group not in chosen]


def _calibrated(
    before: ModelFile,
    fitted: bytes,
    scores: Scores,
    request: CalibrationRequest,
    *,
    scene_parts: int,
    seed: int,
    defects: KnownDefects | None = None,
) -> Recalibrated:
    band = before.card.calibration.review if before.card.calibration else None
    if band is not None and band.source == "defects" and defects is None:
        logger.warning(
            "the old file gives REVIEW by known defects, and the new one does not. To keep this, give --review-defects"
        )
    data = calibrate(fitted, scores, request, seed=seed, defects=defects)
    after = parse(data)
    windows = isinstance(after.card.input, WindowSpec)
    sample = reduce_to_units(scores, windows=windows, grouped=request.grouped, seed=seed)
    above = after.card.calibration.above if after.card.calibration else 0
    return Recalibrated(
        data=data, before=before, after=after, scene_parts=scene_parts, top_parts=top_parts(sample, above + 5)
    )


def _refuse_other_groups(before: ModelFile, request: CalibrationRequest) -> None:
    """Refuse parts that are grouped in another way: one frame per part and several give scores that cannot be compared."""
    calibration = before.card.calibration
    if calibration is None or calibration.grouped == request.grouped or request.forced:
        return
    if calibration.grouped:
        raise ConfigError(
            f"--group: expected the groups of the last calibration ({calibration.drawn}), got none. Give --group, or --force "
            "with a --reason if a part is now one file."
        )
    raise ConfigError(
        f"--group: expected no groups, as in the last calibration ({calibration.drawn}), got a rule. Leave it out, or give "
        "--force with a --reason if the line now takes several frames of each part."
    )


def _in_photos(error: NotEnoughParts, scene: int, kept: int, promise: PromiseRequest) -> NotEnoughParts:
    """Rephrase the refusal in terms of all parts to collect, because a share of them fits the scene check."""
    if not scene or error.need is None or error.have is None or promise.false_reject is None:
        return error
    share = kept / (scene + kept)
    total = int(np.ceil(error.need / share))
    return NotEnoughParts(
        f"{error} About {total} good parts in all are enough: {scene} of the {scene + kept} given parts fit the scene check.",
        need=error.need,
        have=error.have,
    )
