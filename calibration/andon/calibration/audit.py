"""Check a running threshold by counting: x of N good parts were rejected. Does the threshold keep its promise?

There are two methods. For one planned look, the exact bounds of Clopper and Pearson (Biometrika 26, 1934) are the shortest. If
they are looked at after each part, they raise false alarms: in 31 % of runs of 5000 parts instead of 5 %. For counting with
many looks there are e-values (Ville 1939; Ramdas and others, Statistical Science 38, 2023). They are valid at all times, so one
may stop at any time. They need about a third more parts.

The threshold must be fixed before the count, and no counted part may be a calibration part. A person must have confirmed that
each part is good: a random sample of all parts, or all of them, but never the rejected parts alone.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import structs
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv, betaln, xlog1py, xlogy
from scipy.stats import beta

from andon.calibration.promise import check_fraction
from andon.foundation.errors import ConfigError
from andon.runtime import __version__
from andon.runtime.calibration_facts import MOST_AUDITS, Audit, Calibration
from andon.runtime.model_file.format import Tail, parse, seal
from andon.runtime.schema import SCHEMA

Looks = Literal["once", "anytime"]
Finding = Literal["confirmed", "violated", "undecided"]

MOST_PARTS = 1_000_000_000
"""Upper limit of the parts of one audit."""

MOST_OFFERED = 10_000_000
"""Upper limit of the parts that are offered as enough."""

_A = _B = 0.5
"""Parameters of the mixing distribution of the e-values: Beta(1/2, 1/2), truncated to the alternative."""


class Bounds(NamedTuple):
    """One-sided bounds on a share. Each one holds with the confidence; both together with less."""

    lower: float
    upper: float


class AuditResult(NamedTuple):
    """Result of comparing counted rejects with a promised share."""

    finding: Finding
    bounds: Bounds
    parts_in_total: int | None
    """Parts that would decide it if the rejected share stayed as it is. None if it is decided, or if no number decides it."""


def clopper_pearson(rejects: int, parts: int, confidence: float = 0.95) -> Bounds:
    """Return the exact lower and upper bound of the rejected share, for one planned look.

    Args:
        rejects: number of rejected good parts, 0 .. parts.
        parts: number of good parts, >= 1.
        confidence: of each bound alone, 0 < confidence < 1.

    >>> [round(bound, 8) for bound in clopper_pearson(12, 1000)]
    [0.00693839, 0.0193702]
    """
    # betaincinv(a, b, q) is beta.ppf(q, a, b) without its checks of arguments, and 30 times as fast
    lower = 0.0 if rejects == 0 else float(betaincinv(rejects, parts - rejects + 1, 1 - confidence))
    upper = 1.0 if rejects == parts else float(betaincinv(rejects + 1, parts - rejects, confidence))
    return Bounds(lower, upper)


def log_e_violated(rejects: int, parts: int, alpha: float) -> float:
    """Return the logarithm of the e-value against "at most a share alpha is rejected".

    The promise is violated as soon as it reaches ``log(1 / (1 - confidence))``. This holds at any time.

    >>> round(log_e_violated(25, 1000, 0.01), 6)
    4.405888
    """
    a, b = _A + rejects, _B + parts - rejects
    mixed = betaln(a, b) + beta.logsf(alpha, a, b) - betaln(_A, _B) - beta.logsf(alpha, _A, _B)
    return float(mixed) - _log_likelihood(rejects, parts, alpha)


def log_e_confirmed(rejects: int, parts: int, alpha: float) -> float:
    """Return the logarithm of the e-value against "more than a share alpha is rejected".

    The promise is confirmed as soon as it reaches ``log(1 / (1 - confidence))``. This holds at any time.

    >>> round(log_e_confirmed(0, 400, 0.01), 6), round(log_e_confirmed(0, 377, 0.01), 6)
    (3.199647, 2.996743)
    """
    a, b = _A + rejects, _B + parts - rejects
    mixed = betaln(a, b) + beta.logcdf(alpha, a, b) - betaln(_A, _B) - beta.logcdf(alpha, _A, _B)
    return float(mixed) - _log_likelihood(rejects, parts, alpha)


def p_violated(rejects: int, parts: int, alpha: float, *, looks: Looks = "once", tau: float = 1.0) -> float:
    """Return the p-value of "at most a share alpha is rejected". It is below 1 - confidence exactly if `audit` returns violated.

    The arguments are those of `audit`.

    >>> round(p_violated(25, 1000, 0.01), 9), p_violated(0, 1000, 0.01)
    (4.2029e-05, 1.0)
    """
    rejects, parts = _independent(rejects, parts, tau)
    if rejects == 0:
        return 1.0
    if looks == "once":
        return float(betainc(rejects, parts - rejects + 1, alpha))  # the probability of this number of rejects or more
    return math.exp(min(0.0, -log_e_violated(rejects, parts, alpha)))


def exceeds_promise(rejects: int, parts: int, calibration: Calibration) -> bool:
    """Return whether these are more rejects than the promise of a file explains, at any number of looks.

    It is faster than `audit`, so that a page can ask each second. The counts are divided by the tau of the calibration.

    Args:
        rejects: number of rejected parts, 0 .. parts.
        parts: number of judged parts, >= 1.
        calibration: the calibration of the file, with a promise.
    """
    worth = max(1, round(parts / calibration.tau))
    worth_rejects = min(worth, int(rejects / calibration.tau))
    if worth_rejects <= calibration.alpha * worth:
        return False
    return log_e_violated(worth_rejects, worth, calibration.alpha) >= -math.log(1 - calibration.confidence)


def anytime_bounds(rejects: int, parts: int, confidence: float = 0.95) -> Bounds:
    """Return bounds of the rejected share that hold at all times: the shares that the e-values do not exclude.

    Arguments as in `clopper_pearson`.

    >>> [round(bound, 8) for bound in anytime_bounds(5, 1000)]
    [0.0005411, 0.01433792]
    """
    needed = -math.log(1 - confidence)
    rate = rejects / parts
    lower, upper = 0.0, 1.0
    # at the observed share itself no e-value exceeds 1, so the bounds are on both sides of it
    if rejects > 0:
        least = _least_share(rejects, parts, needed)
        lower = float(brentq(lambda share: log_e_violated(rejects, parts, share) - needed, least, min(rate, 1 - 1e-12)))
    if rejects < parts:
        upper = float(
            brentq(lambda share: log_e_confirmed(rejects, parts, share) - needed, max(rate, 1e-12), 1 - 1e-12)
        )
    return Bounds(lower, upper)


def bounds_of(rejects: int, parts: int, confidence: float = 0.95, *, looks: Looks = "once", tau: float = 1.0) -> Bounds:
    """Return the bounds of the rejected share, as `audit` uses them. The arguments are those of `audit`."""
    rejects, parts = _independent(rejects, parts, tau)
    if parts < 1:
        return Bounds(0.0, 1.0)
    return (
        clopper_pearson(rejects, parts, confidence) if looks == "once" else anytime_bounds(rejects, parts, confidence)
    )


def audit(
    rejects: int,
    parts: int,
    alpha: float,
    confidence: float = 0.95,
    *,
    looks: Looks = "once",
    tau: float = 1.0,
) -> AuditResult:
    """Compare counted rejects with the promised share alpha.

    Args:
        rejects: number of rejected good parts, 0 .. parts.
        parts: number of good parts that were judged, 1 .. `MOST_PARTS`.
        alpha: promised share of rejects, 0 < alpha < 1.
        confidence: of each bound alone, 0 < confidence < 1.
        looks: ``once`` for one planned look, ``anytime`` for counts that are looked at again and again.
        tau: autocorrelation time of the parts, >= 1. The counts are divided by it, so the result is approximate.

    Raises:
        ConfigError: a number is out of bounds.

    >>> audit(0, 299, 0.01).finding, audit(0, 299, 0.01, looks="anytime")[::2]
    ('confirmed', ('undecided', 377))
    """
    check_fraction("promised share of rejects", alpha)
    check_fraction("confidence", confidence)
    if not 1 <= parts <= MOST_PARTS:
        raise ConfigError(f"good parts: expected an integer from 1 to {MOST_PARTS}, got {parts}.")
    if not 0 <= rejects <= parts:
        raise ConfigError(
            f"rejected parts: expected an integer from 0 to {parts}, the number of good parts, got {rejects}."
        )
    bounds = bounds_of(rejects, parts, confidence, looks=looks, tau=tau)
    finding = _finding(bounds, alpha)
    if finding != "undecided":
        return AuditResult(finding, bounds, None)

    def decided(more_rejects: int, more_parts: int) -> bool:
        return _finding(bounds_of(more_rejects, more_parts, confidence, looks=looks, tau=tau), alpha) != "undecided"

    return AuditResult(finding, bounds, _parts_in_total(rejects, parts, alpha, decided))


def audit_file(
    calibration: Calibration,
    *,
    rejects: int,
    parts: int,
    date: str,
    alpha: float | None = None,
    confidence: float | None = None,
    looks: Looks = "once",
) -> tuple[Audit, int | None]:
    """Return the audit of a calibrated file, and the number of parts that would decide it (`AuditResult.parts_in_total`).

    Args:
        calibration: the calibration of the file. Its tau divides the counts.
        rejects: number of rejected good parts.
        parts: number of good parts that were judged since the calibration.
        date: ISO date of the audit.
        alpha: share to check. Default: the share that the file promises.
        confidence: of each bound. Default: the confidence of the promise.
        looks: ``once`` for one planned look, ``anytime`` for counts that are looked at again and again.

    Raises:
        ConfigError: a number is out of bounds, or the file promises nothing and alpha is not given.
    """
    if alpha is None:
        if not calibration.promised:
            raise ConfigError(
                "the file promises no false-reject rate, so expected --false-reject with the share to check, for example "
                "--false-reject 0.01."
            )
        alpha = calibration.alpha
    sure = calibration.confidence if confidence is None else confidence
    result = audit(rejects, parts, alpha, sure, looks=looks, tau=calibration.tau)
    record = Audit(
        date=date,
        andon=str(__version__),
        parts=parts,
        rejects=rejects,
        alpha=alpha,
        confidence=sure,
        looks=looks,
        lower=result.bounds.lower,
        upper=result.bounds.upper,
        finding=result.finding,
        tau=calibration.tau,
    )
    return record, result.parts_in_total


def advice(audit: Audit, parts_in_total: int | None) -> str:
    """Return the sentence about the parts that would decide an audit that is not decided. It is empty for a decided one.

    Args:
        audit: the audit.
        parts_in_total: as `audit_file` returns it.
    """
    if audit.finding != "undecided":
        return ""
    if parts_in_total is None:
        return "The rejected share is so near the limit that no number of parts would decide it at this rate."
    if audit.looks == "anytime":
        return f"About {parts_in_total - audit.parts} more good parts would decide it at this rate."
    new = f"At this rate a new count of about {parts_in_total} good parts would decide it"
    return f"{new}. To continue this count, use --any-time."


def with_audit(data: bytes, audit: Audit) -> bytes:
    """Return the file with one more audit. Its graph, threshold, promise and log stay the same; its digest is new.

    Raises:
        ConfigError: the file holds `MOST_AUDITS` audits already.
    """
    model = parse(data)
    calibration = model.card.calibration
    assert calibration is not None  # `parse` refuses blank files
    if len(calibration.audits) >= MOST_AUDITS:
        raise ConfigError(
            f"audits: expected at most {MOST_AUDITS} in a file, and all of them are there. Calibrate the file again (andon "
            "calibrate): the new file begins without audits."
        )
    calibration = structs.replace(calibration, audits=(*calibration.audits, audit))
    return seal(
        data,
        card=structs.replace(model.card, schema=SCHEMA, calibration=calibration),
        golden=model.golden,
        log=model.log,
        tail=Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p),
    )


def parts_to_confirm(rejects: int, alpha: float, confidence: float = 0.95, *, looks: Looks = "once") -> int:
    """Return the smallest number of good parts that confirm the promise if this number of them is rejected.

    >>> [parts_to_confirm(x, 0.01) for x in (0, 1, 2)], parts_to_confirm(0, 0.01, looks="anytime")
    ([299, 473, 628], 377)
    """
    too_few, enough = rejects, rejects + 1
    while _finding(bounds_of(rejects, enough, confidence, looks=looks), alpha) != "confirmed":
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _finding(bounds_of(rejects, middle, confidence, looks=looks), alpha) == "confirmed":
            enough = middle
        else:
            too_few = middle
    return enough


def _log_likelihood(rejects: int, parts: int, alpha: float) -> float:
    return float(xlogy(rejects, alpha) + xlog1py(parts - rejects, -alpha))


def _least_share(rejects: int, parts: int, needed: float) -> float:
    """Return a share below the lower bound."""
    share = rejects / parts / 2
    while log_e_violated(rejects, parts, share) < needed:
        share /= 2
    return share


def _independent(rejects: int, parts: int, tau: float) -> tuple[int, int]:
    """Return the counts divided by tau: if neighbouring units depend on each other, fewer count."""
    if tau > 1:
        parts = math.floor(parts / tau)
        rejects = min(math.ceil(rejects / tau), parts)
    return rejects, parts


def _finding(bounds: Bounds, alpha: float) -> Finding:
    if bounds.upper <= alpha:
        return "confirmed"
    return "violated" if bounds.lower > alpha else "undecided"


def _parts_in_total(rejects: int, parts: int, alpha: float, decided: Callable[[int, int], bool]) -> int | None:
    """Return a number of parts that decides if the rejected share stays as it is; None if none up to `MOST_OFFERED` does.

    Args:
        rejects: number of rejected good parts.
        parts: number of good parts.
        alpha: promised share of rejects.
        decided: whether this number of rejects among this number of parts decides.
    """

    def enough(total: int) -> bool:
        # round the rejects against a decision: up if the share is below the promise, down if it is above
        expected = rejects * total / parts
        return decided(math.ceil(expected) if rejects / parts <= alpha else math.floor(expected), total)

    low, high = parts, 2 * parts
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_OFFERED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
