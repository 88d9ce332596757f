"""Draw good parts and each type of defect in the plane of their latent numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from andon.drawing.labels import short
from andon.drawing.style import (
    DEFECT,
    GOOD,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    new_figure,
    png_of,
    tidy,
)
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.page import ReportPicture, Section, counted
from andon.runtime.schema import Status

MOST_POINTS = 600
"""Upper limit of points of a class, picked at even distances in the order of the parts."""
MOST_KINDS = 6
# colours of Okabe and Ito, and markers: types are distinguishable by each of them alone
_KINDS = ((DEFECT, "^"), (PURPLE, "s"), (GREEN, "D"), (ORANGE, "v"), (SKY, "P"), ("#222222", "X"))

Floats = NDArray[np.float64]


def section(judged: Sequence[JudgedPart], unit: str) -> list[Section]:
    """Return the section with the plane; nothing if there are fewer than two latent numbers or fewer than two good parts."""
    known = [one for one in judged if one.status != Status.INVALID and len(one.other_scores.latent) > 1]
    good_ones = [one for one in known if not one.defective]
    if len(good_ones) < 2 or len(good := _points(good_ones)) < 2:
        return []
    return [Section(title="Latent plane", pictures=(_picture(known, good, unit),))]


def axes_of(good: Floats, unit: str = "part") -> tuple[Floats, Floats, list[str]]:
    """Return the centre ``[L]``, two directions ``[2, L]`` and their names, from good points ``[n, L]``.

    If there are two latent numbers, the directions are the numbers themselves. Otherwise they are the first two principal axes.
    """
    if good.shape[1] == 2:
        return np.zeros(2), np.eye(2), ["latent number 1", "latent number 2"]
    center = good.mean(axis=0)
    _, spread, rows = np.linalg.svd(good - center, full_matrices=False)
    directions = np.zeros((2, good.shape[1]))  # a second direction of zeros if there is only one
    directions[: len(rows[:2])] = rows[:2]
    shares = [*(spread**2 / max(float((spread**2).sum()), 1e-30)), 0.0][:2]
    names = [
        f"principal axis {at} of good {unit}s ({share:.0%} of their variance)" for at, share in enumerate(shares, 1)
    ]
    return center, directions, names


def _picture(known: Sequence[JudgedPart], good: Floats, unit: str) -> ReportPicture:
    center, directions, names = axes_of(good, unit)
    kinds = sorted({one.kind for one in known if one.defective})
    figure = new_figure(7.6, 6.4)
    axes = figure.subplots()
    tidy(axes)
    clouds = [("good", good, GOOD, "o")]
    clouds += [
        (kind, _points([one for one in known if one.defective and one.kind == kind]), *_KINDS[at])
        for at, kind in enumerate(kinds[:MOST_KINDS])
    ]
    for name, points, colour, marker in clouds:
        flat = (_some(points) - center) @ directions.T
        good_ones = name == "good"
        axes.scatter(flat[:, 0], flat[:, 1], s=24, marker=marker, fc=colour if good_ones else "none", lw=1.2,
                     ec="none" if good_ones else colour, alpha=0.4 if good_ones else 0.9,
                     label=f"{short(name)} ({counted(len(points), unit)})")  # fmt: skip
    axes.set(xlabel=names[0], ylabel=names[1])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    left_out = f" {MOST_KINDS} of {len(kinds)} types are shown." if len(kinds) > MOST_KINDS else ""
    return ReportPicture(
        name="latent.png",
        png=png_of(figure),
        alt=f"Latent plane of {len(good)} good {unit}s and {', '.join(kinds[:MOST_KINDS]) or 'no defective ones'}.",
        caption=f"The position in this plane does not decide: a {unit} among good ones may have a high score, an outlier a low "
        f"one. At most {MOST_POINTS} points of each class.{left_out}",
        shown="wide",
    )


def _points(some: Sequence[JudgedPart]) -> Floats:
    """Return the finite latent points ``[n, L]`` of at least one part."""
    points = np.array([one.other_scores.latent for one in some], np.float64)
    finite: Floats = points[np.isfinite(points).all(axis=1)]
    return finite


def _some(points: Floats) -> Floats:
    some: Floats = points[np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int)]
    return some
