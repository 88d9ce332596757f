"""Pictures of scores: curves, histogram, confusion matrix, bars. Colours that the colour-blind tell apart, and hatches too."""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.evaluation import metrics
from andon.calibration.evaluation.bootstrap import Interval, rate_interval
from andon.calibration.evaluation.judged import Judged
from andon.calibration.evaluation.page import Picture, printable
from andon.runtime.errors import MissingExtra
from andon.runtime.schema import Status, percent
from andon.sources.picture_folder import natural

GOOD, DEFECT, INK, SOFT = "#0072B2", "#D55E00", "#222222", "#767676"  # of Okabe and Ito, and greys
MOST_KINDS = 24
"""Bars in one picture; of more types those that are found least are shown, and it is said."""
HEAVY_TAIL = 20.0
"""A largest score this many times the median puts the histogram on a logarithmic scale."""
ALL_DEFECTS = "all defects"
_KDE_POINTS = 2_000
_LABEL = 22

Floats = NDArray[np.float64]


class Scored(Struct, frozen=True, kw_only=True):
    """Valid parts (or windows) as arrays of one length n."""

    scores: Floats
    defective: NDArray[np.bool_]
    rejected: NDArray[np.bool_]
    kinds: tuple[str, ...]

    @property
    def both(self) -> bool:
        """Whether there are good and defective ones."""
        return bool(self.defective.any() and not self.defective.all())


def scored(judged: Sequence[Judged]) -> Scored:
    """What the pictures are of: everything that could be judged."""
    valid = [part for part in judged if part.status != Status.INVALID and math.isfinite(part.score)]
    return Scored(
        scores=np.array([part.score for part in valid], np.float64),
        defective=np.array([part.defective for part in valid], np.bool_),
        rejected=np.array([part.status == Status.REJECT for part in valid], np.bool_),
        kinds=tuple(part.kind for part in valid),
    )


def roc(parts: Scored, auroc: float, alpha: float | None) -> Picture:
    """True positives over false positives, with the embedded threshold's point, the chance line and the promised rate."""
    curve = metrics.roc_curve(parts.scores, parts.defective)
    at_false, at_true = _rates(parts)
    figure, axes = _axes(4.8, 5.1)
    if alpha is not None:
        axes.axvspan(0, alpha, color="#009E73", alpha=0.13, lw=0, label=f"promised: at most {percent(alpha)}")
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
    _legend_below(figure)
    return Picture(
        name="roc.png",
        png=png_of(figure),
        alt=f"ROC curve, area {auroc:.4f}; at the embedded threshold {at_true:.1%} of defects are found at {at_false:.2%} "
        "false rejects.",
        caption="Over all thresholds; the ring is the one in the file, the only one that the line will see.",
    )


def precision_recall(parts: Scored, aupr: float, unit: str = "part") -> Picture:
    """Precision over recall, with the embedded threshold's point and the prevalence."""
    curve = metrics.pr_curve(parts.scores, parts.defective)
    prevalence = float(parts.defective.mean())
    figure, axes = _axes(4.8, 5.1)
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
    _legend_below(figure)
    return Picture(
        name="precision-recall.png",
        png=png_of(figure),
        alt=f"Precision-recall curve, area {aupr:.4f}, chance {prevalence:.3f}{at}",
        caption=f"Precision depends on how many of the {unit}s here are defective, which is rarely the line's share.",
    )


