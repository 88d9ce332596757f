"""Build the tables in the report on a log: faults with their outcome, and runs."""

import math
from collections.abc import Sequence

import numpy as np

from andon.evaluation.logs import LogEvaluation
from andon.evaluation.report.page import ReportTable, Section
from andon.evaluation.report.stretches import FaultRow

MOST_FAULTS = 100
"""Upper limit of rows in the table of faults."""
MOST_RUNS = 60


def fault_sections(rows: Sequence[FaultRow]) -> list[Section]:
    """Return the table of faults; nothing without faults. If there are too many, missed faults take precedence."""
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
        head=("run", "fault", "begins [s]", "lasts [s]", "caught", "delay [s]", "highest score"),
        rows=tuple(
            (
                row.run,
                row.kind,
                f"{row.onset_s - row.origin_s:.6g}",
                f"{row.end_s - row.onset_s:.4g}",
                "MISSED" if row.delay_s is None else "caught",
                "–" if row.delay_s is None else f"{row.delay_s:.3g}",
                f"{row.highest:.4g}" if math.isfinite(row.highest) else "–",
            )
            for row in shown
        ),
        words=(0, 1, 4),
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
            f"{run.auroc:.4f}" if run.auroc is not None else "–",
        )
        for run in runs
    )
    head = ("run", "good windows", "false rejects", "faulty windows", "faults caught", "AUROC")
    return Section(title="By run", text=text, tables=(ReportTable(head=head, rows=rows),))
