"""Write the threshold, the tail, the promise and a log entry into a model file, from the scores of good parts.

`andon export` calls this on a blank file. A program can also call it to recalibrate a file that is already in use.
"""

import hashlib
import logging
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from andon.calibration.drift_limits import drift_reference
from andon.calibration.known_defects import KnownDefects, limit_from_defects
from andon.calibration.move import threshold_move
from andon.calibration.promise import LADDER, allowance
from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import Scores
from andon.calibration.statement import Statement, statement_of
from andon.calibration.tail import scores_of, tail
from andon.calibration.units import first_invalid, reduce_to_units, warn_of_copies
from andon.foundation.errors import CalibrationError, ConfigError
from andon.runtime import __version__
from andon.runtime.calibration_facts import Calibration, ChannelHealth, DriftReference, FrameHealth, Move, percent
from andon.runtime.model_file.format import LogEntry, ModelFile, Tail, append_log, parse, seal
from andon.runtime.outside_training import limits
from andon.runtime.schema import SCHEMA, Card, FrameSpec, WindowSpec

logger = logging.getLogger(__name__)

_HIGHEST = np.nextafter(np.finfo(np.float32).max, np.float32(0))
"""Replaces +inf in the tail. A knot is one float32 step above its score, so one larger float32 number must exist."""


def calibrate(
    data: bytes,
    scores: Scores,
    request: CalibrationRequest,
    *,
    seed: int = 0,
    defects: KnownDefects | None = None,
) -> bytes:
    """Write threshold, tail and promise into a model file, which may be blank or already calibrated.

    Parts with equal content count as one part. The card fields that depend on the parts are updated: frame size, provider and
    versions.

    Args:
        data: the model file.
        scores: scores of the calibration parts, computed with this file (`scoring.score`).
        request: the promise, the date, the reason, and whether files were grouped.
        seed: seed for drawing one part from each lot.
        defects: known defects that set the lower limit of the review band (`known_defects`). For frames only.

    Raises:
        ConfigError: defects are given for a file of windows, or together with a review band from good parts.
        NotEnoughParts: parts or defects do not support the promise. The message gives the number needed and the strictest promise
            that these parts support.
        CalibrationError: too many parts were lost, the scores support no statement, or the threshold of a file in use moves
            implausibly far.
    """
    model = parse(data, allow_blank=True)
    windows = isinstance(model.card.input, WindowSpec)
    _refuse_defects(defects, request, windows=windows)
    warn_of_copies(scores, windows=windows)
    sample = reduce_to_units(scores, windows=windows, grouped=request.grouped, seed=seed)
    finite = sample.scores[np.isfinite(sample.scores)]
    good_scale = float(np.median(np.abs(finite)))
    lifted = lift(np.sort(sample.scores), good_scale, model.card.tolerance)
    statement = statement_of(sample, request.promise)
    _refuse_infinite(scores, lifted, statement, request.promise.confidence)
    threshold = float(lifted[len(lifted) - 1 - statement.above])
    _warn_of_ties(lifted, threshold, statement.above)
    knots = tail(np.minimum(lifted, _HIGHEST))
    card = _updated(model.card, scores)
    passing = None
    if defects is not None and statement.kind == "promise":
        passing = limit_from_defects(
            defects,
            scores,
            lifted,
            threshold=threshold,
            above=statement.above,
            alpha=statement.alpha,
            confidence=request.promise.confidence,
            good_scale=good_scale,
            tolerance=model.card.tolerance,
        )
    elif defects is not None:
        logger.warning("an estimate has no review band from defects: the good parts support no promise")
    calibration = Calibration(
        kind=statement.kind,
        alpha=statement.alpha,
        confidence=request.promise.confidence,
        n=len(lifted),
        n_eff=statement.n_eff,
        above=statement.above,
        unit=sample.unit,
        sampling=structs.replace(sample.sampling, steadiness=statement.steadiness),
        tau=statement.tau,
        invalid=sample.invalid,
        invalid_content=sample.invalid_content,
        part_keys_sha256=hashlib.sha256("\n".join(sorted(sample.keys)).encode()).hexdigest(),
        good_median=float(np.median(finite)),
        good_scale=good_scale,
        map_scale=_map_scale(model, scores),
        date=request.date,
        precision=card.precision,
        provider=card.provider,
        shift=statement.shift,
        review=passing.review if passing else statement.review,
        misses=passing.misses if passing else None,
        health=scores.health or _before(model).health,
        channel_health=scores.channel_health or _before(model).channel_health,
        drift=_drift(np.minimum(lifted, _HIGHEST), knots.x, statement) if request.drift else None,
    )
    move = _move(model, lifted, statement.above, request)
    review = threshold if statement.review is None else float(lifted[len(lifted) - 1 - statement.review.above])
    if passing is not None:
        review = passing.limit
    numbers = Tail(threshold=threshold, review=review, x=knots.x, p=knots.p)
    return _sealed(
        model,
        card,
        calibration,
        numbers,
        reason=request.reason,
        move=move,
        outside=_outside(card, scores.channel_health),
    )


