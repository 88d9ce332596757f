"""Compute how many more windows a promise needs if neighbouring windows depend on each other over tau windows."""

import math

from andon.calibration.dependence import LEAST_TAUS
from andon.calibration.promise import parts_needed
from andon.foundation.errors import NotEnoughParts
from andon.runtime.calibration_facts import percent

WEAK = 0.05
"""Promises above this rate need 50 tau windows, so that tau is reliable. Stricter ones need more than that in any case."""


def windows_needed(alpha: float, confidence: float, tau: float) -> int:
    """Return the number of disjoint calibration windows for a promise.

    Args:
        alpha: promised false-reject rate.
        confidence: confidence of the promise.
        tau: autocorrelation time of the scores, in windows; 1 for independent windows.

    >>> windows_needed(0.2, 0.95, 1.0), windows_needed(0.05, 0.95, 1.0), windows_needed(0.05, 0.95, 2.5)
    (50, 59, 148)
    """
    independent = parts_needed(alpha, confidence)
    return math.ceil(max(independent, LEAST_TAUS if alpha > WEAK else 0) * tau - 1e-9)


def with_advice(error: NotEnoughParts, have: int, *, alpha: float, confidence: float, tau: float) -> NotEnoughParts:
    """Return a refusal that states how many more windows the promise needs at this tau.

    Args:
        error: the refusal.
        have: number of calibration windows.
        alpha: promised false-reject rate.
        confidence: confidence of the promise.
        tau: autocorrelation time of the scores, in windows; 1 if it is unknown.
    """
    need = windows_needed(alpha, confidence, tau)
    if need <= have:
        return error
    message = (
        f"{error} A promise of {percent(alpha)} at tau = {tau:.3g} needs {need} windows for calibration, {need - have} more than "
        "these."
    )
    if tau > 1.5:
        message += " Shorter windows do not help, because neighbouring windows already depend on each other."
    return NotEnoughParts(
        message,
        need=error.need,
        have=error.have,
        asked=error.asked,
        offer=error.offer,
        windows_missing=need - have,
        tau=tau,
    )
