"""Draw scores: their histogram, and their means by class."""

import math
from collections.abc import Sequence

import numpy as np

from andon.drawing.labels import short
from andon.drawing.style import DEFECT, GOOD, INK, legend_below, name_bars, one_panel, png_of
from andon.evaluation.figures.score_arrays import (
    HEAVY_TAIL,
    MOST_KINDS,
    ClassScores,
    Floats,
    ScoreArrays,
    class_scores,
    score_range,
    smoothed,
)
from andon.evaluation.report.page import ReportPicture, counted


def histogram(parts: ScoreArrays, threshold: float, unit: str = "part") -> ReportPicture:
    """Draw histograms of good and defective scores, each with area 1, with smoothed curves and the threshold."""
    range_ = score_range(parts.scores, threshold)
    figure, axes = one_panel(11.6, 4.2)
    move = np.log10 if range_.log else np.asarray
    low, high = float(move(range_.low)), float(move(range_.high))
    classes = [
        move(np.clip(parts.scores[which], range_.low, range_.high)) for which in (~parts.defective, parts.defective)
    ]
    low, high = _with_tails(classes, low, high)
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
    return ReportPicture(
        name="histogram.png",
        png=png_of(figure),
        alt=f"Histogram of the scores of {int((~parts.defective).sum())} good and {int(parts.defective.sum())} defective "
        f"{unit}s with the threshold {threshold:.4g}.",
        caption=" ".join(filter(None, ["Scores to the right of the line are rejected.", range_.clipped])),
        shown="wide",
    )


def _with_tails(classes: Sequence[Floats], low: float, high: float) -> tuple[float, float]:
    """Return a range in which the smoothed curves fall to zero, if no score is clipped."""
    spread = [values for values in classes if len(values) >= 3]
    bandwidths = [float(values.std()) * len(values) ** -0.2 for values in spread]  # Scott's bandwidth, as in `smoothed`
    lower = [float(values.min()) - 2.5 * width for values, width in zip(spread, bandwidths, strict=True)]
    upper = [float(values.max()) + 2.5 * width for values, width in zip(spread, bandwidths, strict=True)]
    clipped_below, clipped_above = (any((values == end).any() for values in classes) for end in (low, high))
    return low if clipped_below else min([low, *lower]), high if clipped_above else max([high, *upper])


def mean_bars(parts: ScoreArrays, threshold: float) -> ReportPicture:
    """Draw the mean score of each class with one standard deviation, and the threshold."""
    every = class_scores(parts)
    shown = every[: MOST_KINDS + 2]
    figure, axes = one_panel(5.6, 1.8 + 0.42 * max(2, len(shown)))
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
    name_bars(axes, places, [f"{short(one.kind)} (n = {one.n})" for one in shown])
    if math.isfinite(threshold):
        axes.axvline(threshold, color=INK, ls="--", lw=1.4, label=f"threshold {threshold:.4g}")
        legend_below(figure)
    axes.set(ylim=(-0.7, len(shown) + 0.25), xlabel="mean score ± standard deviation")
    if log:
        axes.set_xscale("log")
        axes.set_xlim(left=0.7 * min(lower))
    else:
        # only a few ticks, because scores close to each other have long numbers
        axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False, axis="y")
    axes.set_title("Mean score, by class")
    cut = " A whisker that would reach zero ends at the lowest score of its class." if log else ""
    left_out = f" The first {len(shown) - 2} of {len(every) - 2} types are shown." if len(shown) < len(every) else ""
    return ReportPicture(
        name="mean-scores.png",
        png=png_of(figure),
        alt="Mean score and standard deviation: "
        + ", ".join(f"{one.kind} {one.mean:.4g} ({one.sd:.3g})" for one in shown)
        + ".",
        caption=f"If classes overlap, no threshold separates them completely.{cut}{left_out}",
    )


def _lower_end(one: ClassScores, sd: float) -> float:
    """Return the lower end of a whisker, above zero on a logarithmic scale."""
    return one.mean - sd if one.mean > sd else min(one.lowest, one.mean) if one.lowest > 0 else one.mean


def _log_ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers between two positive ones."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 4 else (1, 3) if len(powers) <= 6 else (1,)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside[:: -(-len(inside) // 12)] if len(inside) > 1 else [low, high]


def _bins(values: Floats, low: float, high: float) -> int:
    """Return the number of bins by Freedman and Diaconis, from 16 to 80."""
    if len(values) < 2:
        return 16
    quarter, three = np.quantile(values, [0.25, 0.75])
    width = 2 * float(three - quarter) / len(values) ** (1 / 3)
    return 80 if width <= 0 else int(np.clip(math.ceil((high - low) / width), 16, 80))


def _rgb(colour: str) -> tuple[float, float, float]:
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)
