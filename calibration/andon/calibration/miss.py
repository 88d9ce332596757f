"""Bound the share of missed defects from known defects: with confidence c, at most a share beta of such defects passes.

The bound is exact for one sample of different defects (Clopper and Pearson, Biometrika 26, 1934). It is about "defects like
these", not about all defects that may occur. It does not hold if these defects chose the threshold, the detector or a setting.
Synthetic defects never enter it, and several frames of one defect count once.
"""

from collections.abc import Mapping
from typing import NamedTuple

from andon.calibration.audit import clopper_pearson
from andon.calibration.promise import check_fraction
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import MissBound

LEAST_OF_A_KIND = 10
"""Fewest defects of a kind that get a bound of their own."""


class Counted(NamedTuple):
    """Known defects and how many of them passed."""

    defects: int
    missed: int


def miss_upper(missed: int, defects: int, confidence: float = 0.95) -> float:
    """Return the upper bound of the share of such defects that pass.

    Args:
        missed: number of defects that passed, 0 .. defects.
        defects: number of different known defects, >= 1.
        confidence: probability over draws of such defects that the bound holds, 0 < confidence < 1.

    Raises:
        ConfigError: a number is out of bounds.

    >>> round(miss_upper(1, 20), 8), round(miss_upper(0, 30), 5)
    (0.21610616, 0.09503)
    """
    check_fraction("confidence", confidence)
    if defects < 1 or not 0 <= missed <= defects:
        raise ConfigError(
            f"missed defects: expected 0 <= missed <= defects and defects >= 1, got {missed} of {defects}."
        )
    return clopper_pearson(missed, defects, confidence).upper


def miss_bound(counted: Counted, confidence: float = 0.95) -> MissBound:
    """Return the bound of all known defects."""
    beta = miss_upper(counted.missed, counted.defects, confidence)
    return MissBound(defects=counted.defects, missed=counted.missed, beta=beta, confidence=confidence)


def miss_bounds_by_kind(kinds: Mapping[str, Counted], confidence: float = 0.95) -> dict[str, MissBound]:
    """Return one bound for each kind with at least `LEAST_OF_A_KIND` defects. All of them hold together (Bonferroni).

    >>> bounds = miss_bounds_by_kind({"crack": Counted(10, 0), "dent": Counted(20, 1), "stain": Counted(9, 0)})
    >>> {kind: round(bound.beta, 4) for kind, bound in bounds.items()}
    {'crack': 0.3085, 'dent': 0.2487}
    """
    check_fraction("confidence", confidence)
    enough = {kind: counted for kind, counted in kinds.items() if counted.defects >= LEAST_OF_A_KIND}
    return {kind: miss_bound(counted, 1 - (1 - confidence) / len(enough)) for kind, counted in sorted(enough.items())}
