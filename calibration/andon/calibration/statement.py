"""Choose the statement that a sample supports: the requested promise, the strictest promise on the ladder, or an estimate."""

import logging
import math

import numpy as np
from msgspec import Struct, structs

from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.promise import LADDER, allowance, check_fraction, expected_rate, ladder_alpha, parts_needed
from andon.calibration.request import PromiseRequest, ShiftRequest
from andon.calibration.review import check_review, review_ranks
from andon.calibration.shift import check_shift, every_shift_allowance, shift_allowance
from andon.calibration.steadiness import is_steady, steadiness
from andon.calibration.units import Sample
from andon.calibration.windows_needed import with_advice
from andon.foundation.errors import CalibrationError, NotEnoughParts
from andon.runtime.calibration_facts import ReviewBand, ShiftPromise, StatementKind, Steadiness, percent

logger = logging.getLogger(__name__)


class Statement(Struct, frozen=True, kw_only=True):
    """The statement about false rejects that the model file will contain, and the rank of the threshold."""

    kind: StatementKind
    alpha: float
    n_eff: float
    tau: float
    above: int
    """Number of scores above the threshold."""
    steadiness: Steadiness | None = None
    """Check against drift. None where the units have no order in time."""
    shift: ShiftPromise | None = None
    review: ReviewBand | None = None


def refuse_too_few(count: int, request: PromiseRequest, *, windows: bool) -> None:
    """Refuse a promise that needs more parts than there are. Scores do not matter for this. Call it before anything is computed.

    Args:
        count: number of parts or windows, an upper bound of their effective number.
        request: the requested promise.
        windows: whether the units are windows.

    Raises:
        NotEnoughParts: the message gives the number needed and the strictest promise that these parts support.
        ConfigError: a fraction is out of bounds.
    """
    alpha = max(LADDER) if request.false_reject is None else request.false_reject
    parts_needed(alpha, request.confidence)  # checks the fractions, even if nothing is promised
    if not request.no_promise:
        try:
            allowance(count, alpha, request.confidence, unit="window" if windows else "part")
        except NotEnoughParts as error:
            if not windows:
                raise
            raise with_advice(error, count, alpha=alpha, confidence=request.confidence, tau=1.0) from error
    if request.shift is not None:
        check_shift(request.shift.parts, request.shift.rejects)
        check_fraction("share of shifts (--every-shift)", 0.5 if request.shift.share is None else request.shift.share)
    if request.review is not None:
        check_review(request.review, min(LADDER) if request.false_reject is None else request.false_reject)
    if not windows and request.shift is not None:
        _shift_allowance(count, request.shift, request.confidence)
    if not windows and request.false_reject is not None and request.review is not None:
        review_ranks(count, request.review, request.false_reject, request.confidence)


def statement_of(sample: Sample, request: PromiseRequest) -> Statement:
    """Return the promise that the sample supports, or an estimate if the request allows it.

    Raises:
        NotEnoughParts: the message gives the number needed and the strictest promise that these parts support. Also raised
            if there are too few windows to estimate how they depend on each other.
        CalibrationError: the scores drifted while the windows were recorded.
        ConfigError: a fraction is out of bounds.
    """
    n = len(sample.scores)
    steady = steadiness(sample.runs)
    alpha = max(LADDER) if request.false_reject is None else request.false_reject
    parts_needed(alpha, request.confidence)  # checks the fractions
    try:
        alpha, n_eff, tau = _promised(sample, request)
        above = allowance(n, alpha, request.confidence, n_eff=n_eff, unit=sample.unit)
    except NotEnoughParts as error:
        if request.no_promise:
            return _estimate(sample, request, steady)
        if sample.unit != "window":
            raise
        tau = _tau(sample, alpha)
        raise with_advice(error, n, alpha=alpha, confidence=request.confidence, tau=tau) from error
    if request.no_promise and (np.isinf(sample.scores).sum() > above or not is_steady(steady)):
        return _estimate(sample, request, steady)
    _refuse_drift(steady)
    if tau > 1.5:
        logger.warning(
            "neighbouring windows depend on each other over tau = %.3g windows: %d windows count as %d independent ones",
            tau,
            n,
            n_eff,
        )
    shift, allowed = _shift(n, n_eff, tau, request)
    above = min(above, allowed)
    review, allowed = _review(n, n_eff, alpha, request)
    return Statement(
        kind="promise(n_eff)" if sample.runs else "promise",
        alpha=alpha,
        n_eff=float(n_eff),
        tau=tau,
        above=min(above, allowed),
        steadiness=steady,
        shift=shift,
        review=review,
    )


