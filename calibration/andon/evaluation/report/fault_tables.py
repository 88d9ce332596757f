"""Build the tables in the report on a log: kinds of faults, faults with their outcome, and runs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from andon.evaluation.logs import LogEvaluation
from andon.evaluation.report.first_channels import FirstChannel
from andon.evaluation.report.page import ReportTable, Section
from andon.evaluation.report.stretches import FaultRow

MOST_FAULTS = 100
"""Upper limit of rows in the table of faults."""
MOST_RUNS = 60
_NONE = "–"


def kinds_of_faults(rows: Sequence[FaultRow], channels: Mapping[str, FirstChannel]) -> list[Section]:
    """Return the table of kinds of faults, most missed faults first; nothing if all faults are of one kind.

    Args:
        rows: the faults.
        channels: result of `first_channels`.
    """
    by_kind: dict[str, list[FaultRow]] = {}
    for row in rows:
        by_kind.setdefault(row.kind, []).append(row)
    if len(by_kind) < 2:
        return []
    missed = {kind: sum(row.delay_s is None for row in own) for kind, own in by_kind.items()}
    table = []
    for kind in sorted(by_kind, key=lambda kind: (-missed[kind] / len(by_kind[kind]), kind))[:MOST_FAULTS]:
        own = by_kind[kind]
        delays = np.array([row.delay_s for row in own if row.delay_s is not None])
        counts = Counter(channels[row.highest_key].name for row in own if row.highest_key in channels)
        name, count = min(counts.items(), key=lambda one: (-one[1], one[0])) if counts else (_NONE, 0)
        table.append(
            (
                kind,
                f"{len(delays)} of {len(own)}",
                f"{np.median(delays):.3g}" if len(delays) else _NONE,
                f"{delays.max():.3g}" if len(delays) else _NONE,
                name if count == counts.total() else f"{name} ({count} of {counts.total()})",
            )
        )
    text = (
        "Kinds with the largest share of missed faults come first. The last column is the channel with the largest share in "
        "the highest score of most faults of the kind."
    )
    head = ("fault", "caught", "median delay [s]", "longest delay [s]", "look first at")
    return [
        Section(
            title="By kind of fault", text=(text,), tables=(ReportTable(head=head, rows=tuple(table), words=(0, 4)),)
        )
    ]


def fault_sections(rows: Sequence[FaultRow], channels: Mapping[str, FirstChannel]) -> list[Section]:
    """Return the table of faults; nothing without faults. If there are too many, missed faults take precedence.

    Args:
        rows: the faults.
        channels: result of `first_channels`.
    """
    if not rows:
        return []
    # readers look for misses first; both groups stay in time order
    shown = [row for row in rows if row.delay_s is None][:MOST_FAULTS]
    shown += [row for row in rows if row.delay_s is not None][: MOST_FAULTS - len(shown)]
    if len(shown) == len(rows):
        shown = list(rows)
    delays = np.array([row.delay_s for row in rows if row.delay_s is not None])
    text = []
    if len(delays):
        text.append(
            "The delay is the time from the first faulty row to the end of the first rejected window that touches the fault: "
            f"median {np.median(delays):.3g} s, longest {delays.max():.3g} s."
        )
    if any(row.origin_s for row in rows):
        text.append("Times are counted from the start of each run.")
    if len(shown) < len(rows):
        text.append(f"The table lists {len(shown)} of {len(rows)} faults, missed ones first.")
    table = ReportTable(
        head=("run", "fault", "begins [s]", "lasts [s]", "caught", "delay [s]", "highest score", "look first at"),
        rows=tuple(
            (
                row.run,
                row.kind,
                f"{row.onset_s - row.origin_s:.6g}",
                f"{row.end_s - row.onset_s:.4g}",
                "MISSED" if row.delay_s is None else "caught",
                _NONE if row.delay_s is None else f"{row.delay_s:.3g}",
                f"{row.highest:.4g}" if math.isfinite(row.highest) else _NONE,
                _channel(channels.get(row.highest_key)),
            )
            for row in shown
        ),
        words=(0, 1, 4, 7),
    )
    return [Section(title="Faults", text=tuple(text), tables=(table,))]


def runs_section(figures: LogEvaluation) -> Section:
    """Return the table of runs with their counts."""
    runs = figures.runs[:MOST_RUNS]
    text = (f"The table lists {len(runs)} of {len(figures.runs)} runs.",) if len(runs) < len(figures.runs) else ()
    rows = tuple(
        (
            run.name,
            str(run.counts.good),
            str(run.counts.false_rejects),
            str(run.counts.defective),
            f"{run.counts.caught} of {run.counts.faults}",
            f"{run.auroc:.4f}" if run.auroc is not None else _NONE,
        )
        for run in runs
    )
    head = ("run", "good windows", "false rejects", "faulty windows", "faults caught", "AUROC")
    return Section(title="By run", text=text, tables=(ReportTable(head=head, rows=rows),))


def _channel(channel: FirstChannel | None) -> str:
    return _NONE if channel is None else f"{channel.name} ({channel.share:.0%})"