def histogram(parts: Scored, threshold: float, unit: str = "part") -> Picture:
    """Scores of good and defective ones, each with area 1, a smoothed curve and the threshold."""
    range_ = score_range(parts.scores, threshold)
    figure, axes = _axes(11.6, 4.2)
    move = np.log10 if range_.log else np.asarray
    low, high = float(move(range_.low)), float(move(range_.high))
    classes = [
        move(np.clip(parts.scores[which], range_.low, range_.high)) for which in (~parts.defective, parts.defective)
    ]
    edges = np.linspace(low, high, max(_bins(values, low, high) for values in classes) + 1)
    sides = [("good", ~parts.defective, GOOD, ""), ("defective", parts.defective, DEFECT, "////")]
    grid = np.linspace(low, high, 400)
    top = 0.0
    for name, which, colour, hatch in sides:
        values = move(np.clip(parts.scores[which], range_.low, range_.high))
        if not len(values):
            continue
        density, _ = np.histogram(values, edges)
        heights = density / density.sum() / np.diff(edges)
        axes.stairs(heights, edges, fill=True, fc=(*_rgb(colour), 0.28), ec=colour, hatch=hatch, lw=1,
                    label=f"{name} ({counted(len(values), unit)})")  # fmt: skip
        curve = smoothed(values, grid)
        if curve is not None:
            axes.plot(grid, curve, color=colour, lw=2)
        top = max(top, float(heights.max()), float(curve.max()) if curve is not None else 0.0)
        if len(values) <= 300:
            axes.plot(values, np.full(len(values), -0.025 - 0.03 * (name != "good")), "|", color=colour, ms=7, alpha=0.7,
                      transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
    if math.isfinite(threshold) and range_.low <= threshold <= range_.high:
        axes.axvline(float(move(threshold)), color=INK, ls="--", lw=1.6, label=f"threshold {threshold:.4g}")
    axes.set(xlim=(low, high), ylim=(0, 1.08 * top if top > 0 else 1), ylabel="density (each class: area 1)")
    axes.set_xlabel("score" + (", logarithmic scale" if range_.log else ""), labelpad=10)
    axes.tick_params(axis="x", pad=14)
    if range_.log:
        ticks = _log_ticks(range_.low, range_.high)
        axes.set_xticks([math.log10(tick) for tick in ticks], [f"{tick:.6g}" for tick in ticks])
    axes.set_title("Scores")
    axes.legend(frameon=True, framealpha=0.9, edgecolor="none")
    return Picture(
        name="histogram.png",
        png=png_of(figure),
        alt=f"Histogram of the scores of {int((~parts.defective).sum())} good and {int(parts.defective.sum())} defective "
        f"{unit}s with the threshold {threshold:.4g}.",
        caption=" ".join(filter(None, ["Right of the line is rejected.", range_.clipped])),
        shown="wide",
    )


class ScoreRange(Struct, frozen=True, kw_only=True):
    """What a histogram shows."""

    low: float
    high: float
    log: bool = False
    clipped: str = ""
    """In words, how many scores lie outside and are drawn in the outermost bins."""


def score_range(scores: Floats, threshold: float) -> ScoreRange:
    """A range that shows the bulk of the scores and the threshold, and says what it leaves out.

    Heavy tails of positive scores go on a logarithmic scale. Else scores beyond four times the middle 98 % of the range are
    clipped. Equal scores, or a single one, get room on both sides.
    """
    shown = np.append(scores, threshold) if math.isfinite(threshold) else scores
    if not len(shown):
        return ScoreRange(low=0.0, high=1.0)
    low, high = float(shown.min()), float(shown.max())
    if not high > low:
        room = 0.5 * abs(low) or 0.5
        return ScoreRange(low=low - room, high=high + room)
    if low > 0 and high > HEAVY_TAIL * float(np.median(scores if len(scores) else shown)):
        room = (high / low) ** 0.03
        return ScoreRange(low=low / room, high=high * room, log=True)
    middle = np.quantile(scores, [0.01, 0.99]) if len(scores) else np.array([low, high])
    if math.isfinite(threshold):
        middle = np.array([min(middle[0], threshold), max(middle[1], threshold)])
    bulk = float(middle[1] - middle[0])
    wide = bulk > 0 and high - low > 4 * bulk
    if wide:
        low, high = max(low, float(middle[0]) - 0.5 * bulk), min(high, float(middle[1]) + 0.5 * bulk)
    room = 0.05 * (high - low)
    low, high = low - room, high + room
    below, above = int((scores < low).sum()), int((scores > high).sum())
    beyond = [
        f"{count} {'score lies' if count == 1 else 'scores lie'} {side} the range shown ({word} {value:.4g})"
        for count, side, word, value in (
            (below, "below", "lowest", float(scores.min(initial=math.inf))),
            (above, "above", "highest", float(scores.max(initial=-math.inf))),
        )
        if count
    ]
    return ScoreRange(
        low=low, high=high, clipped=" and ".join(beyond) + ", counted in the outermost bin." if beyond else ""
    )


def smoothed(values: Floats, grid: Floats) -> Floats | None:
    """A Gaussian kernel density over the grid (Scott's bandwidth); None where fewer than three values or no spread."""
    from scipy.stats import gaussian_kde

    if len(values) < 3:
        return None
    spread = float(values.std())
    if not spread > 1e-9 * float(np.abs(values).max()):
        return None
    # evenly by rank: the curve over 100 000 scores is the curve over 2 000 of them
    places = np.linspace(0, len(values) - 1, min(len(values), _KDE_POINTS)).round().astype(int)
    few = np.sort(values)[places]
    # in units of the spread, whose square may be too small a number to divide by
    density: Floats = gaussian_kde((few - few.mean()) / spread)((grid - few.mean()) / spread) / spread
    return density


def confusion(judged: Sequence[Judged], unit: str = "part") -> Picture:
    """Good and defective over OK, REVIEW, REJECT and INVALID as they occur, counted, shaded by the share of the row."""
    columns = [status for status in (Status.OK, Status.REVIEW, Status.REJECT, Status.INVALID)
               if status in (Status.OK, Status.REJECT) or any(part.status == status for part in judged)]  # fmt: skip
    counts = np.zeros((2, len(columns)), np.int64)
    for part in judged:
        counts[int(part.defective), columns.index(part.status)] += 1
    judged_alone = np.array([status != Status.INVALID for status in columns])
    # INVALID is part of no rate elsewhere on the page, and so of none here: its column has a count alone
    shares = counts * judged_alone / np.maximum((counts * judged_alone).sum(axis=1, keepdims=True), 1)
    figure, axes = _axes(1.6 + 1.5 * len(columns), 3.4)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(2):
        for column, status in enumerate(columns):
            dark = shares[row, column] > 0.55
            wrong = status == Status.REJECT if row == 0 else status in (Status.OK, Status.REVIEW)
            word = ("false reject" if row == 0 else "miss") if wrong else ""
            axes.text(column, row - 0.12, f"{counts[row, column]}", ha="center", va="center", size=17,
                      weight="bold", color="white" if dark else INK)  # fmt: skip
            share = f"{shares[row, column]:.1%}" if judged_alone[column] else "counted apart"
            axes.text(column, row + 0.2, share + (f"\n{word}" if word else ""), ha="center",
                      va="center", size=9, color="white" if dark else INK)  # fmt: skip
    axes.set_xticks(range(len(columns)), [status.name for status in columns])
    axes.set_yticks([0, 1], ["good", "defective"])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xlabel("the file's verdict")
    axes.set_title("At the embedded threshold")
    told = "; ".join(
        f"{name}: "
        + ", ".join(f"{count} {status.name}" for count, status in zip(counts[row].tolist(), columns, strict=True))
        for row, name in enumerate(("good", "defective"))
    )
    return Picture(
        name="confusion.png",
        png=png_of(figure),
        alt=f"Confusion matrix. {told}.",
        caption=f"{unit.capitalize()}s by what is true of them (rows) and verdict (columns); percentages are of the row"
        + ("." if judged_alone.all() else ", without INVALID."),
    )


class Recall(Struct, frozen=True, kw_only=True):
    """How many of one type were found."""

    kind: str
    n: int
    found: int
    interval: Interval
    """95 %, of the share."""


def recalls(parts: Scored) -> list[Recall]:
    """By type of defect, in the order of their names."""
    by_kind: dict[str, list[int]] = {}
    for kind, defective, rejected in zip(parts.kinds, parts.defective.tolist(), parts.rejected.tolist(), strict=True):
        if defective:
            tally = by_kind.setdefault(kind, [0, 0])
            tally[0] += 1
            tally[1] += rejected
    return [
        Recall(kind=kind, n=n, found=found, interval=rate_interval(found, n))
        for kind in natural(by_kind)
        for n, found in [by_kind[kind]]
    ]


def recall_bars(parts: Scored, unit: str = "part") -> Picture:
    """Recall by type of defect at the embedded threshold, with 95 % intervals."""
    what = "defect" if unit == "part" else "fault"
    every = recalls(parts)
    least = {one.kind for one in sorted(every, key=lambda one: (one.found / one.n, one.kind))[:MOST_KINDS]}
    shown = [one for one in every if one.kind in least]
    figure, axes = _axes(5.6, 1.5 + 0.42 * max(2, len(shown)))
    places = np.arange(len(shown))[::-1]
    shares = np.array([one.found / one.n for one in shown])
    reach = np.array(
        [[one.found / one.n - one.interval.low, one.interval.high - one.found / one.n] for one in shown]
    ).T.clip(0)
    axes.barh(places, shares, height=0.62, color=GOOD, alpha=0.75)
    axes.errorbar(shares, places, xerr=reach, fmt="none", ecolor=INK, capsize=3, lw=1.2)
    _labels(axes, places, [f"{short(one.kind)} ({one.found} of {one.n})" for one in shown])
    axes.set(xlim=(0, 1.02), ylim=(-0.7, len(shown) - 0.3), xlabel="recall: share found")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=False, axis="y")
    axes.set_title(f"Found, by type of {what}")
    left_out = f" The {len(shown)} least found of {len(every)} types." if len(shown) < len(every) else ""
    return Picture(
        name="recall.png",
        png=png_of(figure),
        alt=f"Recall by type of {what}: " + ", ".join(f"{one.kind} {one.found} of {one.n}" for one in shown) + ".",
        caption=f"Valid {unit}s; whiskers: 95 % interval of the share (Clopper and Pearson).{left_out}",
    )


