"""Compute promises about a shift: "with confidence c, at most r of the next m good parts are rejected".

The number of rejected parts in a shift has a beta-binomial distribution for every continuous distribution of scores (Wilks,
Annals of Mathematical Statistics 13, 1942). Ties only make it smaller. The confidence covers the draw of the calibration
parts *and* of one shift. It is therefore a statement about the next shift. Between one calibration in eight and one in
four has more than 5 % of its later shifts above the limit (`benchmarks/coverage.py`).

A promise about every shift has two levels: with confidence c, at least a share g of all shifts has at most r rejects. It is a
promise on the false-reject rate (`promise.py`) with the rate of `every_shift_rate`.
"""

import numpy as np
from scipy.special import betaln, gammaln
from scipy.stats import beta

from andon.calibration.promise import allowance, check_fraction, parts_needed
from andon.foundation.errors import ConfigError, NotEnoughParts
from andon.runtime.calibration_facts import percent

MOST_PARTS = 10_000_000
"""Upper limit for the good parts of a shift."""


def shift_confidence(n: int, above: int, parts: int, rejects: int) -> float:
    """Return the probability that at most `rejects` of the next `parts` good parts are rejected.

    Args:
        n: number of good calibration parts.
        above: number of calibration parts above the threshold, 0 <= above < n.
        parts: good parts of the shift.
        rejects: good parts of the shift that may be rejected, >= 0.

    >>> round(shift_confidence(1000, 0, 5000, 20), 6), round(shift_confidence(10_000, 24, 5000, 20), 6)
    (0.978415, 0.956819)
    """
    if rejects >= parts:
        return 1.0
    counts = np.arange(rejects + 1)
    choose = gammaln(parts + 1) - gammaln(counts + 1) - gammaln(parts - counts + 1)
    log_mass = choose + betaln(counts + above + 1, parts - counts + n - above) - betaln(above + 1, n - above)
    return min(1.0, float(np.exp(log_mass).sum()))


def shift_parts_needed(parts: int, rejects: int, confidence: float = 0.95, above: int = 0) -> int:
    """Return the smallest number of good calibration parts that supports a promise about the next shift.

    Args:
        parts: good parts of the shift, 1 .. `MOST_PARTS`.
        rejects: good parts of the shift that may be rejected, 0 <= rejects < parts.
        confidence: probability over draws of calibration parts and of the shift, 0 < confidence < 1.
        above: number of calibration parts above the threshold, >= 0.

    Raises:
        ConfigError: a number is out of bounds.

    >>> shift_parts_needed(5000, 20), shift_parts_needed(1000, 0), shift_parts_needed(200, 2, above=2)
    (766, 19001, 854)
    """
    check_shift(parts, rejects)
    check_fraction("confidence", confidence)
    too_few, enough = above, above + 1
    while shift_confidence(enough, above, parts, rejects) < confidence:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if shift_confidence(middle, above, parts, rejects) >= confidence:
            enough = middle
        else:
            too_few = middle
    return enough


def shift_allowance(n: int, parts: int, rejects: int, confidence: float = 0.95) -> int:
    """Return how many of n good calibration parts may be above the threshold, so that the next shift keeps the promise.

    Raises:
        NotEnoughParts: `need` and `have` are set. The message gives what these parts do support.
        ConfigError: a number is out of bounds.

    >>> shift_allowance(1000, 5000, 20), shift_allowance(1000, 1000, 20), shift_allowance(10_000, 5000, 20)
    (0, 10, 24)
    """
    check_shift(parts, rejects)
    check_fraction("confidence", confidence)
    if n < 1 or shift_confidence(n, 0, parts, rejects) < confidence:
        raise _refusal(n, parts, rejects, confidence, None)
    allowed, too_many = 0, n
    while too_many - allowed > 1:
        middle = (allowed + too_many) // 2
        if shift_confidence(n, middle, parts, rejects) >= confidence:
            allowed = middle
        else:
            too_many = middle
    return allowed


