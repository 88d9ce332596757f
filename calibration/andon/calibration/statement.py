"""Choose the statement that a sample supports: the promise that was asked for, the strictest on the ladder, or an estimate."""

import logging

import numpy as np
from msgspec import Struct

from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.promise import LADDER, allowance, expected_rate, ladder_alpha, parts_needed
from andon.calibration.request import PromiseRequest
from andon.calibration.units import Sample
from andon.foundation.errors import NotEnoughParts
from andon.runtime.calibration_facts import StatementKind, percent

logger = logging.getLogger(__name__)


class Statement(Struct, frozen=True, kw_only=True):
    """What the threshold will promise, and where it goes."""

    kind: StatementKind
    alpha: float
    n_eff: float
    tau: float
    above: int
    """How many scores lie above the threshold."""


def refuse_too_few(count: int, request: PromiseRequest, *, windows: bool) -> None:
    """Refuse a promise that so many parts cannot support, whatever they score, before anything is computed.

    Args:
        count: parts or windows at hand, an upper bound of their effective number.
        request: the promise.
        windows: whether they are windows.

    Raises:
        NotEnoughParts: with the number of parts needed and the strictest promise that these support.
        ConfigError: a fraction out of bounds.
    """
    alpha = max(LADDER) if request.false_reject is None else request.false_reject
    parts_needed(alpha, request.confidence)  # checks the fractions, also where nothing is promised
    if not request.no_promise:
        allowance(count, alpha, request.confidence, unit="window" if windows else "part")


def statement_of(sample: Sample, request: PromiseRequest) -> Statement:
    """Return the promise that the sample supports; an estimate only where the request allows it.

    Raises:
        NotEnoughParts: with the number of parts needed and the strictest promise that these support.
        CalibrationError: the windows are too few for their dependence to be known.
        ConfigError: a fraction out of bounds.
    """
    n = len(sample.scores)
    alpha = max(LADDER) if request.false_reject is None else request.false_reject
    parts_needed(alpha, request.confidence)  # checks the fractions
    try:
        alpha, n_eff, tau = _promised(sample, request)
        above = allowance(n, alpha, request.confidence, n_eff=n_eff, unit=sample.unit)
    except NotEnoughParts:
        if request.no_promise:
            return _estimate(sample, request)
        raise
    if request.no_promise and np.isinf(sample.scores).sum() > above:
        return _estimate(sample, request)
    if tau > 1.5:
        logger.warning(
            "windows depend on their neighbours over tau = %.3g windows: %d count as %d independent ones", tau, n, n_eff
        )
    kind: StatementKind = "promise(n_eff)" if sample.runs else "promise"
    return Statement(kind=kind, alpha=alpha, n_eff=float(n_eff), tau=tau, above=above)


def _estimate(sample: Sample, request: PromiseRequest) -> Statement:
    """Return the rate to expect of a threshold at the highest finite score. Half of such guesses are broken."""
    n = len(sample.scores)
    tau = _tau(sample, max(LADDER))
    n_eff = max(1, effective_number(n, tau))
    above = int(np.isinf(sample.scores).sum())
    expected = min(1.0, expected_rate(n_eff, -(-above * n_eff // n)))
    # a stricter request changes nothing about the parts, so it must not be written as if it were a finding
    alpha = max(request.false_reject or expected, expected)
    return Statement(kind="estimate", alpha=alpha, n_eff=float(n_eff), tau=tau, above=above)


def _promised(sample: Sample, request: PromiseRequest) -> tuple[float, int, float]:
    """Return alpha, effective number and tau of the promise. The ladder is tried from its strictest end."""
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
    raise NotEnoughParts(f"{n} good {sample.unit}s carry no promise on the ladder down from {percent(max(LADDER))}.")


def _tau(sample: Sample, alpha: float) -> float:
    if not sample.runs:
        return 1.0
    return max(dependence_time(sample.runs, alpha), design_effect(sample.runs, alpha))
