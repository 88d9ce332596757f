"""Draw the table as a bar chart by set and detector, with the range over seeds: ``table.png``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from andon.drawing.labels import shortened
from andon.drawing.style import BLUE, GREEN, ORANGE, PURPLE, SKY, SOFT, VERMILION, YELLOW, new_figure
from andon.sources.pictures.folder import natural
from andon.training.comparison.table import COLUMNS, Column, Kind, Row, Spread, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# the hatches distinguish detectors without colour. There are 9 hatches and 8 colours, so pairs repeat only after 72
_COLORS = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, SOFT, YELLOW)
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "||", "oo")
_INK = "#333333"
_LONGEST_SET, _LONGEST_DETECTOR = 28, 46
_BAR, _APART, _WIDTH = 0.17, 1.2, 5.2
"""Height of a bar in inches, space between groups in bar heights, width of a panel in inches."""
_LETTER = 0.068
"""Upper estimate of the width of a letter in the legend, in inches."""
Look = tuple[str, str]
"""Colour and hatch of a detector."""


class Group(Struct, frozen=True, kw_only=True):
    """A group of bars: one set, or the means over all sets."""

    name: str
    rows: dict[str, Row]
    """Rows by detector."""


def bars(table: Table) -> "Figure | None":
    """Draw one group of bars per set and one bar per detector. Return None if no cell is done.

    Bars show AUROC and start at chance level. A second panel shows AUPRO if parts have masks. Whiskers reach from the lowest
    to the highest seed. The last group shows means over all sets, for detectors that are done on all of them.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    panels: dict[Kind, list[Column]] = {kind: _columns(table.rows, kind) for kind in COLUMNS}
    panels = {kind: columns for kind, columns in panels.items() if columns}
    if not panels:
        return None
    groups = {kind: _groups(table, kind) for kind in panels}
    detectors = _in_order(table, list(panels))
    panel_columns = max(map(len, panels.values()))
    of_kind = {
        kind: [name for name in detectors if any(name in group.rows for group in groups[kind])] for kind in panels
    }
    looks = {name: _look(place) for place, name in enumerate(detectors)}
    heights = [len(groups[kind]) * (len(of_kind[kind]) + _APART) for kind in panels]
    width = 1.2 + panel_columns * _WIDTH
    names = _legend_names(detectors)
    legend_columns = min(len(names), max(1, int(width / (0.5 + _LETTER * max(map(len, names))))))
    legend_rows = -(-len(names) // legend_columns)
    size = (width, 0.5 + 0.19 * legend_rows + sum(max(_BAR * height, 0.6) + 0.75 for height in heights))
    figure: Figure = new_figure(*size)
    grid = figure.add_gridspec(len(panels), panel_columns, height_ratios=heights)
    for line, (kind, columns) in enumerate(panels.items()):
        for place, column in enumerate(columns):
            axes = figure.add_subplot(grid[line, place])
            _draw(axes, groups[kind], {name: looks[name] for name in of_kind[kind]}, column, named=place == 0)
    _legend(figure, dict(zip(names, looks.values(), strict=True)), columns=legend_columns)
    if any(row.n > 1 for row in table.rows):
        figure.supxlabel("bars: means over seeds; whiskers: the lowest and the highest seed", fontsize=8, color=_INK)
    return figure


def _columns(rows: Sequence[Row], kind: Kind) -> list[Column]:
    """Return the columns to draw: the one that sets the order within a set, and AUPRO. Leave out columns without values."""
    present = {name for row in rows if row.kind == kind for name in row.figures}
    first, *others = COLUMNS[kind]
    return [column for column in (first, *(c for c in others if c.figure == "aupro")) if column.figure in present]


def _groups(table: Table, kind: Kind) -> list[Group]:
    rows = [row for row in table.rows if row.kind == kind]
    sets = natural({row.set for row in rows})
    groups = [Group(name=name, rows={row.detector: row for row in rows if row.set == name}) for name in sets]
    whole = {row.detector: row for row in table.means if row.kind == kind and row.sets == len(sets)}
    return [*groups, Group(name=f"mean of {len(sets)} sets", rows=whole)] if whole else groups


def _in_order(table: Table, kinds: Sequence[Kind]) -> list[str]:
    """Return the detectors, best first, by the mean over the sets on which each is done."""
    means: dict[str, list[float]] = {}
    for row in table.rows:
        if row.kind in kinds:
            first = row.figures.get(COLUMNS[row.kind][0].figure)
            means.setdefault(row.detector, []).extend([first.mean] if first else [])
    return sorted(means, key=lambda name: (-float(np.mean(means[name] or [0.0])), name))


def _legend_names(detectors: Sequence[str]) -> list[str]:
    """Return names that are short enough for a legend and still distinct."""
    names = [shortened(name, _LONGEST_DETECTOR) for name in detectors]
    if len(set(names)) == len(names):
        return names
    return [f"{place}. {name}" for place, name in enumerate(names, 1)]


def _draw(axes: "Axes", groups: Sequence[Group], looks: Mapping[str, Look], column: Column, *, named: bool) -> None:
    chance = 0.5 if "auroc" in column.figure else 0.0
    step = len(looks) + _APART
    lowest = chance
    for place, group in enumerate(groups):
        for line, (detector, look) in enumerate(looks.items()):
            row = group.rows.get(detector)
            figure = row.figures.get(column.figure) if row else None
            at = place * step + line
            text = "-" if figure is None else f"{figure.mean:.3f}"
            axes.text(1.015, at, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=_INK)
            if figure is None:
                continue
            _bar(axes, at, figure, chance, look)
            lowest = min(lowest, figure.low, figure.mean)
    bottom = len(groups) * step - _APART - 0.5
    axes.set_ylim(bottom + 0.25, -0.75)
    axes.set_xlim(lowest - 0.02 if lowest < chance else chance, 1.005)
    axes.axvline(chance, color=_INK, linewidth=1)
    for place in range(1, len(groups)):
        axes.axhline(place * step - 0.5 - _APART / 2, color="0.85", linewidth=0.8)
    middles = [place * step + (len(looks) - 1) / 2 for place in range(len(groups))]
    axes.set_yticks(middles)
    axes.set_yticklabels([shortened(group.name, _LONGEST_SET) if named else "" for group in groups], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    from_chance = " (bars start at chance, .5)" if chance else ""
    axes.set_title(f"{column.heading}{from_chance}", fontsize=9, loc="left")


def _bar(axes: "Axes", at: float, figure: Spread, chance: float, look: Look) -> None:
    color, hatch = look
    axes.barh(
        at, figure.mean - chance, left=chance, height=0.86, color=color, hatch=hatch, edgecolor="white", linewidth=0
    )
    if figure.n > 1:
        # for means over sets, the range covers only seeds done on all sets, so the mean may be outside the range
        reach = [[max(0.0, figure.mean - figure.low)], [max(0.0, figure.high - figure.mean)]]
        axes.errorbar(figure.mean, at, xerr=reach, color=_INK, capsize=2, elinewidth=1, capthick=1, fmt="none")


def _legend(figure: "Figure", looks: Mapping[str, Look], *, columns: int) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0) for color, hatch in looks.values()]
    legend = figure.legend(
        patches, list(looks), loc="outside upper left", ncols=columns, frameon=False, fontsize=8, handlelength=2.4
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _look(line: int) -> Look:
    return _COLORS[line % len(_COLORS)], _HATCHES[line % len(_HATCHES)]
