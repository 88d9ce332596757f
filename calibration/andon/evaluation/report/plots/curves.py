"""Draw curves over all thresholds, with the point of the embedded threshold."""

import numpy as np

from andon.drawing.style import DEFECT, GOOD, GREEN, SOFT, legend_below, one_panel, png_of
from andon.evaluation.figures import ranking
from andon.evaluation.figures.score_arrays import ScoreArrays
from andon.evaluation.report.page import ReportPicture
from andon.runtime.calibration_facts import percent


def roc(parts: ScoreArrays, auroc: float, alpha: float | None) -> ReportPicture:
    """Draw the ROC curve with the embedded threshold, the chance line and the promised rate."""
    curve = ranking.roc_curve(parts.scores, parts.defective)
    at_false, at_true = _rates(parts)
    figure, axes = one_panel(4.8, 5.1)
    if alpha is not None:
        axes.axvspan(0, alpha, color=GREEN, alpha=0.13, lw=0, label=f"promised: at most {percent(alpha)}")
    axes.plot([0, 1], [0, 1], color=SOFT, ls=":", label="chance (.5)")
    axes.plot(curve.fpr, curve.tpr, color=GOOD, lw=2, label=f"this file (AUROC {auroc:.4f})")
    axes.plot(
        [at_false], [at_true], "o", ms=10, mfc="white", mec=DEFECT, mew=2.5, clip_on=False, zorder=5,
        label=f"embedded threshold: {at_true:.1%} found\nat {at_false:.2%} false rejects",
    )  # fmt: skip
    axes.set(
        xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="false rejects, share of good", ylabel="found, share of defects"
    )
    axes.set_title("ROC curve")
    legend_below(figure)
    return ReportPicture(
        name="roc.png",
        png=png_of(figure),
        alt=f"ROC curve, area {auroc:.4f}; at the embedded threshold {at_true:.1%} of defects are found at {at_false:.2%} "
        "false rejects.",
        caption="All thresholds. The ring marks the threshold in the file, the only one that the line uses.",
    )


def precision_recall(parts: ScoreArrays, aupr: float, unit: str = "part") -> ReportPicture:
    """Draw precision over recall, with the embedded threshold and the prevalence as the chance line."""
    curve = ranking.pr_curve(parts.scores, parts.defective)
    prevalence = float(parts.defective.mean())
    figure, axes = one_panel(4.8, 5.1)
    axes.axhline(prevalence, color=SOFT, ls=":", label=f"chance (prevalence {prevalence:.3f})")
    axes.step(np.append(0, curve.recall), np.append(curve.precision[0], curve.precision), where="pre", color=GOOD, lw=2,
              label=f"this file (AUPR {aupr:.4f})")  # fmt: skip
    at = "; nothing was rejected at the embedded threshold."
    if parts.rejected.any():
        at_precision, at_recall = float(parts.defective[parts.rejected].mean()), _rates(parts)[1]
        at = f"; at the embedded threshold {at_precision:.1%} of the rejected are defects, {at_recall:.1%} of defects are found."
        axes.plot(
            [at_recall], [at_precision], "o", ms=10, mfc="white", mec=DEFECT, mew=2.5, clip_on=False, zorder=5,
            label=f"embedded threshold: {at_precision:.1%} of\nthe rejected are defects",
        )  # fmt: skip
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        xlabel="recall: found, share of defects",
        ylabel="precision: defects, share of rejected",
    )
    axes.set_title("Precision and recall")
    legend_below(figure)
    return ReportPicture(
        name="precision-recall.png",
        png=png_of(figure),
        alt=f"Precision-recall curve, area {aupr:.4f}, chance {prevalence:.3f}{at}",
        caption=f"Precision depends on the share of defective {unit}s. On the line, that share is usually different.",
    )


def _rates(parts: ScoreArrays) -> tuple[float, float]:
    """Return the rate of false rejects and the recall at the embedded threshold."""
    return float(parts.rejected[~parts.defective].mean()), float(parts.rejected[parts.defective].mean())