def fewest_rejects(n: int, parts: int, confidence: float = 0.95) -> int:
    """Return the smallest number of rejects in the next `parts` good parts that n calibration parts can promise.

    >>> fewest_rejects(766, 5000), fewest_rejects(62, 500)
    (20, 25)
    """
    check_fraction("confidence", confidence)
    if n < 1:
        return parts
    too_few, enough = -1, parts
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if shift_confidence(n, 0, parts, middle) >= confidence:
            enough = middle
        else:
            too_few = middle
    return enough


def every_shift_rate(parts: int, rejects: int, share: float) -> float:
    """Return the false-reject rate at which a shift of `parts` good parts has at most `rejects` rejects with probability `share`.

    A promise of this rate is a promise about at least this share of all shifts.

    Raises:
        ConfigError: a number is out of bounds.

    >>> round(every_shift_rate(5000, 20, 0.95), 8), every_shift_parts_needed(5000, 20, 0.95)
    (0.00281608, 1063)
    """
    check_shift(parts, rejects)
    check_fraction("share of shifts", share)
    return float(beta.ppf(1 - share, rejects + 1, parts - rejects))


def every_shift_parts_needed(parts: int, rejects: int, share: float, confidence: float = 0.95) -> int:
    """Return the smallest number of good calibration parts that supports a promise about a share of all shifts."""
    return parts_needed(every_shift_rate(parts, rejects, share), confidence)


def every_shift_allowance(n: int, parts: int, rejects: int, share: float, confidence: float = 0.95) -> int:
    """Return how many of n good calibration parts may be above the threshold, so that a share of all shifts keeps the promise.

    Raises:
        NotEnoughParts: `need` and `have` are set. The message gives what these parts do support.
        ConfigError: a number is out of bounds.

    >>> every_shift_allowance(1063, 5000, 20, 0.95)
    0
    """
    if n < every_shift_parts_needed(parts, rejects, share, confidence):
        raise _refusal(n, parts, rejects, confidence, share)
    return allowance(n, every_shift_rate(parts, rejects, share), confidence)


def every_shift_rejects(n: int, parts: int, share: float, confidence: float = 0.95) -> int:
    """Return the smallest number of rejects that n calibration parts can promise for a share of all shifts of `parts`."""
    if n < 1:
        return parts
    too_few, enough = -1, parts
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if every_shift_parts_needed(parts, middle, share, confidence) <= n:
            enough = middle
        else:
            too_few = middle
    return enough


def check_shift(parts: int, rejects: int) -> None:
    """Refuse numbers of a shift that make no statement.

    Raises:
        ConfigError: parts is not within 1 .. `MOST_PARTS`, or rejects is not within 0 .. parts - 1.
    """
    if not 1 <= parts <= MOST_PARTS:
        raise ConfigError(f"parts of a shift: expected an integer from 1 to {MOST_PARTS}, got {parts}.")
    if not 0 <= rejects < parts:
        raise ConfigError(
            f"rejects of a shift: expected an integer from 0 to {parts - 1}, fewer than its {parts} parts, got {rejects}."
        )


def _refusal(n: int, parts: int, rejects: int, confidence: float, share: float | None) -> NotEnoughParts:
    if share is None:
        need, least = shift_parts_needed(parts, rejects, confidence), fewest_rejects(n, parts, confidence)
        asked = f"at most {rejects} rejects in the next {parts} good parts"
    else:
        need = every_shift_parts_needed(parts, rejects, share, confidence)
        least = every_shift_rejects(n, parts, share, confidence)
        asked = f"at most {rejects} rejects in {percent(share)} of all shifts of {parts} good parts"
    offer = f"{n} calibration parts support at most {least} rejects: --shift-rejects {least}." if least < parts else ""
    needed = f"expected at least {need} independent good calibration parts, got {n}."
    message = f"{asked}, at {percent(confidence)} confidence: {needed}"
    return NotEnoughParts(f"{message} {offer}".rstrip(), need=need, have=n, asked=asked, offer=offer)
