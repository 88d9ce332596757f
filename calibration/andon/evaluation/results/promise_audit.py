"""Compare stored verdicts with the promise of the model: in total, by line, by day and by lot.

The limits are those of `andon.calibration.audit`. Without labels nothing is known about the promise. The share of rejects then
bounds the share of false rejects from above, if the model rejects defective parts at least as often as good ones.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

from msgspec import Struct

from andon.archive.results import Promise, Results
from andon.calibration.audit import Looks, bounds_of
from andon.calibration.many_groups import GroupAudit, GroupCount, audit_groups
from andon.calibration.promise import check_fraction
from andon.evaluation.results.part_counts import Cells, Count, Group, Mark, Names, PartCounts, count_by
from andon.evaluation.results.repeated_items import SEPARABLE, find_repeats
from andon.evaluation.results.result_rows import RowReader
from andon.evaluation.results.score_history import ScoreHistory
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.runtime.calibration_facts import Calibration, percent, percent_up

By = Literal["line", "day", "lot"]
GROUPINGS: tuple[By, ...] = ("line", "day", "lot")

_EPOCH = date(1970, 1, 1)

_log = logging.getLogger(__name__)


class Tally(Struct, frozen=True, kw_only=True):
    """Counts of the rows of a folder."""

    folder: str
    promise: Promise | None
    rows: int
    repeated: int
    """Rows that were left out, because they are equal to another row of the same item."""
    undated: int
    """Rows without a time."""
    marks: frozenset[Mark]
    """Marks of the parts that count."""
    labelled: bool
    cells: Cells
    lines: Names
    history: ScoreHistory | None


class RejectShare(Struct, frozen=True, kw_only=True):
    """Rejected parts among all parts, where no part has a label."""

    name: str
    parts: int
    rejects: int
    lost: int
    upper: float
    """Upper bound of the share of rejects, at the confidence."""
    confidence: float

    @property
    def sentence(self) -> str:
        """The bound as a readable sentence."""
        return (
            f"no labels: {self.rejects} of {self.parts} parts were rejected, with {percent(self.confidence)} confidence at most "
            f"{percent_up(self.upper)} of such parts. This bounds the share of false rejects from above, if defective parts are "
            "rejected at least as often as good ones"
        )


class ResultsAudit(Struct, frozen=True, kw_only=True):
    """Audit of a results folder."""

    rows: int
    repeated: int
    """Rows that were left out, because they are equal to another row of the same item."""
    labelled: bool
    one_per_lot: bool
    total: GroupAudit | None
    """None without labels."""
    reject_share: RejectShare | None
    """None with labels."""
    groups: dict[str, tuple[GroupAudit, ...]]
    """Audits by line, day or lot. Empty without labels."""
    reject_shares: dict[str, tuple[RejectShare, ...]]
    """Rejects by line, day or lot. Empty with labels."""


def tally(
    results: Results, *, good_label: str = "good", with_history: bool = False, separate_repeats: bool = False
) -> Tally:
    """Count the rows of a folder. Equal rows of one item count once.

    Args:
        results: the folder.
        good_label: label of the parts that a person has confirmed as good.
        with_history: also collect the scores by day.
        separate_repeats: count rows with the same `item_id` and other values as different items.

    Raises:
        DataError: a block is damaged, rows come from another model, no part has the label, there are no rows, or rows of one
            item have different values.
    """
    repeats = find_repeats(results, separate=separate_repeats, remedy=SEPARABLE)
    reader, counts = RowReader(results, good_label, repeats=repeats), PartCounts()
    history = ScoreHistory() if with_history else None
    for rows in reader.batches():
        counts.add(rows.arrays)
        if history is not None:
            arrays, judged = rows.arrays, rows.score == rows.score
            history.add(arrays.line[judged], arrays.day[judged], arrays.mark[judged], rows.score[judged])
    if not reader.rows:
        raise DataError(f"{results.folder}: expected at least one row, got none. Score the items again.")
    _warn_about_spellings(reader.labels, good_label, results.folder)
    return Tally(
        folder=results.folder,
        promise=results.manifest.identity.promise,
        rows=reader.rows,
        repeated=repeats.total,
        undated=reader.undated,
        marks=reader.mark(),
        labelled=bool(reader.labels),
        cells=counts.cells(reader.lines, reader.lots),
        lines=reader.lines,
        history=history,
    )


def audit_results(
    counted: Tally,
    *,
    today: str,
    by: Sequence[By] | None = None,
    alpha: float | None = None,
    confidence: float | None = None,
    looks: Looks = "once",
    one_per_lot: bool | None = None,
) -> ResultsAudit:
    """Compare the counts with the promise of the model.

    Args:
        counted: the counts of a folder.
        today: ISO date of the audit.
        by: groupings. Default: those with at least two groups, without lots if one part is drawn from each lot.
        alpha: share to check. Default: the share that the model promises.
        confidence: of each bound. Default: the confidence of the promise, or 0.95.
        looks: as in `andon.calibration.audit.audit`.
        one_per_lot: draw one part from each lot, because parts of a lot depend on each other. Default: as in the calibration.

    Raises:
        ConfigError: the model promises nothing and alpha is not given, or the arguments contradict each other.
        DataError: the rows have no value for a requested grouping, or all parts were lost.
    """
    promise = counted.promise
    draw = (promise is not None and promise.one_per_lot) if one_per_lot is None else one_per_lot
    if draw and by and "lot" in by:
        raise ConfigError(
            "--by lot: expected counts of all parts of a lot, but one part is drawn from each lot. Add --no-one-per-lot, or "
            "leave out lot."
        )
    if draw and not any(cell.lot is not None for cell in counted.cells):
        raise DataError(
            f"{counted.folder}: expected rows with a lot, because one part is drawn from each lot, got none. Score the items "
            "again with a lot for each item, or add --no-one-per-lot."
        )
    groupings = _usual(counted.cells, draw) if by is None else tuple(dict.fromkeys(by))
    totals = _named(count_by(counted.cells, counted.marks, one_per_lot=draw), "all", counted)
    if not totals or not totals[0].parts:
        raise DataError(
            f"{counted.folder}: expected at least one part that was judged, got none. Score the items again."
        )
    grouped = {
        one: _named(count_by(counted.cells, counted.marks, by=one, one_per_lot=draw), one, counted) for one in groupings
    }
    if not counted.labelled:
        sure = confidence if confidence is not None else 0.95 if promise is None else promise.confidence
        check_fraction("confidence", sure)
        tau = 1.0 if promise is None else promise.tau

        def shares(groups: Sequence[GroupCount]) -> tuple[RejectShare, ...]:
            return tuple(_share(group, sure, looks, tau) for group in groups if group.parts)

        return ResultsAudit(
            rows=counted.rows,
            repeated=counted.repeated,
            labelled=False,
            one_per_lot=draw,
            total=None,
            reject_share=shares(totals)[0],
            groups={},
            reject_shares={one: shares(found) for one, found in grouped.items()},
        )
    calibration = _calibration(counted, alpha)

    def audited(groups: Sequence[GroupCount]) -> tuple[GroupAudit, ...]:
        return audit_groups(calibration, groups, date=today, alpha=alpha, confidence=confidence, looks=looks)

    return ResultsAudit(
        rows=counted.rows,
        repeated=counted.repeated,
        labelled=True,
        one_per_lot=draw,
        total=audited(totals)[0],
        reject_share=None,
        groups={one: audited(found) for one, found in grouped.items()},
        reject_shares={},
    )


def _warn_about_spellings(labels: Mapping[str, int], good_label: str, folder: str) -> None:
    wanted = good_label.strip().casefold()
    other = {
        label: count for label, count in labels.items() if label != good_label and label.strip().casefold() == wanted
    }
    if other:
        listed = ", ".join(
            f"{printable(repr(label), limit=100)} ({count} rows)" for label, count in list(other.items())[:5]
        )
        _log.warning(
            "%s: the label %s does not count as %r, because its spelling differs. Use one spelling in the input, and score the "
            "items again.",
            folder, listed, good_label,
        )  # fmt: skip


def day_name(day: int) -> str:
    """Return the ISO date of a number of days since 1970-01-01.

    >>> day_name(20_787)
    '2026-11-30'
    """
    try:
        return (_EPOCH + timedelta(days=day)).isoformat()
    except OverflowError:
        return f"day {day}"


def _usual(cells: Cells, one_per_lot: bool) -> tuple[By, ...]:
    usual = []
    for one in GROUPINGS:
        groups = {getattr(cell, one) for cell in cells} - {None}
        if len(groups) > 1 and not (one == "lot" and one_per_lot):
            usual.append(one)
    return tuple(usual)


def _named(found: dict[Group, Count], what: By | Literal["all"], counted: Tally) -> list[GroupCount]:
    """Return the counts with readable names."""
    if what != "all" and set(found) == {None}:
        source = {"line": "line", "day": "captured_at", "lot": "lot"}[what]
        raise DataError(
            f"{counted.folder}: expected rows with {source} for --by {what}, got none. Score the items again with this column "
            "in the input, or choose other groups."
        )
    groups = []
    for group, count in found.items():
        if what == "all":
            name = "all"
        elif group is None:
            name = f"(no {what})"
        else:
            name = day_name(group) if isinstance(group, int) else group
        groups.append(GroupCount(name=name, parts=count.parts, rejects=count.rejects, lost=count.lost))
    return groups


def _share(group: GroupCount, confidence: float, looks: Looks, tau: float) -> RejectShare:
    return RejectShare(
        name=group.name,
        parts=group.parts,
        rejects=group.rejects,
        lost=group.lost,
        upper=bounds_of(group.rejects, group.parts, confidence, looks=looks, tau=tau).upper,
        confidence=confidence,
    )


def _calibration(counted: Tally, alpha: float | None) -> Calibration:
    """Return the facts of the calibration that an audit needs."""
    promise = counted.promise
    if alpha is None and (promise is None or not promise.promised):
        raise ConfigError(
            f"{counted.folder}: the model promises no false-reject rate on the device that judged, so expected --false-reject "
            "with the share to check, for example --false-reject 0.01."
        )
    if promise is None:
        return Calibration(kind="estimate", alpha=1.0, confidence=0.95, n=0, n_eff=0.0, above=0)
    return Calibration(
        kind="promise" if promise.promised else "estimate",
        alpha=promise.alpha,
        confidence=promise.confidence,
        n=0,
        n_eff=0.0,
        above=0,
        tau=promise.tau,
    )