def _outside(card: Card, seen: tuple[ChannelHealth, ...]) -> NDArray[np.float32] | None:
    """Return the limits for windows far outside the good ones, or None: keep those in the file, or there is no such check."""
    spec = card.input
    if not isinstance(spec, WindowSpec) or spec.outside is None or not seen:
        return None
    return limits(spec, seen)


def _refuse_defects(defects: KnownDefects | None, request: CalibrationRequest, *, windows: bool) -> None:
    if defects is None:
        return
    if windows:
        raise ConfigError(
            "--review-defects: expected a model file for frames, got one for windows of sensor data. Leave it out."
        )
    if request.promise.review is not None:
        raise ConfigError(
            "expected --review or --review-defects, got both. The lower limit of the review band comes from good parts or from "
            "known defects. Leave one out."
        )


class _Health(NamedTuple):
    health: FrameHealth | None
    channel_health: tuple[ChannelHealth, ...]


def _before(model: ModelFile) -> _Health:
    """Return the statistics in the old file. They stay if the scores are stored ones, without frames or windows."""
    old = model.card.calibration
    return _Health(None, ()) if old is None else _Health(old.health, old.channel_health)


def _map_scale(model: ModelFile, scores: Scores) -> float | None:
    """Return the colour scale of heat maps: of the new maps, or the old one if the maps were not stored with the scores."""
    if len(scores.map_values):
        return float(np.quantile(scores.map_values, 0.999))
    return model.card.calibration.map_scale if model.card.calibration else None


def lift(scores: NDArray[np.float64], good_scale: float, tolerance: float) -> NDArray[np.float32]:
    """Raise scores by the file's tolerance. On another machine, the same parts score at most as high as these raised scores.

    A higher threshold never breaks a promise, so model files may be moved between machines.
    """
    raised = scores + tolerance * np.maximum(np.abs(scores), good_scale)
    lifted: NDArray[np.float32] = np.nextafter(raised.astype(np.float32), np.float32(np.inf))
    return lifted


def _drift(lifted: NDArray[np.float32], knots: NDArray[np.float32], statement: Statement) -> DriftReference | None:
    """Return the limits of drift charts, or None if there are fewer than two independent scores."""
    n_eff = int(statement.n_eff)
    if n_eff < 2:
        return None
    scores = lifted.astype(np.float64)
    return drift_reference(scores, knots, n_eff=n_eff, tau=statement.tau, above=statement.above, alpha=statement.alpha)


