"""Build the table of results: name, value, interval, and an explanation in words."""

from collections.abc import Sequence

from andon.evaluation.figures.intervals import Interval, rate_interval
from andon.evaluation.figures.part_figures import Evaluation
from andon.evaluation.figures.score_arrays import ScoreArrays
from andon.evaluation.logs import LogEvaluation
from andon.evaluation.report.page import ReportTable, Section
from andon.runtime.calibration_facts import percent

FigureRow = tuple[str, str, str, str]
"""A figure: name, value, interval, explanation."""


def figures_section(rows: Sequence[FigureRow]) -> Section:
    """Return the rows as a section."""
    table = ReportTable(
        head=("figure", "value", "95 % interval", "in words"), rows=tuple(rows), words=(0, 3), stacked=True
    )
    return Section(title="Figures", tables=(table,))


def frame_rows(figures: Evaluation, parts: ScoreArrays) -> list[FigureRow]:
    """Return the rows for parts."""
    good, defects = parts.rejected[~parts.defective], parts.rejected[parts.defective]
    drawn = figures.intervals
    rows: list[FigureRow] = []
    if len(good):
        count, n = int(good.sum()), len(good)
        ends = between(drawn.false_reject_rate if drawn else rate_interval(count, n), ".2%")
        rows.append(("false rejects", f"{count / n:.2%}", ends, f"{count} of {n} good {figures.unit}s rejected"))
    if len(defects):
        count, n = int((~defects).sum()), len(defects)
        ends = between(drawn.miss_rate if drawn else rate_interval(count, n), ".2%")
        what = "defects" if figures.unit == "part" else "defective windows"
        rows.append(("misses", f"{count / n:.2%}", ends, f"{count} of {n} {what} passed"))
    if parts.both:
        ranked = "how well scores separate good from defective; .5 is chance, 1 is perfect"
        chance = f"average precision; chance level {figures.prevalence:.3f}"
        rows += [
            ("AUROC", f"{figures.auroc:.4f}", between(drawn.auroc if drawn else None, ".4f"), ranked),
            ("AUPR", f"{figures.aupr:.4f}", between(drawn.aupr if drawn else None, ".4f"), chance),
        ]
        for value, share, drawn_ends in (
            (figures.tpr_at_1_percent_fpr, "1 %", drawn.tpr_at_1_percent_fpr if drawn else None),
            (figures.tpr_at_5_percent_fpr, "5 %", drawn.tpr_at_5_percent_fpr if drawn else None),
        ):
            words = f"with a threshold chosen on these good {figures.unit}s"
            rows.append((f"found at {share} false rejects", f"{value:.2%}", between(drawn_ends, ".2%"), words))
        words = f"rejected good {figures.unit}s, with a threshold chosen on these defects"
        ends = between(drawn.fpr_at_recall if drawn else None, ".2%")
        rows.append((f"false rejects at {percent(figures.recall)} found", f"{figures.fpr_at_recall:.2%}", ends, words))
        words = "best over all thresholds; that threshold is not known in advance"
        best = between(drawn.oracle_f1_max if drawn else None, ".4f")
        rows.append(("best F1", f"{figures.oracle_f1_max:.4f}", best, words))
    if figures.pixel_auroc is not None:
        words = "how well the heat map finds the pixels of the masks"
        rows.append(
            ("pixel AUROC", f"{figures.pixel_auroc:.4f}", between(drawn.pixel_auroc if drawn else None, ".4f"), words)
        )
    if figures.aupro is not None:
        step = "" if figures.mask_step in (None, 1) else f"; computed on one in {figures.mask_step} rows and columns"
        words = f"the same with equal weight for each defect region, up to 30 % false pixels{step}"
        rows.append(("AUPRO (.3)", f"{figures.aupro:.4f}", between(drawn.aupro if drawn else None, ".4f"), words))
    if figures.unmasked:
        rows.append(("without a mask", f"{figures.unmasked}", "", "defective frames, left out of the pixel results"))
    if figures.ignored_defects:
        note = "frames with defects only in pixels that the model file ignores"
        rows.append(("ignored defects", f"{figures.ignored_defects}", "", note))
    if figures.unknown:
        rows.append(("unknown truth", f"{figures.unknown}", "", "left out of all results here"))
    if figures.unjudged:
        rows.append(("never judged", f"{figures.unjudged}", "", "known truth, but no verdict"))
    why = "not judged, for example unreadable, of wrong size or another scene; left out of all rates above"
    rows.append(("INVALID", f"{figures.invalid}", "", why))
    return rows