class Spread(Struct, frozen=True, kw_only=True):
    """Scores of one class."""

    kind: str
    defective: bool
    n: int
    mean: float
    sd: float
    """Of the sample; NaN for a single score."""
    lowest: float
    """Score."""


def spreads(parts: Scored) -> list[Spread]:
    """Mean and standard deviation of scores: good, all defects, then by type where there are several."""
    kinds = np.array(parts.kinds, dtype=object)
    classes = [("good", ~parts.defective, False), (ALL_DEFECTS, parts.defective, True)]
    found = natural({kind for kind, defective in zip(parts.kinds, parts.defective.tolist(), strict=True) if defective})
    if len(found) > 1:
        classes += [(kind, parts.defective & (kinds == kind), True) for kind in found]
    return [
        Spread(
            kind=kind,
            defective=defective,
            n=int(which.sum()),
            mean=float(parts.scores[which].mean()),
            sd=float(parts.scores[which].std(ddof=1)) if which.sum() > 1 else math.nan,
            lowest=float(parts.scores[which].min()),
        )
        for kind, which, defective in classes
        if which.any()
    ]


def mean_bars(parts: Scored, threshold: float) -> Picture:
    """Mean score by class, one standard deviation to either side, and the threshold."""
    every = spreads(parts)
    shown = every[: MOST_KINDS + 2]
    figure, axes = _axes(5.6, 1.8 + 0.42 * max(2, len(shown)))
    places = np.arange(len(shown))[::-1]
    means = np.array([one.mean for one in shown])
    sds = np.nan_to_num(np.array([one.sd for one in shown]))
    log = bool(
        float(np.abs(means).max()) > HEAVY_TAIL * max(float(np.median(np.abs(parts.scores))), 1e-30)
        and (means > 0).all()
    )
    lower = [_lower_end(one, sd) if log else one.mean - sd for one, sd in zip(shown, sds.tolist(), strict=True)]
    for one, place, sd, end in zip(shown, places.tolist(), sds.tolist(), lower, strict=True):
        axes.errorbar([one.mean], [place], xerr=[[one.mean - end], [sd]], fmt="s" if one.defective else "o",
                      color=DEFECT if one.defective else GOOD, ms=8, capsize=4, lw=2)  # fmt: skip
    _labels(axes, places, [f"{short(one.kind)} (n = {one.n})" for one in shown])
    if math.isfinite(threshold):
        axes.axvline(threshold, color=INK, ls="--", lw=1.4, label=f"threshold {threshold:.4g}")
        _legend_below(figure)
    axes.set(ylim=(-0.7, len(shown) + 0.25), xlabel="mean score ± standard deviation")
    if log:
        axes.set_xscale("log")
        axes.set_xlim(left=0.7 * min(lower))
    else:
        # few: scores that lie close together have long numbers
        axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False, axis="y")
    axes.set_title("Mean score, by class")
    cut = " A whisker that would reach zero ends at the lowest score of its class." if log else ""
    left_out = f" The first {len(shown) - 2} of {len(every) - 2} types." if len(shown) < len(every) else ""
    return Picture(
        name="mean-scores.png",
        png=png_of(figure),
        alt="Mean score and standard deviation: "
        + ", ".join(f"{one.kind} {one.mean:.4g} ({one.sd:.3g})" for one in shown)
        + ".",
        caption=f"Where classes overlap no threshold can part them.{cut}{left_out}",
    )


