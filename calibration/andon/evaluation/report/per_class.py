"""Build the sections by class: verdicts and curves over good and defective parts, and the recall of each type."""

import math
from collections.abc import Mapping, Sequence

from andon.evaluation.figures.part_figures import KindFigures
from andon.evaluation.figures.score_arrays import ALL_DEFECTS, ScoreArrays, class_scores, recalls
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.figure_table import between
from andon.evaluation.report.page import ReportTable, Section
from andon.evaluation.report.plots.curves import precision_recall, roc
from andon.evaluation.report.plots.scores import histogram, mean_bars
from andon.evaluation.report.plots.verdicts import confusion, recall_bars

MOST_KINDS = 60
"""Upper limit of rows in the table of types."""


def curves(
    parts: ScoreArrays,
    judged: Sequence[JudgedPart],
    *,
    areas: tuple[float | None, float | None],
    threshold: float,
    alpha: float | None,
    unit: str,
) -> Section:
    """Return the section with verdicts, curves and histogram. Curves need both classes."""
    pictures = []
    text: tuple[str, ...] = ()
    auroc, aupr = areas
    if parts.both and auroc is not None and aupr is not None:
        pictures += [roc(parts, auroc, alpha), precision_recall(parts, aupr, unit)]
    else:
        only = "good" if not parts.defective.any() else "defective"
        text = (f"There are {only} {unit}s only, so curves over both classes cannot be drawn.",)
    pictures.append(confusion(judged, unit))
    if len(parts.scores):
        pictures.append(histogram(parts, threshold, unit))
    tables = (classification(parts),) if parts.both else ()
    return Section(title="Scores and verdicts", text=text, tables=tables, pictures=tuple(pictures))


def classification(parts: ScoreArrays) -> ReportTable:
    """Return precision, recall and F1 of each class at the embedded threshold, their means, and the accuracy.

    A part that passes counts as classified good, a rejected part as classified defective. REVIEW passes.
    """
    rows: list[tuple[str, ...]] = []
    figures = []
    for name, actual, called in (
        ("good", ~parts.defective, ~parts.rejected),
        ("defective", parts.defective, parts.rejected),
    ):
        right = int((actual & called).sum())
        precision, recall = _share(right, int(called.sum())), right / int(actual.sum())
        f1 = 2 * right / (int(called.sum()) + int(actual.sum()))
        figures.append((precision, recall, f1))
        rows.append((name, _number(precision), _number(recall), _number(f1), str(int(actual.sum()))))
    supports = [int((~parts.defective).sum()), int(parts.defective.sum())]
    total = sum(supports)
    for name, weights in (
        ("mean of both classes", [0.5, 0.5]),
        ("weighted by support", [one / total for one in supports]),
    ):
        means = [sum(w * of[at] for w, of in zip(weights, figures, strict=True)) for at in range(3)]
        rows.append((name, *(_number(mean) for mean in means), str(total)))
    accuracy = float((parts.rejected == parts.defective).mean())
    rows.append(("accuracy", "", "", _number(accuracy), str(total)))
    return ReportTable(head=("at the embedded threshold", "precision", "recall", "F1", "support"), rows=tuple(rows))


def _share(part: int, of: int) -> float:
    return part / of if of else math.nan


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def kinds_section(parts: ScoreArrays, threshold: float, known: Mapping[str, KindFigures], unit: str) -> list[Section]:
    """Return the section with recall and scores of each type; nothing if no part could be judged."""
    if not len(parts.scores):
        return []
    by_class = class_scores(parts)
    text = tuple(
        f"Good {unit}s score {one.mean:.4g} on average (standard deviation {one.sd:.3g})."
        for one in by_class
        if not one.defective and math.isfinite(one.sd)
    )
    areas = {kind: of.auroc for kind, of in known.items() if of.auroc is not None}
    if areas:
        text += (f"The AUROC of a type compares it with all good {unit}s.",)
    pictures = [mean_bars(parts, threshold)]
    found = recalls(parts)
    if not found:
        return [Section(title="By class", text=text, pictures=tuple(pictures))]
    by_kind = {one.kind: one for one in by_class if one.defective}
    rows = []
    for recall in found[:MOST_KINDS]:
        one = by_kind.get(recall.kind) or by_kind[ALL_DEFECTS]
        area = (_number(areas.get(recall.kind, math.nan)),) if areas else ()
        sd = f"{one.sd:.3g}" if math.isfinite(one.sd) else "–"
        share = f"{recall.found / recall.n:.1%}"
        ends = between(recall.interval, ".1%")
        rows.append((recall.kind, str(recall.n), share, ends, *area, f"{one.mean:.4g}", sd))
    if len(rows) < len(found):
        text += (f"The table lists {len(rows)} of {len(found)} types.",)
    head = ("type", "n", "found", "95 % interval", *(("AUROC",) if areas else ()), "mean score", "sd")
    pictures.insert(0, recall_bars(parts, unit))
    return [
        Section(
            title=f"By type of {'defect' if unit == 'part' else 'fault'}",
            text=text,
            tables=(ReportTable(head=head, rows=tuple(rows)),),
            pictures=tuple(pictures),
        )
    ]
