"""Draw typical windows: a good one and one of each kind of fault, with their reconstructions."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.labels import short
from andon.drawing.style import DEFECT, GOOD, SOFT, new_figure, png_of, tidy
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.logs import LogVerdicts
from andon.evaluation.report.page import ReportPicture, Section
from andon.evaluation.report.plots.log_stretches import MOST_CHANNELS, name_channel
from andon.evaluation.report.stretches import judged_windows
from andon.runtime.detector import Detector
from andon.runtime.judge import judge_items
from andon.runtime.schema import Status, WindowSpec

MOST_KINDS = 3
"""Upper limit of kinds of fault. With the good window this gives four columns, or two by two panels."""
APART = 6.0
"""Distance between the channels of a panel, in standard deviations."""


class Example(Struct, frozen=True, kw_only=True):
    """The window with the median score of its class."""

    kind: str
    score: float
    status: Status
    data: NDArray[np.float32]
    """``[T, C]`` in sensor units."""
    rebuilt: NDArray[np.float32] | None


def section(detector: Detector, verdicts: LogVerdicts) -> list[Section]:
    """Return the section with windows by sensor and with their reconstructions; nothing without faults."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    by_kind = _by_kind(verdicts)
    kinds = [kind for kind in sorted(by_kind) if kind]
    some = _typical(detector, verdicts, by_kind, ([""] if "" in by_kind else []) + kinds[:MOST_KINDS])
    if not kinds or not some:
        return []
    caption = "Each window has the median score of its class."
    if len(kinds) > MOST_KINDS:
        caption += f" {MOST_KINDS} of {len(kinds)} kinds of fault are shown."
    pictures = [by_sensor(some, spec, caption)]
    if any(one.rebuilt is not None for one in some):
        pictures.append(rebuilt(some, spec))
    return [Section(title="Windows compared", pictures=tuple(pictures))]


def by_sensor(some: Sequence[Example], spec: WindowSpec, caption: str = "") -> ReportPicture:
    """Draw one column per window and one row per sensor, with one scale per row."""
    places = list(range(min(len(spec.channels), MOST_CHANNELS)))
    figure = new_figure(2.9 * len(some) + 0.8, 1.5 * len(places) + 1.0)
    grid = figure.subplots(len(places), len(some), sharex=True, sharey="row", squeeze=False)
    time = np.arange(spec.steps) * spec.period_s
    for column, one in enumerate(some):
        grid[0][column].set_title(_title(one), parse_math=False, size=10)
        for row, place in enumerate(places):
            axes = grid[row][column]
            tidy(axes)
            axes.plot(time, one.data[:, place], color=GOOD, lw=1.4, label="measured", **_dots(spec))
            if one.rebuilt is not None:
                axes.plot(
                    time, one.rebuilt[:, place], color=DEFECT, lw=1.4, ls="--", label="reconstructed", **_dots(spec)
                )
            if column == 0:
                name_channel(axes, spec, place)
        grid[-1][column].set_xlabel("s")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return ReportPicture(
        name="windows.png",
        png=png_of(figure),
        alt="Windows compared: " + ", ".join(f"{one.kind} (score {one.score:.4g})" for one in some) + ".",
        caption=caption,
        shown="wide",
    )


def rebuilt(some: Sequence[Example], spec: WindowSpec) -> ReportPicture:
    """Draw one panel per window, two in a row, with the measured and reconstructed channels above each other."""
    rows = -(-len(some) // 2)
    places = range(min(len(spec.channels), MOST_CHANNELS))
    figure = new_figure(11.6, (1.2 + 0.75 * len(places)) * rows + 0.5)
    # each panel has its own range; a shared one would be set by the largest spike
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    time = np.arange(spec.steps) * spec.period_s
    for axes, one in zip(panels, some, strict=False):
        tidy(axes)
        axes.set_title(_title(one).replace("\n", ", "), parse_math=False, size=10)
        begins = []
        for place in places:
            channel, level = spec.channels[place], -APART * place
            standard = [
                level + (values[:, place] - channel.center) / channel.scale
                for values in (one.data, one.rebuilt)
                if values is not None
            ]
            axes.axhline(level, color=SOFT, lw=0.6, ls=":")
            begins.append(next((float(value) for value in standard[0] if np.isfinite(value)), level))
            for values, colour, dashes, label in zip(
                standard, (GOOD, DEFECT), ("-", "--"), ("measured", "reconstructed"), strict=False
            ):
                axes.plot(time, values, color=colour, ls=dashes, lw=1.3, label=label if place == 0 else None,
                          **_dots(spec))  # fmt: skip
        axes.grid(visible=False, axis="y")
        heights = spaced(begins, 0.055 * float(np.diff(axes.get_ylim())[0]))
        axes.set_yticks(heights, [short(spec.channels[place].name) for place in places], parse_math=False)
    for axes in panels[len(some) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(some) - 2) : len(some)]:
        axes.set_xlabel("s")
        axes.tick_params(labelbottom=True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return ReportPicture(
        name="rebuilt.png",
        png=png_of(figure),
        alt="Measured and reconstructed: " + ", ".join(one.kind for one in some) + ".",
        caption=f"The same windows, with channels in standard deviations of good rows. Dotted lines are the means, "
        f"drawn {APART:g} apart. Each panel has its own range.",
        shown="wide",
    )


def spaced(heights: Sequence[float], least: float) -> list[float]:
    """Return the heights, moved up as far as needed to be at least `least` from each other.

    >>> spaced([3.0, 0.0, 0.25], 0.5)
    [3.0, 0.0, 0.5]
    """
    moved, floor = list(heights), -math.inf
    for place in sorted(range(len(heights)), key=lambda at: heights[at]):
        moved[place] = max(heights[place], floor)
        floor = moved[place] + least
    return moved


def _by_kind(verdicts: LogVerdicts) -> dict[str, list[JudgedPart]]:
    """Return valid windows by type of fault. Good windows have the empty name."""
    by_kind: dict[str, list[JudgedPart]] = {}
    for one in judged_windows(verdicts):
        if one.status != Status.INVALID:
            by_kind.setdefault(one.kind if one.defective else "", []).append(one)
    return by_kind


def _typical(
    detector: Detector, verdicts: LogVerdicts, by_kind: dict[str, list[JudgedPart]], kinds: Sequence[str]
) -> list[Example]:
    middle = []
    for kind in kinds:
        ordered = sorted(by_kind[kind], key=lambda one: (one.score, one.ref.key))
        middle.append(ordered[len(ordered) // 2])
    some = []
    again = judge_items(detector, (verdicts.windows.read(window.ref) for window in middle))
    for kind, window, one in zip(kinds, middle, again, strict=True):
        if one.data is not None:
            image = one.verdict.evidence.get("reconstruction")
            fits = image is not None and image.shape == one.data.shape
            some.append(
                Example(
                    kind=kind or "good", score=window.score, status=window.status,
                    data=np.asarray(one.data, np.float32), rebuilt=image if fits else None,
                )
            )  # fmt: skip
    return some


def _title(one: Example) -> str:
    return f"{short(one.kind)}\nscore {one.score:.4g}, {one.status.name}"


def _dots(spec: WindowSpec) -> dict[str, str]:
    """Return a marker style for windows of one row, because a single point has no line."""
    return {"marker": "o"} if spec.steps == 1 else {}