def _shift(n: int, n_eff: int, tau: float, request: PromiseRequest) -> tuple[ShiftPromise | None, int]:
    """Return the promise about a shift, and how many of n scores may be above the threshold for it."""
    shift = request.shift
    if shift is None:
        return None, n
    counted = shift
    if n_eff < n:  # the parts of the shift depend on each other as those of the calibration do
        parts = max(1, math.floor(shift.parts / tau))
        counted = structs.replace(shift, parts=parts, rejects=min(parts - 1, math.floor(shift.rejects / tau)))
    above = _shift_allowance(n_eff, counted, request.confidence) * n // n_eff
    promise = ShiftPromise(
        parts=shift.parts,
        rejects=shift.rejects,
        confidence=request.confidence,
        share=shift.share,
        approximate=n_eff < n,
    )
    return promise, above


def _shift_allowance(n: int, shift: ShiftRequest, confidence: float) -> int:
    if shift.share is None:
        return shift_allowance(n, shift.parts, shift.rejects, confidence)
    return every_shift_allowance(n, shift.parts, shift.rejects, shift.share, confidence)


def _review(n: int, n_eff: int, alpha: float, request: PromiseRequest) -> tuple[ReviewBand | None, int]:
    """Return the review band, and how many of n scores may be above the upper threshold for it."""
    if request.review is None:
        return None, n
    ranks = review_ranks(n, request.review, alpha, request.confidence, n_eff=n_eff)
    band = ReviewBand(source="good_parts", alpha=request.review, above=ranks.review, confidence=ranks.confidence)
    return band, ranks.reject


def _refuse_drift(steady: Steadiness | None) -> None:
    if steady is not None and not is_steady(steady):
        raise CalibrationError(
            f"the scores of the good windows drifted while they were recorded (p = {steady.p:.2g}, limit {steady.limit:g}), so "
            "later windows would break a promise. Record while the machine is steady, or long enough to contain each of its "
            "states many times, or write an estimate with --no-promise."
        )


def _estimate(sample: Sample, request: PromiseRequest, steady: Steadiness | None) -> Statement:
    """Return the rate to expect with the threshold at the highest finite score. Half of such estimates are too low."""
    if request.shift is not None or request.review is not None:
        logger.warning("an estimate has no shift promise and no review band: the parts support no promise")
    n = len(sample.scores)
    tau = _tau(sample, max(LADDER))
    n_eff = max(1, effective_number(n, tau))
    above = int(np.isinf(sample.scores).sum())
    expected = min(1.0, expected_rate(n_eff, -(-above * n_eff // n)))
    # a stricter request changes nothing about the parts, so it must not be written as if it were a result
    alpha = max(request.false_reject or expected, expected)
    return Statement(kind="estimate", alpha=alpha, n_eff=float(n_eff), tau=tau, above=above, steadiness=steady)


def _promised(sample: Sample, request: PromiseRequest) -> tuple[float, int, float]:
    """Return alpha, effective number and tau of the promise. Without a requested rate, try the ladder from its strictest step."""
    n, confidence = len(sample.scores), request.confidence
    if request.false_reject is not None:
        tau = _tau(sample, request.false_reject)
        n_eff = effective_number(n, tau, strict=bool(sample.runs) and request.false_reject > 0.05)
        allowance(n, request.false_reject, confidence, n_eff=n_eff, unit=sample.unit)
        return request.false_reject, n_eff, tau
    for alpha in sorted(LADDER):
        tau = _tau(sample, alpha)
        n_eff = effective_number(n, tau)
        best = ladder_alpha(n_eff, confidence) if n_eff else None
        if best is not None and best <= alpha:
            effective_number(n, tau, strict=bool(sample.runs) and alpha > 0.05)
            return alpha, n_eff, tau
    tau = _tau(sample, max(LADDER))
    allowance(n, max(LADDER), confidence, n_eff=effective_number(n, tau), unit=sample.unit)
    raise NotEnoughParts(
        f"{n} good {sample.unit}s do not support even a promise of {percent(max(LADDER))}. Collect more."
    )


def _tau(sample: Sample, alpha: float) -> float:
    if not sample.runs:
        return 1.0
    return max(dependence_time(sample.runs, alpha), design_effect(sample.runs, alpha))
