"""Rate promises: "with confidence c at most a share alpha of good parts is rejected", from n good scores.

The distribution-free one-sided tolerance limit (Wilks, Annals of Mathematical Statistics 12, 1941). Sort the scores of
n good parts ascending, leave `above` of them above the threshold, so that ``threshold = scores[n - 1 - above]``, and
reject what scores strictly more. The share of good parts to come that is rejected exceeds alpha with probability
``binom.cdf(above, n, alpha)``, whatever the distribution of scores; ties only make it smaller. It holds as long as the
good parts are exchangeable; for dependent ones see `dependence.py`.

Everything here depends on numbers of parts, never on a score: nothing is chosen after looking.
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
"""The promises offered to those who ask for none, weakest first."""


def parts_needed(alpha: float, confidence: float = 0.95, above: int = 0) -> int:
    """Fewest good parts that can carry a promise with `above` of them above the threshold.

    `above` = 0 puts the threshold on the single most extreme good part, which is hostage to one bad part among the
    good; 2 costs about 2.1 times the parts.

    Args:
        alpha: promised false-reject rate, a fraction of good parts, 0 < alpha < 1.
        confidence: probability over calibration parts that the promise holds, 0 < confidence < 1.
        above: calibration parts above the threshold, >= 0.

    Raises:
        ConfigError: a fraction out of bounds.

    >>> parts_needed(0.05), parts_needed(0.01), parts_needed(0.001), parts_needed(0.01, above=2)
    (59, 299, 2995, 628)
    """
    _check(alpha, confidence)
    if above == 0:
        guess = max(1, math.ceil(math.log(1 - confidence) / math.log1p(-alpha)))
        # The quotient is rounded: the rule itself decides about the neighbours.
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
    """The smallest false-reject rate that n good parts can promise, with none of them above the threshold.

    Raises:
        ConfigError: a confidence out of bounds.
        NotEnoughParts: n < 1.

    >>> round(strongest(62), 6)
    0.04717
    """
    _check(0.5, confidence)
    if n < 1:
        raise NotEnoughParts(f"a promise needs at least 1 good part, got {n}.")
    alpha = -math.expm1(math.log(1 - confidence) / n)
    # Rounding may leave it an ulp or two short; what is offered must hold under the very rule that is applied to it.
    while not _holds(n, 0, alpha, confidence):
        alpha = math.nextafter(alpha, 1.0)
    return alpha


def ladder_alpha(n: int, confidence: float = 0.95) -> float | None:
    """The strongest promise of `LADDER` that n good parts can carry; None below 14 parts (at 95 % confidence).

    It depends on n alone, so nothing is selected after seeing scores.

    >>> ladder_alpha(62), ladder_alpha(13)
    (0.05, None)
    """
    _check(0.5, confidence)
    carried = [alpha for alpha in LADDER if n > 0 and _holds(n, 0, alpha, confidence)]
    return carried[-1] if carried else None


def allowance(
    n: int,
    alpha: float,
    confidence: float = 0.95,
    *,
    n_eff: int | None = None,
    unit: Literal["part", "window"] = "part",
) -> int:
    """How many of n calibration parts may lie above the threshold, which is then ``sorted(scores)[n - 1 - allowance]``.

    Args:
        n: good calibration parts (one score a part).
        alpha: promised false-reject rate, a fraction, 0 < alpha < 1.
        confidence: probability over calibrations that the promise holds, 0 < confidence < 1.
        n_eff: what n dependent scores are worth in independent ones (`dependence.effective_number`), 1 <= n_eff <= n.
            The number allowed is found for n_eff and scaled by n / n_eff: a promise by approximation.
        unit: what the message calls them.

    Raises:
        NotEnoughParts: with the number needed, and the strongest promise that n can carry.
        ConfigError: a fraction out of bounds.
        ValueError: an n_eff that is no effective number of n.

    >>> allowance(59, 0.05), allowance(1000, 0.01), allowance(2000, 0.05, n_eff=100)
    (0, 4, 20)
    """
    _check(alpha, confidence)
    if n_eff is not None and not 0 <= n_eff <= n:
        raise ValueError(f"an effective number lies between 0 and n = {n}, got {n_eff}")
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
    need: int, have: int, *, total: int, share: float, alpha: float, confidence: float = 0.95
) -> str:
    """Say what to do where a run kept back too few good parts for a promise: how many to train with, or with which share.

    Args:
        need: calibration parts that the promise needs (`parts_needed`).
        have: calibration parts that count.
        total: good parts of the run, each a group of its own, of which `share` were kept back.
        share: the run's calibration share.
        alpha: false-reject rate asked for.
        confidence: of the promise.

    >>> refusal_of_kept_back(149, 18, total=60, share=0.3, alpha=0.02)[:72]
    'a false-reject rate of 2 % at 95 % confidence needs 149 calibration part'
    """
    kept = calibration_count(total, share)
    # parts that were lost will be so again, as far as these show
    wanted = math.ceil(need * kept / have) if 0 < have < kept else need
    ways = [f"about {_rounded_total(total_for(wanted, share))} good parts"]
    most = share_for(wanted, total)
    if most is not None:
        ways.append(f"with --calibration-share {most:g}")
    elif share < MOST_CALIBRATION_SHARE:
        fewer = _rounded_total(total_for(wanted, MOST_CALIBRATION_SHARE))
        ways.append(f"with about {fewer} and --calibration-share {MOST_CALIBRATION_SHARE:g}")
    text = (
        f"a false-reject rate of {percent(alpha)} at {percent(confidence)} confidence needs {need} calibration parts, got {have} "
        f"({percent(share)} of {total} good parts are kept back, {LEAST_CALIBRATION_PARTS} at least). Train again with "
        f"{', or '.join(ways)}"
    )
    return f"{text}." if have < 1 else f"{text}, or promise --false-reject {_rounded_up(strongest(have, confidence))}."


def expected_rate(n: int, above: int) -> float:
    """The false-reject rate to expect on average over calibrations: much below the promise where n is small.

    >>> round(expected_rate(600, 1), 8)
    0.00332779
    """
    return (above + 1) / (n + 1)


def _failure(n: int, above: int, alpha: float) -> float:
    """Probability that the true false-reject rate exceeds alpha."""
    if above == 0:
        return math.exp(n * math.log1p(-alpha))
    return float(binom.cdf(above, n, alpha))


def _holds(n: int, above: int, alpha: float, confidence: float) -> bool:
    return _failure(n, above, alpha) <= 1 - confidence


def _check(alpha: float, confidence: float) -> None:
    for name, value in (("false-reject rate", alpha), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise ConfigError(f"a {name} is a fraction between 0 and 1, both excluded, got {value!r} (1 % is 0.01).")


def _refusal(n: int, independent: int, alpha: float, confidence: float, unit: str) -> str:
    need = parts_needed(alpha, confidence)
    roomy = parts_needed(alpha, confidence, above=2)
    asked = f"a false-reject rate of {percent(alpha)} at {percent(confidence)} confidence needs {need}"
    if independent == n:
        text = f"{asked} good {unit}s, got {n}. Collect {need - n} more"
    elif independent < 1:
        return f"{asked} independent good {unit}s, got {n} so dependent that they are not worth one. Collect far more."
    else:
        # n / n_eff of them make one independent one, as far as these show
        more = -(-need * n // independent) - n
        roomy = -(-roomy * n // independent)
        text = f"{asked} independent good {unit}s, got {n}, worth {independent}. Collect about {more} more"
    text += f" ({'' if independent == n else 'about '}{roomy} in all leave room for two odd ones among them)"
    return (
        f"{text}." if n < 1 else f"{text}, or promise --false-reject {_rounded_up(strongest(independent, confidence))}."
    )


def _rounded_total(total: int) -> int:
    """Two significant digits, upwards: 497 is about 500."""
    step: int = 10 ** max(0, len(str(total)) - 2)
    return -(-total // step) * step


def _rounded_up(alpha: float) -> str:
    """Three significant digits, more if it takes them to stay below 1; rounding down would promise too much."""
    exact = Decimal(alpha)
    digits = 3
    while (up := exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - digits), rounding=ROUND_CEILING)) >= 1:
        digits += 1
    return f"{up.normalize():f}"
