"""Draw the verdicts at the embedded threshold: the confusion matrix, recall by type, and the table of results."""

from collections.abc import Sequence

import numpy as np

from andon.drawing.labels import short
from andon.drawing.style import GOOD, INK, name_bars, one_panel, png_of
from andon.evaluation.figures.score_arrays import MOST_KINDS, ScoreArrays, recalls
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.page import ReportPicture
from andon.runtime.schema import Status


def confusion(judged: Sequence[JudgedPart], unit: str = "part") -> ReportPicture:
    """Draw the confusion matrix: truth in rows, verdicts in columns, shaded by the share of the row."""
    columns = [status for status in (Status.OK, Status.REVIEW, Status.REJECT, Status.INVALID)
               if status in (Status.OK, Status.REJECT) or any(part.status == status for part in judged)]  # fmt: skip
    counts = np.zeros((2, len(columns)), np.int64)
    for part in judged:
        counts[int(part.defective), columns.index(part.status)] += 1
    is_judged = np.array([status != Status.INVALID for status in columns])
    # INVALID parts are left out of all rates on the page, so their column only has a count
    shares = counts * is_judged / np.maximum((counts * is_judged).sum(axis=1, keepdims=True), 1)
    figure, axes = one_panel(1.6 + 1.5 * len(columns), 3.4)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(2):
        for column, status in enumerate(columns):
            dark = shares[row, column] > 0.55
            wrong = status == Status.REJECT if row == 0 else status in (Status.OK, Status.REVIEW)
            word = ("false reject" if row == 0 else "miss") if wrong else ""
            axes.text(column, row - 0.12, f"{counts[row, column]}", ha="center", va="center", size=17,
                      weight="bold", color="white" if dark else INK)  # fmt: skip
            share = f"{shares[row, column]:.1%}" if is_judged[column] else "no share"
            axes.text(column, row + 0.2, share + (f"\n{word}" if word else ""), ha="center",
                      va="center", size=9, color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(range(len(columns)), [status.name for status in columns])
    axes.set_yticks([0, 1], ["good", "defective"])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xlabel("verdict")
    axes.set_title("At the embedded threshold")
    counted = "; ".join(
        f"{name}: "
        + ", ".join(f"{count} {status.name}" for count, status in zip(counts[row].tolist(), columns, strict=True))
        for row, name in enumerate(("good", "defective"))
    )
    return ReportPicture(
        name="confusion.png",
        png=png_of(figure),
        alt=f"Confusion matrix. {counted}.",
        caption=f"{unit.capitalize()}s by truth (rows) and verdict (columns). Percentages are shares of the row"
        + ("." if is_judged.all() else ", without INVALID."),
    )


def recall_bars(parts: ScoreArrays, unit: str = "part") -> ReportPicture:
    """Draw the recall of each type of defect at the embedded threshold, with 95 % intervals."""
    what = "defect" if unit == "part" else "fault"
    every = recalls(parts)
    least = {one.kind for one in sorted(every, key=lambda one: (one.found / one.n, one.kind))[:MOST_KINDS]}
    shown = [one for one in every if one.kind in least]
    figure, axes = one_panel(5.6, 1.5 + 0.42 * max(2, len(shown)))
    places = np.arange(len(shown))[::-1]
    shares = np.array([one.found / one.n for one in shown])
    reach = np.array(
        [[one.found / one.n - one.interval.low, one.interval.high - one.found / one.n] for one in shown]
    ).T.clip(0)
    axes.barh(places, shares, height=0.62, color=GOOD, alpha=0.75)
    axes.errorbar(shares, places, xerr=reach, fmt="none", ecolor=INK, capsize=3, lw=1.2)
    name_bars(axes, places, [f"{short(one.kind)} ({one.found} of {one.n})" for one in shown])
    axes.set(xlim=(0, 1.02), ylim=(-0.7, len(shown) - 0.3), xlabel="recall: share found")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=False, axis="y")
    axes.set_title(f"Found, by type of {what}")
    left_out = f" The {len(shown)} types with the lowest recall, of {len(every)}." if len(shown) < len(every) else ""
    return ReportPicture(
        name="recall.png",
        png=png_of(figure),
        alt=f"Recall by type of {what}: " + ", ".join(f"{one.kind} {one.found} of {one.n}" for one in shown) + ".",
        caption=f"Valid {unit}s only. Whiskers show the 95 % interval of the share (Clopper and Pearson).{left_out}",
    )


def figures_table(rows: Sequence[tuple[str, str, str]]) -> ReportPicture:
    """Draw the table of results as a picture, for slides."""
    from matplotlib.table import Cell

    figure, axes = one_panel(7.6, 0.5 + 0.34 * (len(rows) + 1))
    axes.set_axis_off()
    table = axes.table(cellText=[list(row) for row in rows], colLabels=["figure", "value", "95 % interval"], cellLoc="left",
                       colLoc="left", loc="center", colWidths=[0.5, 0.22, 0.28], bbox=(0, 0, 1, 1))  # fmt: skip
    table.auto_set_font_size(False)
    table.set_fontsize(11)
    cell: Cell
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        cell.set_linewidth(0.8)
        cell.get_text().set_fontweight("bold" if row == 0 or column == 1 else "normal")
        cell.set_facecolor("#eef1f5" if row == 0 else "white")
    return ReportPicture(name="figures.png", png=png_of(figure), alt="The table of figures as a picture.", shown="wide")
