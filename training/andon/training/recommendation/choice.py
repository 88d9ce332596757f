"""Choose a candidate by synthetic AUROC and time. The rule is a pure function.

The fastest candidate is chosen whose AUROC is at most `gain` below the best one that keeps the budget. The user accepts every
time within the budget, so a small gain is enough. With .03, the choice lost .045 of AUROC on one of six sets
(docs/lab-log.md). This is about twice the standard error with 40 good parts. Times within `SAME_TIME` count as
equal, and then the higher AUROC decides. Otherwise the noise of two equal times would decide.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from andon.foundation.errors import ConfigError

GAIN = 0.01
"""Default of the gain in AUROC for which a slower candidate is preferred."""
SAME_TIME = 1.1
"""Ratio of two times up to which they count as equal."""


class Candidate(Struct, frozen=True, kw_only=True):
    """The figures of a candidate on which the choice depends."""

    name: str
    latency_ms: float
    auroc: float | None
    """AUROC on synthetic defects; None if it is unknown."""


class Choice(Struct, frozen=True, kw_only=True):
    """The chosen candidate, and the best of the others that keep the budget."""

    chosen: str | None
    """None: no candidate keeps the budget, or none has an AUROC."""
    rival: str | None
    """None: no other candidate keeps the budget."""


def choose(candidates: Sequence[Candidate], *, budget_ms: float, gain: float = GAIN) -> Choice:
    """Return the fastest candidate within the budget whose AUROC is at most `gain` below the best one there.

    Raises:
        ConfigError: the budget or the gain is out of bounds.

    >>> fast, fine = Candidate(name="fast", latency_ms=7, auroc=0.90), Candidate(name="fine", latency_ms=60, auroc=0.95)
    >>> choose([fast, fine], budget_ms=100).chosen, choose([fast, fine], budget_ms=30).chosen
    ('fine', 'fast')
    """
    check_budget(budget_ms)
    check_gain(gain)
    within = [one for one in candidates if one.auroc is not None and one.latency_ms <= budget_ms]
    if not within:
        return Choice(chosen=None, rival=None)
    best = max(map(_auroc, within))
    enough = [one for one in within if _auroc(one) >= best - gain]
    fastest_ms = min(one.latency_ms for one in enough)
    chosen = min((one for one in enough if one.latency_ms <= SAME_TIME * fastest_ms), key=_rank)
    others = [one for one in within if one.name != chosen.name]
    rival = min(others, key=_rank, default=None)
    return Choice(chosen=chosen.name, rival=None if rival is None else rival.name)


def check_budget(budget_ms: float) -> None:
    """Refuse a budget that is not a time.

    Raises:
        ConfigError: it is not above 0 and finite.
    """
    if not (budget_ms > 0 and math.isfinite(budget_ms)):
        raise ConfigError(
            f"--budget-ms: expected milliseconds for each frame above 0, got {budget_ms:g}. Example: --budget-ms 30."
        )


def check_gain(gain: float) -> None:
    """Refuse a gain that is not a difference of two areas.

    Raises:
        ConfigError: it is not from 0 to 1.
    """
    if not 0 <= gain <= 1:
        raise ConfigError(
            f"--gain: expected a difference in AUROC from 0 to 1, got {gain:g}. Example: --gain {GAIN:g}."
        )


def _rank(one: Candidate) -> tuple[float, float, str]:
    return -_auroc(one), one.latency_ms, one.name


def _auroc(one: Candidate) -> float:
    assert one.auroc is not None
    return one.auroc