def _lower_end(one: Spread, sd: float) -> float:
    """Of a whisker on a logarithmic scale, above zero."""
    return one.mean - sd if one.mean > sd else min(one.lowest, one.mean) if one.lowest > 0 else one.mean


def figures_table(rows: Sequence[tuple[str, str, str]]) -> Picture:
    """The table of figures as a picture, for slides."""
    from matplotlib.table import Cell

    figure, axes = _axes(7.6, 0.5 + 0.34 * (len(rows) + 1))
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
    return Picture(
        name="figures.png", png=png_of(figure), alt="The table of figures above, as a picture.", shown="wide"
    )


def _rates(parts: Scored) -> tuple[float, float]:
    """False rejects of good ones and recall of defects at the embedded threshold."""
    return float(parts.rejected[~parts.defective].mean()), float(parts.rejected[parts.defective].mean())


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones, not too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 4 else (1, 3) if len(powers) <= 6 else (1,)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: -(-len(inside) // 12)] if len(inside) > 1 else [low, high]


def _bins(values: Floats, low: float, high: float) -> int:
    """As Freedman and Diaconis have it, within 16 and 80."""
    if len(values) < 2:
        return 16
    quarter, three = np.quantile(values, [0.25, 0.75])
    width = 2 * float(three - quarter) / len(values) ** (1 / 3)
    return 80 if width <= 0 else int(np.clip(math.ceil((high - low) / width), 16, 80))


def _legend_below(figure: Any) -> None:
    """Outside the axes: a curve may go through any corner of them."""
    figure.legend(loc="outside lower center", frameon=False)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = new_figure(width, height)
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches.

    Raises:
        MissingExtra: no matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("a report with pictures needs matplotlib: pip install 'andon[evaluate]'") from error
    # Figure without pyplot: no global state, no window system
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Any) -> None:
    """A light grid behind, no box around."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def png_of(figure: Any) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with _any_script():
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Names may be in a script that the font lacks: boxes then, and no warning to whoever runs the command."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def _labels(axes: Any, places: NDArray[np.intp], labels: Sequence[str]) -> None:
    # a dollar sign in the name of a folder is no formula
    axes.set_yticks(places, labels, parse_math=False)


def counted(n: int, what: str) -> str:
    """``1 part``, ``2 parts``."""
    return f"{n} {what}" + ("" if n == 1 else "s")


def short(name: str) -> str:
    """A name as it is drawn: printable, and cut where it would not fit."""
    plain = printable(name)
    return plain if len(plain) <= _LABEL else plain[: _LABEL - 1] + "…"


def _rgb(colour: str) -> tuple[float, float, float]:
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)
