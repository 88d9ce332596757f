"""Choose two thresholds: pass up to the lower one, review up to the upper one, reject above it.

Two promises come from the same n good parts: at most alpha_review of good parts do not pass, and at most alpha_reject of
good parts are rejected. Each one is a tolerance limit (`promise.py`). The confidence that *both* hold is computed exactly,
from the multinomial distribution of the parts beyond the two quantiles. It is between the product and the smaller one of
both confidences.

Known defects can set the lower threshold as well: it is then so low that at most beta of such defects pass.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from andon.calibration.promise import allowance, check_fraction, parts_needed, rounded_up, strongest
from andon.foundation.errors import CalibrationError, ConfigError, NotEnoughParts
from andon.runtime.calibration_facts import percent


class ReviewRanks(NamedTuple):
    """Ranks of the two thresholds, counted in good calibration parts above them, and what both promises are worth."""

    review: int
    """Number of calibration parts above the lower threshold. They do not pass."""
    reject: int
    """Number of calibration parts above the upper threshold, fewer than `review`."""
    confidence: float
    """Probability over calibrations that both promises hold."""


def joint_confidence(n: int, review: int, reject: int, alpha_review: float, alpha_reject: float) -> float:
    """Return the probability over calibrations that both promises hold.

    Args:
        n: number of good calibration parts.
        review: number of them above the lower threshold.
        reject: number of them above the upper threshold, reject < review < n.
        alpha_review: promised share of good parts that do not pass (review and reject).
        alpha_reject: promised share of good parts that are rejected, below alpha_review.

    >>> round(joint_confidence(1000, 38, 4, 0.05, 0.01), 6), round(joint_confidence(1000, 36, 4, 0.05, 0.01), 6)
    (0.933707, 0.953586)
    """
    beyond = np.arange(reject + 1, review + 1)  # parts beyond the upper quantile; more than `review` suffice alone
    between = (alpha_review - alpha_reject) / (1 - alpha_reject)
    both = binom.pmf(beyond, n, alpha_reject) * binom.sf(review - beyond, n - beyond, between)
    return float(both.sum() + binom.sf(review, n, alpha_reject))


def review_ranks(
    n: int,
    alpha_review: float,
    alpha_reject: float,
    confidence: float = 0.95,
    *,
    n_eff: int | None = None,
) -> ReviewRanks:
    """Return the ranks of the two thresholds: the lowest ones at which both promises hold with this confidence.

    The upper rank is the one that the promise on rejected parts allows alone. The lower one is the lowest whose joint
    confidence suffices. If there is none, the upper one moves up by one part.

    Args:
        n: number of good calibration parts.
        alpha_review: promised share of good parts that do not pass (review and reject), alpha_reject < alpha_review < 1.
        alpha_reject: promised share of good parts that are rejected, > 0.
        confidence: probability over calibrations that both hold, 0 < confidence < 1.
        n_eff: effective number of independent parts, 1 <= n_eff <= n. The ranks are computed for n_eff and scaled.

    Raises:
        NotEnoughParts: `need` and `have` are set where parts are independent. The message gives what these support.
        ConfigError: a fraction is out of bounds, or alpha_review is not above alpha_reject.

    >>> review_ranks(1000, 0.05, 0.01)[:2], review_ranks(600, 0.05, 0.01)[:2]
    ((36, 4), (20, 1))
    """
    check_review(alpha_review, alpha_reject)
    check_fraction("confidence", confidence)
    independent = n if n_eff is None else n_eff
    need = review_parts_needed(alpha_review, alpha_reject, confidence)
    if independent < need:
        raise _refusal(n, independent, alpha_review, alpha_reject, confidence)
    upper = allowance(independent, alpha_reject, confidence)
    lower = allowance(independent, alpha_review, confidence)
    while True:
        # the joint confidence decreases in both ranks, so the first one that suffices is the largest
        for candidate in range(lower, upper, -1):
            joint = joint_confidence(independent, candidate, upper, alpha_review, alpha_reject)
            if joint >= confidence:
                return ReviewRanks(candidate * n // independent, upper * n // independent, joint)
        upper -= 1


def review_parts_needed(alpha_review: float, alpha_reject: float, confidence: float = 0.95) -> int:
    """Return the smallest number of good parts for which both promises hold: one part in review, none rejected.

    Raises:
        ConfigError: a fraction is out of bounds, or alpha_review is not above alpha_reject.

    >>> review_parts_needed(0.05, 0.01), review_parts_needed(0.02, 0.01)
    (299, 311)
    """
    check_review(alpha_review, alpha_reject)
    need = max(2, parts_needed(alpha_reject, confidence), parts_needed(alpha_review, confidence, above=1))
    while joint_confidence(need, 1, 0, alpha_review, alpha_reject) < confidence:
        need += 1
    return need


def check_review(alpha_review: float, alpha_reject: float) -> None:
    """Refuse a review band whose share is not above the promised share of rejects.

    Raises:
        ConfigError: a share is not a fraction, or the shares are in the wrong order.
    """
    check_fraction("share of good parts that may need a review", alpha_review)
    check_fraction("false-reject rate", alpha_reject)
    if alpha_review <= alpha_reject:
        raise ConfigError(
            f"--review: expected more than the promised false-reject rate of {percent(alpha_reject)}, because rejected parts do "
            f"not pass either, got {percent(alpha_review)}. For example --review {rounded_up(min(0.9, 5 * alpha_reject))}."
        )


def defects_below(defects: int, beta: float, confidence: float = 0.95) -> int:
    """Return how many of the known defects may score at most the pass limit: the limit is just below the next one.

    Args:
        defects: number of known defects, each counted once.
        beta: promised share of such defects that pass, 0 < beta < 1.
        confidence: probability over draws of such defects, 0 < confidence < 1.

    Raises:
        NotEnoughParts: `need` and `have` are set.
        ConfigError: a fraction is out of bounds.

    >>> defects_below(59, 0.05), defects_below(100, 0.05), defects_below(200, 0.05), defects_below(30, 0.1)
    (0, 1, 4, 0)
    """
    check_fraction("share of defects that pass", beta)
    need = parts_needed(beta, confidence)
    if defects < need:
        offer = f", or allow {percent(float(rounded_up(strongest(defects, confidence))))}" if defects else ""
        raise NotEnoughParts(
            f"at most {percent(beta)} of such defects pass, at {percent(confidence)} confidence: expected at least {need} "
            f"different defects, got {defects}. Collect {need - defects} more{offer}.",
            need=need,
            have=defects,
        )
    return allowance(defects, beta, confidence)


def pass_limit(scores: ArrayLike, beta: float, confidence: float = 0.95) -> np.float32:
    """Return the highest score at which a part may pass, so that at most a share beta of such defects passes.

    Args:
        scores: ``[d]`` finite scores of known defects, in any order. If other machines may score lower by a tolerance, the
            caller must lower these scores by it first.
        beta: promised share of such defects that pass, 0 < beta < 1.
        confidence: probability over draws of such defects, 0 < confidence < 1.

    Raises:
        NotEnoughParts: there are too few defects.
        CalibrationError: scores are not finite.

    >>> float(pass_limit(range(1, 60), 0.05)) < 1.0
    True
    """
    ascending = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not np.isfinite(ascending).all():
        raise CalibrationError("expected finite scores of defects. Leave out INVALID parts: they do not pass.")
    first = ascending[defects_below(len(ascending), beta, confidence)]
    nearest = np.float32(first)
    # pass means score <= limit, so the limit is below the first defect that must not pass
    return nearest if nearest < first else np.nextafter(nearest, np.float32(-np.inf))


def _refusal(n: int, independent: int, alpha_review: float, alpha_reject: float, confidence: float) -> NotEnoughParts:
    need = review_parts_needed(alpha_review, alpha_reject, confidence)
    counted = f"{n}" if independent == n else f"{n} that count as {independent}"
    least = _least_review(independent, alpha_reject, confidence)
    asked = f"at most {percent(alpha_review)} of good parts in review or rejected, and at most {percent(alpha_reject)} rejected"
    offer = "" if least is None else f"{independent} calibration parts support --review {rounded_up(least)}."
    needed = f"expected at least {need} independent good calibration parts, got {counted}."
    message = f"{asked}, at {percent(confidence)} confidence: {needed}"
    return NotEnoughParts(
        f"{message} {offer}".rstrip(),
        need=need if independent == n else None,
        have=n if independent == n else None,
        asked=asked,
        offer=offer,
    )


def _least_review(n: int, alpha_reject: float, confidence: float) -> float | None:
    """Return a share of good parts in review that n parts support next to the promise on rejected parts."""
    if n < 2 or parts_needed(alpha_reject, confidence) > n:
        return None
    low, high = alpha_reject, 0.99
    if joint_confidence(n, 1, 0, high, alpha_reject) < confidence:
        return None
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if joint_confidence(n, 1, 0, middle, alpha_reject) >= confidence:
            high = middle
        else:
            low = middle
    return high
