"""Compare all scores of a model file: their ROC and precision-recall curves, their areas, and which score decides."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from andon.drawing.labels import short
from andon.drawing.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SOFT,
    VERMILION,
    new_figure,
    png_of,
    tidy,
)
from andon.evaluation.figures import ranking
from andon.evaluation.figures.other_scores import Areas
from andon.evaluation.report.page import ReportPicture, ReportTable, Section

MOST_SCORES = 8
"""Upper limit of curves in one picture: the deciding score, then the best of the others."""
# colours of Okabe and Ito; the dashes make the curves distinguishable without colour
_STYLES = (
    (INK, "-"), (BLUE, "--"), (VERMILION, "-."), (GREEN, (0, (1, 1))), (PURPLE, (0, (6, 1, 1, 1, 1, 1))),
    (SKY, (0, (8, 3))), (ORANGE, (0, (3, 2))), (SOFT, (0, (2, 3))),
)  # fmt: skip

Floats = NDArray[np.float64]


def section(scores: Mapping[str, Floats], defective: NDArray[np.bool_], found: Mapping[str, Areas]) -> list[Section]:
    """Return the section with curves and areas of all scores; nothing if there is one score or one kind of parts."""
    if len(found) < 2:
        return []
    decides, *others = found
    ordered = [decides, *sorted(others, key=lambda name: -found[name].auroc)]
    rows = tuple(
        (name, f"{found[name].auroc:.4f}", f"{found[name].aupr:.4f}", "decides" if name == decides else "")
        for name in ordered
    )
    text = (
        "One of these scores decides. If another score is better here, check it on other data before you switch to it."
    )
    return [
        Section(
            title="All scores compared",
            text=(text,),
            tables=(ReportTable(head=("score", "AUROC", "AUPR", ""), rows=rows, words=(0, 3)),),
            pictures=(picture(scores, defective, found, ordered[:MOST_SCORES]),),
        )
    ]


def picture(
    scores: Mapping[str, Floats], defective: NDArray[np.bool_], found: Mapping[str, Areas], shown: list[str]
) -> ReportPicture:
    """Draw ROC curves on the left and precision-recall curves on the right. The first score is the deciding one."""
    figure = new_figure(11.6, 4.9)
    roc, recall = figure.subplots(1, 2)
    for axes in (roc, recall):
        tidy(axes)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    prevalence = float(defective.mean())
    roc.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=":", label="chance (.5)")
    recall.axhline(prevalence, color=SOFT, lw=1, ls=":", label=f"chance ({prevalence:.3f})")
    for number, name in enumerate(shown):
        colour, dashes = _STYLES[number]
        style = {"color": colour, "ls": dashes, "lw": 2.4 if number == 0 else 1.7, "zorder": 4 if number == 0 else 3}
        label = short(name) + (" (decides)" if number == 0 else "")
        curve = ranking.roc_curve(scores[name], defective)
        roc.plot(curve.fpr, curve.tpr, label=f"{label}: AUROC {found[name].auroc:.4f}", **style)
        exact = ranking.pr_curve(scores[name], defective)
        recall.step(
            np.append(0, exact.recall), np.append(exact.precision[0], exact.precision), where="pre",
            label=f"{label}: AP {found[name].aupr:.4f}", **style,
        )  # fmt: skip
    roc.set(xlabel="false rejects, share of good", ylabel="found, share of defective", title="ROC")
    recall.set(xlabel="recall: found, share of defective", ylabel="precision", title="Precision and recall")
    for axes in (roc, recall):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=8.5, ncols=2)
    areas = ", ".join(f"{name} {found[name].auroc:.4f} and {found[name].aupr:.4f}" for name in shown)
    left_out = f" {len(shown)} of {len(found)} scores are shown." if len(shown) < len(found) else ""
    return ReportPicture(
        name="scores.png",
        png=png_of(figure),
        alt=f"ROC and precision-recall curves of {len(shown)} scores. AUROC and average precision: {areas}.",
        caption="AP is the average precision (AUPR in the table). Random scores give the share of defective ones."
        + left_out,
        shown="wide",
    )