def log_rows(figures: LogEvaluation, parts: ScoreArrays) -> list[FigureRow]:
    """Return the rows for logs. Windows of a log depend on each other, so rates only have intervals from resampled files."""
    counts, total, drawn = figures.total.counts, figures.total, figures.intervals
    rows: list[FigureRow] = []
    if counts.good:
        words = f"{counts.false_rejects} of {counts.good} good windows rejected"
        rate = counts.false_rejects / counts.good
        rows.append(("false rejects", f"{rate:.2%}", between(drawn.false_reject_rate if drawn else None, ".2%"), words))
    if total.false_events_a_day is not None:
        words = (
            f"{total.false_events} in {total.good_s / 3600:.3g} h of good operation; alarms close together count once"
        )
        rows.append(
            (
                "false events a day",
                f"{total.false_events_a_day:.3g}",
                between(drawn.false_events_a_day if drawn else None, ".3g"),
                words,
            )
        )
    if counts.faults:
        words = f"{counts.caught} of {counts.faults}; random rejects would catch {counts.dummy_caught:.1f}"
        ends = between(drawn.event_recall if drawn else rate_interval(counts.caught, counts.faults), ".2%")
        rows.append(("faults caught", f"{counts.caught / counts.faults:.1%}", ends, words))
    if total.median_delay_s is not None:
        ends = between(drawn.median_delay_s if drawn else None, ".3g")
        words = "from the first row of a fault to its first alarm; a missed fault counts with its full length"
        rows.append(("median delay, s", f"{total.median_delay_s:.3g}", ends, words))
    if counts.defective:
        words = f"{counts.misses} of {counts.defective} windows that touch a fault passed"
        rate = counts.misses / counts.defective
        rows.append(("windows missed", f"{rate:.2%}", between(drawn.miss_rate if drawn else None, ".2%"), words))
    if total.auroc is not None and total.aupr is not None:
        chance = f"average precision; chance level {float(parts.defective.mean()):.3f}"
        rows += [
            ("AUROC", f"{total.auroc:.4f}", "", "over all windows; .5 is chance, 1 is perfect"),
            ("AUPR", f"{total.aupr:.4f}", "", chance),
        ]
    if figures.mean_auroc is not None and len(figures.runs) > 1:
        ends = between(drawn.mean_auroc if drawn else None, ".4f")
        rows.append(("AUROC, mean of runs", f"{figures.mean_auroc:.4f}", ends, "computed for each run alone"))
    if figures.mean_vus_pr is not None:
        words = (
            f"precision and recall of rows, with fault edges softened by up to {figures.vus_buffer} rows; mean of runs"
        )
        rows.append(
            ("VUS-PR", f"{figures.mean_vus_pr:.4f}", between(drawn.mean_vus_pr if drawn else None, ".4f"), words)
        )
    rows += _row_rows(figures)
    rows.append(("INVALID", f"{counts.invalid}", "", "windows with gaps; left out of all rates above"))
    return rows


def _row_rows(figures: LogEvaluation) -> list[FigureRow]:
    """Return the results for single rows of the log."""
    always = "" if figures.f1_always is None else f"; an alarm at every row gives {figures.f1_always:.4f}"
    named = (
        ("F1 of rows", figures.f1, ".4f", f"rows counted one by one{always}"),
        ("good rows alarmed", figures.false_alarm_rate, ".2%", "false alarm rate (FAR): share of good rows"),
        ("faulty rows missed", figures.missed_alarm_rate, ".2%", "missed alarm rate (MAR): share of faulty rows"),
    )
    return [(name, f"{value:{form}}", "", words) for name, value, form, words in named if value is not None]


def between(ends: Interval | None, form: str) -> str:
    """Return an interval as text; empty for a single point, which only means that all resamples were equal."""
    return "" if ends is None or not ends.low < ends.high else f"{ends.low:{form}} to {ends.high:{form}}"
