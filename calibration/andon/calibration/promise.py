"""Compute promises on the false-reject rate: "with confidence c, at most a share alpha of good parts is rejected".

The method is the distribution-free one-sided tolerance limit (Wilks, Annals of Mathematical Statistics 12, 1941). Sort the
scores of n good parts in ascending order and leave `above` of them above the threshold: ``threshold = scores[n - 1 - above]``.
Reject scores strictly above it. The rejected share of future good parts then exceeds alpha with probability
``binom.cdf(above, n, alpha)``, for every distribution of scores; ties only make it smaller. The formula holds if the good parts
are exchangeable. For dependent parts see `dependence.py`.

All functions depend on numbers of parts only, never on scores, so nothing is selected after seeing the scores.
"""

import math
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from scipy.stats import binom

from andon.calibration.split import (
    LEAST_CALIBRATION_PARTS,
    MOST_CALIBRATION_SHARE,
    calibration_count,
    share_for,
    total_for,
)
from andon.foundation.errors import ConfigError, NotEnoughParts
from andon.runtime.calibration_facts import percent

LADDER = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""Promises that are tried if the user does not request a rate, weakest first."""


def parts_needed(alpha: float, confidence: float = 0.95, above: int = 0) -> int:
    """Return the smallest number of good parts that supports a promise with `above` of them above the threshold.

    `above` = 0 sets the threshold to the highest good score, so one defective part among the good ones moves it. `above` = 2
    needs about 2.1 times the parts.

    Args:
        alpha: promised false-reject rate, a fraction of good parts, 0 < alpha < 1.
        confidence: probability over draws of calibration parts that the promise holds, 0 < confidence < 1.
        above: number of calibration parts above the threshold, >= 0.

    Raises:
        ConfigError: a fraction is out of bounds.

    >>> parts_needed(0.05), parts_needed(0.01), parts_needed(0.001), parts_needed(0.01, above=2)
    (59, 299, 2995, 628)
    """
    _check(alpha, confidence)
    if above == 0:
        guess = max(1, math.ceil(math.log(1 - confidence) / math.log1p(-alpha)))
        # The quotient may be off by one because of rounding. Test the neighbours with the rule itself.
        while not _holds(guess, 0, alpha, confidence):
            guess += 1
        while guess > 1 and _holds(guess - 1, 0, alpha, confidence):
            guess -= 1
        return guess
    enough = above + 1
    while not _holds(enough, above, alpha, confidence):
        enough *= 2
    too_few = above
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _holds(middle, above, alpha, confidence):
            enough = middle
        else:
            too_few = middle
    return enough


def strongest(n: int, confidence: float = 0.95) -> float:
    """Return the smallest false-reject rate that n good parts can promise, with none of them above the threshold.

    Raises:
        ConfigError: the confidence is out of bounds.
        NotEnoughParts: n < 1.

    >>> round(strongest(62), 6)
    0.04717
    """
    _check(0.5, confidence)
    if n < 1:
        raise NotEnoughParts(f"a promise needs at least 1 good part, got {n}.")
    alpha = -math.expm1(math.log(1 - confidence) / n)
    # Rounding may leave alpha slightly too small. The offered rate must pass the same rule that is applied to it later.
    while not _holds(n, 0, alpha, confidence):
        alpha = math.nextafter(alpha, 1.0)
    return alpha


def ladder_alpha(n: int, confidence: float = 0.95) -> float | None:
    """Return the strictest promise of `LADDER` that n good parts support; None below 14 parts (at 95 % confidence).

    It depends on n only, so nothing is selected after seeing scores.

    >>> ladder_alpha(62), ladder_alpha(13)
    (0.05, None)
    """
    _check(0.5, confidence)
    supported = [alpha for alpha in LADDER if n > 0 and _holds(n, 0, alpha, confidence)]
    return supported[-1] if supported else None


def allowance(
    n: int,
    alpha: float,
    confidence: float = 0.95,
    *,
    n_eff: int | None = None,
    unit: Literal["part", "window"] = "part",
) -> int:
    """Return how many of n scores may be above the threshold. It is then ``sorted(scores)[n - 1 - allowance]``.

    Args:
        n: number of good calibration parts (one score per part).
        alpha: promised false-reject rate, a fraction, 0 < alpha < 1.
        confidence: probability over calibrations that the promise holds, 0 < confidence < 1.
        n_eff: effective number of independent scores (`dependence.effective_number`), 0 <= n_eff <= n. The result is
            computed for n_eff and scaled by n / n_eff, so the promise is approximate.
        unit: the word for one unit in the message.

    Raises:
        NotEnoughParts: the message gives the number needed and the strictest promise that n supports.
        ConfigError: a fraction is out of bounds.
        ValueError: n_eff is not within 0 .. n.

    >>> allowance(59, 0.05), allowance(1000, 0.01), allowance(2000, 0.05, n_eff=100)
    (0, 4, 20)
    """
    _check(alpha, confidence)
    if n_eff is not None and not 0 <= n_eff <= n:
        raise ValueError(f"n_eff: expected 0 <= n_eff <= n = {n}, got {n_eff}")
    independent = n if n_eff is None else n_eff
    if independent < 1 or not _holds(independent, 0, alpha, confidence):
        countable = independent == n and unit == "part"
        raise NotEnoughParts(
            _refusal(n, independent, alpha, confidence, unit),
            need=parts_needed(alpha, confidence) if countable else None,
            have=n if countable else None,
        )
    above = int(binom.ppf(1 - confidence, independent, alpha))
    while above > 0 and not _holds(independent, above, alpha, confidence):
        above -= 1
    return above * n // independent


def refusal_of_kept_back(
    need: int,
    have: int,
    *,
    total: int,
    share: float,
    alpha: float,
    confidence: float = 0.95,
    asked: str = "",
    offer: str = "",
) -> str:
    """Return the message for a run that has too few calibration parts for a promise.

    It gives a total number or a share that is enough.

    Args:
        need: calibration parts that the promise needs (`parts_needed`).
        have: number of calibration parts that are valid for the promise.
        total: good parts of the run. The run kept back `share` of them. Each part must be its own group.
        share: calibration share of the run.
        alpha: requested false-reject rate.
        confidence: confidence of the promise.
        asked: the statement that needs the parts (`NotEnoughParts.asked`). Empty for a false-reject rate.
        offer: sentence with what the parts support (`NotEnoughParts.offer`). Empty for the strongest false-reject rate.

    >>> refusal_of_kept_back(149, 18, total=60, share=0.3, alpha=0.02)[:64]
    'a false-reject rate of 2 % needs 149 calibration parts (at 95 % '
    """
    kept = calibration_count(total, share)
    # assume that the same share of parts is lost again
    wanted = math.ceil(need * kept / have) if 0 < have < kept else need
    ways = [f"about {_rounded_total(total_for(wanted, share))} good parts"]
    most = share_for(wanted, total)
    if most is not None:
        ways.append(f"with --calibration-share {most:g}")
    elif share < MOST_CALIBRATION_SHARE:
        fewer = _rounded_total(total_for(wanted, MOST_CALIBRATION_SHARE))
        ways.append(f"with about {fewer} and --calibration-share {MOST_CALIBRATION_SHARE:g}")
    wished = f"a promise of {asked}" if asked else f"a false-reject rate of {percent(alpha)}"
    text = (
        f"{wished} needs {need} calibration parts (at {percent(confidence)} confidence), got {have}. The run kept back "
        f"{percent(share)} of {total} good parts for calibration, at least {LEAST_CALIBRATION_PARTS}. "
        f"Train again with {', or '.join(ways)}"
    )
    if asked:
        return f"{text}. {offer}".rstrip()
    return f"{text}." if have < 1 else f"{text}, or promise --false-reject {rounded_up(strongest(have, confidence))}."


def expected_rate(n: int, above: int) -> float:
    """Return the false-reject rate to expect on average over calibrations. For small n it is far below the promise.

    >>> round(expected_rate(600, 1), 8)
    0.00332779
    """
    return (above + 1) / (n + 1)


def _failure(n: int, above: int, alpha: float) -> float:
    """Return the probability that the true false-reject rate exceeds alpha."""
    if above == 0:
        return math.exp(n * math.log1p(-alpha))
    return float(binom.cdf(above, n, alpha))


def _holds(n: int, above: int, alpha: float, confidence: float) -> bool:
    return _failure(n, above, alpha) <= 1 - confidence


def check_fraction(name: str, value: float) -> None:
    """Refuse a value that is not a fraction between 0 and 1, both excluded.

    Raises:
        ConfigError: the message starts with the name.
    """
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{name}: expected a fraction between 0 and 1, both excluded (1 % is 0.01), got {value!r}.")


def _check(alpha: float, confidence: float) -> None:
    check_fraction("false-reject rate", alpha)
    check_fraction("confidence", confidence)


def _refusal(n: int, independent: int, alpha: float, confidence: float, unit: str) -> str:
    need = parts_needed(alpha, confidence)
    roomy = parts_needed(alpha, confidence, above=2)
    asked = f"a false-reject rate of {percent(alpha)} at {percent(confidence)} confidence needs {need}"
    if independent == n:
        text = f"{asked} good calibration {unit}s, got {n}. Collect {need - n} more"
    elif independent < 1:
        return (
            f"{asked} independent good calibration {unit}s, got {n}. These depend on each other so strongly that they count "
            "as less than one. Collect many more."
        )
    else:
        # this many dependent units count as one independent unit, estimated from these
        more = -(-need * n // independent) - n
        roomy = -(-roomy * n // independent)
        text = f"{asked} independent good calibration {unit}s, got {n} that count as {independent}. Collect about {more} more"
    text += (
        f" ({'' if independent == n else 'about '}{roomy} {unit}s in total make the threshold robust to two outliers)"
    )
    return (
        f"{text}." if n < 1 else f"{text}, or promise --false-reject {rounded_up(strongest(independent, confidence))}."
    )


def _rounded_total(total: int) -> int:
    """Round up to two significant digits: 497 becomes 500."""
    step: int = 10 ** max(0, len(str(total)) - 2)
    return -(-total // step) * step


def rounded_up(alpha: float) -> str:
    """Round up to three significant digits, or to more if needed to stay below 1. Rounding down would promise too much."""
    exact = Decimal(alpha)
    digits = 3
    while (up := exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - digits), rounding=ROUND_CEILING)) >= 1:
        digits += 1
    return f"{up.normalize():f}"
