"""Audit many groups at once: each line, each day or each lot against the same promise.

A group that keeps its promise is called violated in up to 5 % of counts (at 95 % confidence). Among 100 groups, up to 5 are
therefore expected to look violated by chance. The method of Holm (Scandinavian Journal of Statistics 6, 1979) corrects the
p-values: with 95 % confidence none of the groups that stay violated keeps its promise. The groups may depend on each other.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from andon.calibration.audit import Looks, audit_file, p_violated
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import Audit, Calibration, percent

_NAMED = 5
"""Number of groups that a sentence names."""


class GroupCount(Struct, frozen=True, kw_only=True):
    """Number of parts of one group."""

    name: str
    parts: int
    """Number of good parts. A part whose input was lost does not count."""
    rejects: int
    """Number of these parts that were rejected, or INVALID because of their content."""
    lost: int = 0
    """Number of further parts whose input was lost."""


class GroupAudit(Struct, frozen=True, kw_only=True):
    """Audit of one group, alone and as one of several groups."""

    name: str
    audit: Audit
    """The finding for this group alone."""
    parts_in_total: int | None
    """As in `andon.calibration.audit.AuditResult`."""
    lost: int
    p: float
    """p-value of "at most the promised share is rejected", for this group alone."""
    p_corrected: float
    """The same p-value after the correction of Holm for the number of groups."""

    @property
    def violated(self) -> bool:
        """True if the group is violated even after the correction for the number of groups."""
        return self.p_corrected < 1 - self.audit.confidence


def audit_groups(
    calibration: Calibration,
    counts: Sequence[GroupCount],
    *,
    date: str,
    alpha: float | None = None,
    confidence: float | None = None,
    looks: Looks = "once",
) -> tuple[GroupAudit, ...]:
    """Return the audit of each group with at least one part, in the given order.

    The further arguments are those of `andon.calibration.audit.audit_file`.

    Raises:
        ConfigError: see `audit_file`.
    """
    counted = [group for group in counts if group.parts > 0]
    known: dict[tuple[int, int], tuple[Audit, int | None, float]] = {}  # lots often have the same size
    for group in counted:
        key = (group.rejects, group.parts)
        if key not in known:
            audit, total = audit_file(
                calibration,
                rejects=group.rejects,
                parts=group.parts,
                date=date,
                alpha=alpha,
                confidence=confidence,
                looks=looks,
            )
            known[key] = audit, total, p_violated(*key, audit.alpha, looks=looks, tau=audit.tau)
    corrected = holm([known[group.rejects, group.parts][2] for group in counted])
    groups = []
    for group, p_corrected in zip(counted, corrected, strict=True):
        audit, total, p = known[group.rejects, group.parts]
        groups.append(
            GroupAudit(
                name=group.name, audit=audit, parts_in_total=total, lost=group.lost, p=p, p_corrected=float(p_corrected)
            )
        )
    return tuple(groups)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values after Holm's correction for their number. The order stays.

    Args:
        p_values: ``[n]`` from 0 to 1.

    Raises:
        ConfigError: a value is not within 0 .. 1.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ConfigError(f"p-values: expected numbers from 0 to 1, got {values.min():g} to {values.max():g}.")
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(corrected, 1.0)


def sentence_about(groups: Sequence[GroupAudit], what: str) -> str:
    """Return what the findings of several groups mean together.

    Args:
        groups: at least one group.
        what: name of the grouping, for example ``day``.
    """
    several = f"{len(groups)} {what}{'s' if len(groups) > 1 else ''}"
    alone = [group for group in groups if group.audit.finding == "violated"]
    confirmed = sum(group.audit.finding == "confirmed" for group in groups)
    text = (
        f"{several}: {confirmed} confirmed, {len(alone)} violated, {len(groups) - confirmed - len(alone)} not decided"
    )
    if len(groups) < 2 or not alone:
        return text + "."
    wrong = 1 - groups[0].audit.confidence
    by_chance = f"{len(groups) * wrong:.3g} of {len(groups)}"
    text += f". If all kept their promise exactly, up to {by_chance} would look violated by chance. "
    corrected = sorted((group for group in alone if group.violated), key=lambda group: group.p)
    if not corrected:
        return text + (
            f"After the correction for {len(groups)} groups (Holm) none is violated. Do not act on a single violated {what}; "
            "count more parts of it."
        )
    named = ", ".join(group.name for group in corrected[:_NAMED])
    if len(corrected) > _NAMED:
        named += f" and {len(corrected) - _NAMED} more"
    stay = f"{len(corrected)} stay{'s' if len(corrected) == 1 else ''} violated: {named}"
    sure = percent(groups[0].audit.confidence)
    return text + f"After the correction for {len(groups)} groups (Holm, {sure} confidence) {stay}."