def _move(model: ModelFile, lifted: NDArray[np.float32], above: int, request: CalibrationRequest) -> Move | None:
    """Return how far the threshold of a file in use moves, or None for a file that was not calibrated by scores before.

    Raises:
        CalibrationError: the move is implausible unless the line has changed, and the request does not force it.
    """
    old = model.card.calibration
    if old is None or not model.log or old.kind == "manual":
        return None
    new = np.minimum(lifted, _HIGHEST).astype(np.float64)
    before = scores_of(model.tail_x, model.tail_p, old.n)
    move = threshold_move(before, new, above_old=old.above, above_new=above, forced=request.forced)
    if move.implausible and not request.forced:
        chance = f"{move.p:.1g}" if move.p > 1e-12 else "less than 1e-12"
        raise CalibrationError(
            f"the threshold moved implausibly far: {move.above_before} of {len(new)} new good {old.unit}s are above the old "
            f"threshold, and {move.above_after} of {len(before)} old ones above the new. Equal {old.unit}s would give this with "
            f"a probability of {chance}. Are all new {old.unit}s good? If the lamp, the camera or the product has changed, "
            "accept the new threshold with --force and give the --reason."
        )
    return move


def _refuse_infinite(scores: Scores, lifted: NDArray[np.float32], statement: Statement, confidence: float) -> None:
    """Refuse an infinite threshold: more parts are INVALID because of their content than may be above the threshold."""
    infinite = int(np.isinf(lifted).sum())
    if infinite <= statement.above:
        return
    first = first_invalid(scores, lost=False)
    weaker = [
        alpha
        for alpha in sorted(LADDER)
        if alpha > statement.alpha and statement.n_eff == len(lifted)
        if allowance(len(lifted), alpha, confidence) >= infinite
    ]
    offer = f", or promise --false-reject {weaker[0]:g}" if weaker else ""
    raise CalibrationError(
        f"{infinite} of {len(lifted)} calibration parts are INVALID because of their content{first}, so they do "
        f"not pass. A promise of {percent(statement.alpha)} from {len(lifted)} parts allows {statement.above} of them. Look at "
        f"these parts, replace those that are not good and train again{offer}."
    )


def _warn_of_ties(lifted: NDArray[np.float32], threshold: float, above: int) -> None:
    at_threshold = int((lifted == np.float32(threshold)).sum())
    if (above > 0 and lifted[-1] == np.float32(threshold)) or at_threshold > max(1, 0.01 * len(lifted)):
        logger.warning(
            "%d of %d good scores equal the threshold: the score saturates, so defects may not exceed the threshold",
            at_threshold,
            len(lifted),
        )


def _updated(card: Card, scores: Scores) -> Card:
    """Return the card with the fields that depend on the calibration parts, on the device and on the package versions."""
    if isinstance(card.input, FrameSpec) and scores.frame_sizes:
        size = scores.frame_sizes[0] if len(scores.frame_sizes) == 1 else None
        card = structs.replace(card, input=structs.replace(card.input, frame_size=size))
    here = {package: version(package) for package in ("andon", "numpy", "onnxruntime")}
    provider = scores.provider or card.provider
    # the calibration holds facts that schema 1.0 does not have
    return structs.replace(card, schema=SCHEMA, versions=card.versions | here, provider=provider)


def _sealed(
    model: ModelFile,
    card: Card,
    calibration: Calibration,
    numbers: Tail,
    *,
    reason: str,
    move: Move | None,
    outside: NDArray[np.float32] | None,
) -> bytes:
    entry = LogEntry(
        date=calibration.date,
        andon=str(__version__),
        kind=calibration.kind,
        alpha=calibration.alpha,
        confidence=calibration.confidence,
        n=calibration.n,
        above=calibration.above,
        threshold=numbers.threshold,
        part_keys_sha256=calibration.part_keys_sha256,
        previous="",
        reason=reason,
        move=move,
    )
    card = structs.replace(card, calibration=calibration)
    log = append_log(model.log, entry)
    return seal(model.data, card=card, golden=model.golden, log=log, tail=numbers, outside=outside)
