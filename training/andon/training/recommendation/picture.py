"""Draw AUROC against time, with the budget as a line: ``recommendation.png``."""

from typing import Any

from andon.drawing.style import BLUE, GREEN, INK, SOFT, VERMILION, legend_below, one_panel
from andon.foundation.printable import without_controls
from andon.training.recommendation.result import Recommendation


def picture(of: Recommendation) -> Any:
    """Return the figure, or None if no candidate has an AUROC.

    Filled circles show synthetic defects, open squares labelled ones. Error bars are 95 % intervals.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = sorted((row for row in of.rows if row.auroc is not None), key=lambda row: row.latency_ms)
    if not rows:
        return None
    figure, axes = one_panel(7.2, 4.2 + 0.2 * len(rows))
    for number, row in enumerate(rows, 1):
        color = GREEN if row.name == of.chosen else BLUE if row.keeps_budget else SOFT
        if row.auroc_interval is not None:
            axes.plot([row.latency_ms] * 2, [row.auroc_interval.low, row.auroc_interval.high], color=color, linewidth=1)
        axes.plot(row.latency_ms, row.auroc, "o", color=color, markersize=9 if row.name == of.chosen else 6)
        # numbers instead of names, which overlap where times are close
        close = number < len(rows) and rows[number].latency_ms < 1.2 * row.latency_ms
        axes.annotate(
            str(number), (row.latency_ms, row.auroc), xytext=(-7 if close else 7, 5), textcoords="offset points", fontsize=9,
            color=INK, ha="right" if close else "left", fontweight="bold" if row.name == of.chosen else "normal",
        )  # fmt: skip
        name = f"{number}: {row.name}, {row.latency_ms:.3g} ms{' (recommended)' if row.name == of.chosen else ''}"
        axes.plot([], [], " ", label=without_controls(name))
        if row.real_auroc is not None:
            axes.plot(row.latency_ms, row.real_auroc, "s", color=color, markerfacecolor="none")
    axes.axvline(of.budget_ms, color=VERMILION, linestyle="--", linewidth=1.2, label=f"budget, {of.budget_ms:g} ms")
    axes.plot([], [], "o", color=BLUE, label="synthetic defects, with 95 % interval")
    if of.real_defects:
        axes.plot([], [], "s", color=BLUE, markerfacecolor="none", label="labelled defects (not used for the choice)")
    times = [*(row.latency_ms for row in rows), of.budget_ms]
    axes.set_xscale("log")
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format(lambda ms, _place: f"{ms:g}" if f"{ms:e}"[0] in "125" else "")
    axes.set_xlim(min(times) / 1.4, max(times) * 1.4)
    axes.set_ylim(top=1.02)
    axes.set_xlabel("ms for one frame on one thread (log scale)")
    axes.set_ylabel("AUROC")
    legend_below(figure)
    return figure
