"""Pictures of a training: its curves, and what the network rebuilds of a few parts. They only draw; nothing is judged here."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.evaluation.drawing import BLUE, DPI, GREEN, ORANGE, PURPLE, SKY, VERMILION, new_figure, png_of
from andon.calibration.evaluation.latent_plane import axes_of
from andon.runtime.atomic import write_atomically
from andon.runtime.heat_map import colours
from andon.runtime.schema import WindowSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = ("train", "validation")
MOST_ON_A_SHEET = 400
"""Pictures on one contact sheet."""
MOST_CHANNELS = 6
"""Windows of more channels are drawn with those that are rebuilt worst."""

HOTTEST = 1.5
"""The hottest colour of a map, in multiples of the 99.9 % quantile of good maps."""

History = Sequence[Mapping[str, float]]
"""One row an epoch, as a fit names its numbers."""

_BESIDE = ("gradient_norm", "learning_rate", "seconds")
_NAMES = {
    "gradient_norm": "gradient\nnorm",
    "learning_rate": "learning\nrate",
    "seconds": "seconds\nan epoch",
    "memory_in_use": "memory\nin use",
    "memory_breadth": "memory\nbreadth",
    "generated_spread": "generated\nspread",
}
_SCORES = ("auroc", "ap")
_RIVALS = "loss"
"""Names that end so are of nets that play against each other: where one rises the other falls."""
_NOT_DRAWN = ("epoch", "parts_per_s")
# the dashes tell them apart without any colour
_INK = "#333333"
_COLORS = (BLUE, GREEN, VERMILION, PURPLE, ORANGE, SKY, _INK)
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*", "h", "p", "d", "8")
_LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"))


class Rebuilt(Struct, frozen=True, kw_only=True):
    """One part, and what the network made of it; raw units, as people know them."""

    caption: str
    original: NDArray[np.float32]
    """Grey levels ``[h, w, C]``, 0 to 255, or a window in sensor units ``[T, C]``."""
    rebuilt: NDArray[np.float32]
    map: NDArray[np.float32] | None
    """The deciding one: ``[h', w']``, or ``[T, C]``."""


def curves(
    history: History,
    *,
    kept: int | None = None,
    watched: History = (),
    watched_caption: str = "",
    kept_auroc: float | None = None,
) -> "Figure":
    """Losses by epoch, and below them what else the fit told: gradient, learning rate, time, scores.

    Args:
        history: a fit's rows, at least one, the first of epoch 1; every further name gets a panel, but names that end in
            ``loss`` (of nets that play against each other) share one, and so do those that end in ``auroc`` or ``ap``.
        kept: the epoch whose weights stay.
        watched: rows ``epoch, auroc`` of labelled parts that were watched; drawn apart, below everything else.
        watched_caption: says so, and which parts.
        kept_auroc: that of the weights that stay, over the watched parts.

    Raises:
        MissingExtra: no matplotlib.
    """
    further = [name for name in dict.fromkeys(name for row in history for name in row) if _is_further(name)]
    scores = [name for name in further if _is_score(name)]
    rivals = [name for name in further if name.rpartition("_")[2] == _RIVALS]
    shared = {*scores, *rivals}
    alone = [name for name in (*_BESIDE, *further) if name not in shared and any(name in row for row in history)]
    losses = [name for name in LOSSES if any(name in row for row in history)]
    heights = (
        [4.0] * bool(losses) + [2.4] * bool(rivals) + [1.2] * len(alone) + [2.0] * bool(scores) + [2.4] * bool(watched)
    )
    figure: Figure = new_figure(8.0, 0.8 + 0.9 * sum(heights), dpi=DPI)
    stack: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    below = iter(stack)
    if losses:
        _draw_losses(next(below), history, losses, kept)
    if rivals:
        _draw_together(next(below), history, rivals, "losses of\nthe game")
    for name in alone:
        axes = next(below)
        _lines(axes, history, [name], color=_INK)
        axes.set_ylabel(_label(name))
        if name == "learning_rate":
            _between_powers(axes, [row[name] for row in history if name in row])
        elif name == "seconds":
            axes.set_ylim(0, 1.15 * max(row[name] for row in history if name in row) + 1e-9)
    if scores:
        _draw_together(next(below), history, scores, "scores")
    if watched:
        axes = next(below)
        _draw_watched(axes, watched, kept, kept_auroc)
        axes.set_title(_plain(watched_caption, 88), fontsize=9, loc="left")
    for axes in stack:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    stack[-1].set_xlabel("epoch")
    _whole_epochs(stack[-1], len(history))
    figure.align_ylabels()
    return figure


class GoodMaps(Struct, frozen=True, kw_only=True):
    """What maps show of good parts: the measure of heat maps."""

    quantile: float
    """99.9 % of their values lie below."""
    of: str
    """Which parts: "9 good validation parts"."""


def rebuilt_frames(
    parts: Sequence[Rebuilt], *, title: str, map_name: str, good_maps: GoodMaps | None = None
) -> "Figure":
    """Originals above what was rebuilt above the maps, a column a part.

    Colours count in multiples of what good parts show with these very weights, as they do for a finished file: 1 is the
    99.9 % quantile of good maps, 1.5 the hottest colour. Scaled by its own maximum a page of good parts would always have
    a hot spot; on a scale fixed at the first epoch, whose errors are the largest, all later ones would be black. So a good
    part is cool in every epoch, and a defect gets hotter from epoch to epoch where the training helps against it. How far
    the errors themselves fell is a number, above the picture.

    Args:
        parts: at least one, all of one size.
        title: above all.
        map_name: of the maps.
        good_maps: what the maps are measured by; None: they count in their own units.

    Raises:
        MissingExtra: no matplotlib.
    """
    mapped = [part.map for part in parts if part.map is not None]
    rows = 2 + bool(mapped)
    height, width = parts[0].original.shape[:2]
    cell = (1.9, 1.9 * min(max(height / width, 0.25), 2.5))
    left, right, top, bottom, apart = 0.45, 1.0 if mapped else 0.15, 1.2 if mapped else 0.9, 0.15, 0.08
    size = (max(left + right + len(parts) * (cell[0] + apart), 4.6), top + bottom + rows * (cell[1] + apart))
    figure: Figure = new_figure(*size, layout=None, dpi=DPI)
    from matplotlib.colors import ListedColormap

    unit = max(good_maps.quantile, 1e-30) if good_maps else 1.0
    # the scale of every heat map of andon: colours() ends at 1.5 times what it is given
    hot = ListedColormap(colours(np.linspace(0, HOTTEST, 256, dtype=np.float32)[np.newaxis], 1.0)[0] / 255)
    last: Any = None
    for column, part in enumerate(parts):
        for row, picture in enumerate((part.original, part.rebuilt, part.map)[:rows]):
            if picture is None:
                continue
            place = (left + column * (cell[0] + apart), size[1] - top - (row + 1) * (cell[1] + apart) + apart)
            axes = figure.add_axes((place[0] / size[0], place[1] / size[1], cell[0] / size[0], cell[1] / size[1]))
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 2:
                last = axes.imshow(
                    picture / unit, cmap=hot, vmin=0, vmax=HOTTEST, interpolation="nearest", aspect="auto"
                )
            else:
                levels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
                axes.imshow(
                    levels[..., 0] if levels.shape[2] == 1 else levels, cmap="gray", vmin=0, vmax=255, aspect="auto"
                )
            if row == 0:
                axes.set_title(_caption(part.caption, 25), fontsize=9)
            if column == 0:
                axes.set_ylabel(("original", "rebuilt", _plain(f"map {map_name}", 24))[row])
    if last is not None:
        beside = (
            (left + len(parts) * (cell[0] + apart) + 0.1) / size[0],
            bottom / size[1],
            0.15 / size[0],
            cell[1] / size[1],
        )
        bar = figure.colorbar(
            last, cax=figure.add_axes(beside), ticks=[0, 0.5, 1, HOTTEST], extend="max", extendfrac=0.06
        )
        bar.set_label("times good" if good_maps else "units of the map", fontsize=9)
    if last is not None and good_maps is not None:
        note = f"map: 1 is {good_maps.quantile:.3g}, below which 99.9 % of the cells of {good_maps.of} lie"
        wrapped = textwrap.fill(note, round(14 * (size[0] - left)))
        figure.text(left / size[0], 1 - 0.36 / size[1], wrapped, va="top", fontsize=8)
    figure.text(left / size[0], 1 - 0.12 / size[1], title, va="top", fontsize=11)
    return figure


def rebuilt_windows(
    parts: Sequence[Rebuilt],
    *,
    title: str,
    spec: WindowSpec,
    channels: Sequence[int] | None = None,
    limits: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> "Figure":
    """Up to four windows, each channel as it was and as it was rebuilt; one scale a channel for all windows.

    Args:
        parts: at least one.
        title: above all.
        spec: of the windows.
        channels: places of those to draw; None: those that are rebuilt worst.
        limits: lowest and highest value of each channel of the windows, ``[C]``; None: of what is drawn.

    Raises:
        MissingExtra: no matplotlib.
    """
    parts = parts[:4]
    places = worst_channels(parts) if channels is None else channels
    seconds = spec.period_s * np.arange(spec.steps)
    columns, rows = min(2, len(parts)), (len(parts) + 1) // 2
    left, right, top, bottom, apart, each = 1.95, 0.2, 0.85, 0.5, 0.55, 1.0
    size = (left + right + columns * 5.0, top + bottom + rows * (each * len(places) + apart) - apart)
    figure: Figure = new_figure(*size, layout=None, dpi=DPI)
    drawn: list[Any] = []
    for number, part in enumerate(parts):
        row, column = divmod(number, 2)
        for line, channel in enumerate(places):
            base = size[1] - top - row * (each * len(places) + apart) - (line + 1) * each
            box = ((left + column * 5.0) / size[0], base / size[1], 4.85 / size[0], (each - 0.1) / size[1])
            axes = figure.add_axes(box)
            was, made = part.original[:, channel], part.rebuilt[:, channel]
            drawn = [
                *axes.plot(seconds, was, color=_INK, linewidth=1.1),
                *axes.plot(seconds, made, color=VERMILION, linewidth=1.3, linestyle="--"),
                axes.fill_between(seconds, was, made, color=ORANGE, alpha=0.3, linewidth=0),
            ]
            every = np.concatenate(
                [values[:, channel] for other in parts for values in (other.original, other.rebuilt)]
            )
            low, high = (every.min(), every.max()) if limits is None else (ends[channel] for ends in limits)
            margin = 0.05 * float(high - low) or 0.5
            axes.set_ylim(float(low) - margin, float(high) + margin)
            axes.set_xlim(seconds[0], seconds[-1])
            axes.locator_params(axis="y", nbins=3)
            axes.locator_params(axis="x", nbins=5)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            lowest = line == len(places) - 1
            axes.tick_params(labelleft=column == 0, labelbottom=lowest)
            if line == 0:
                axes.set_title(_caption(part.caption, 65), fontsize=9)
            if column == 0:
                known = spec.channels[channel]
                name = f"{known.name}\n[{known.unit}]" if known.unit else known.name
                axes.set_ylabel(_plain(name, 17), fontsize=9, rotation=0, ha="right", va="center")
                axes.yaxis.set_label_coords(-0.55 / 4.85, 0.5)
            if lowest and number + columns >= len(parts):
                axes.set_xlabel("seconds from the window's first row")
    whole = len(spec.channels)
    figure.text(0.15 / size[0], 1 - 0.12 / size[1], title, va="top", fontsize=11)
    if len(places) < whole:
        note = f"the {len(places)} of {whole} channels that are rebuilt worst"
        figure.text(0.15 / size[0], 1 - 0.36 / size[1], note, va="top", fontsize=9)
    figure.legend(
        drawn, ["original", "rebuilt", "difference"], ncols=3, loc="upper right", frameon=False,
        bbox_to_anchor=(1 - right / size[0], 1 - 0.32 / size[1]), borderaxespad=0.0,
    )  # fmt: skip
    return figure


def latent_plane(clouds: Mapping[str, NDArray[np.float32]]) -> "Figure":
    """Named clouds of points ``[n, k]`` as a plane, the first of good parts.

    Of two latent numbers the plane is theirs; of more, that of the principal axes of the first cloud.

    Raises:
        MissingExtra: no matplotlib.
    """
    first = next(iter(clouds.values()))
    center, directions, labels = axes_of(first.astype(np.float64))
    figure: Figure = new_figure(7.5, 6.0, dpi=DPI)
    axes = figure.subplots()
    for place, (name, cloud) in enumerate(clouds.items()):
        flat = (cloud - center) @ directions.T
        color, marker = _COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)]
        axes.scatter(
            flat[:, 0], flat[:, 1], s=26, marker=marker, alpha=0.75, label=_plain(f"{name}: {len(cloud)}", 40),
            facecolors=color if place == 0 else "none", edgecolors=color, linewidths=0.9,
        )  # fmt: skip
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


def contact_sheet(pictures: NDArray[np.uint8], captions: Sequence[str] = (), *, title: str) -> "Figure":
    """Pictures side by side, row by row, each above its caption, if there are any.

    Args:
        pictures: ``[n, h, w, C]``, at least one, at most `MOST_ON_A_SHEET`.
        captions: one a picture, or none.
        title: above all.

    Raises:
        MissingExtra: no matplotlib.
    """
    count, height, width, _ = pictures.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    cell = (0.95, 0.95 * height / width)
    apart, below = 0.06, 0.2 if captions else 0.06
    left, top, bottom = 0.12, 0.45, 0.08
    size = (max(2 * left + columns * (cell[0] + apart) - apart, 4.6), top + bottom + rows * (cell[1] + below))
    figure: Figure = new_figure(*size, layout=None, dpi=DPI)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        x, y = left + column * (cell[0] + apart), size[1] - top - row * (cell[1] + below) - cell[1]
        axes = figure.add_axes((x / size[0], y / size[1], cell[0] / size[0], cell[1] / size[1]))
        axes.set_axis_off()
        levels = picture[..., 0] if picture.shape[2] == 1 else picture
        axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        if captions:
            at = ((x + cell[0] / 2) / size[0], (y - 0.02) / size[1])
            figure.text(*at, captions[place], ha="center", va="top", fontsize=7)
    wrapped = textwrap.fill(title, max(30, round(13 * size[0])))
    figure.text(left / size[0], 1 - 0.1 / size[1], wrapped, va="top", fontsize=9)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG, whole or not at all: whoever looks while it trains never sees half of it."""
    write_atomically(path, png_of(figure, "figure"))


def shortened(text: str, most: int) -> str:
    """Without its middle, where it is longer than that: names differ at the end as often as at the beginning.

    >>> shortened("patchcore --preset fast --size 224", 20)
    'patchcor… --size 224'
    """
    if len(text) <= most:
        return text
    tail = (most - 1) * 3 // 5
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def _is_further(name: str) -> bool:
    return name not in (*LOSSES, *_BESIDE, *_NOT_DRAWN)


def _is_score(name: str) -> bool:
    return name.rpartition("_")[2] in _SCORES


def _label(name: str) -> str:
    words = [word.upper() if word in _SCORES else word for word in name.split("_")]
    return _NAMES.get(name) or _plain(" ".join(words), 18)


def _plain(text: str, width: int) -> str:
    """Names are other people's: broken into lines between words, and never read as formulas."""
    short = [" ".join(shortened(word, width) for word in line.split(" ")) for line in text.splitlines()]
    return "\n".join(textwrap.fill(line, width) for line in short).replace("$", r"\$")


def _caption(text: str, width: int) -> str:
    """No more lines than it has: what is too long loses its middle, so that it still says whether it is watched."""
    return "\n".join(shortened(line, width) for line in text.splitlines()).replace("$", r"\$")


def _draw_losses(axes: "Axes", history: History, names: list[str], kept: int | None) -> None:
    _lines(axes, history, names)
    values = [row[name] for row in history for name in names if name in row]
    if min(values) > 0 and max(values) > 1.5 * min(values):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        plain = FuncFormatter(lambda value, _place: f"{value:g}")
        narrow = max(values) < 5 * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if narrow else (1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(plain if narrow else NullFormatter())
    if kept is not None:
        axes.axvline(kept, color="0.5", linestyle=":", label=f"kept: epoch {kept}")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)


def _draw_together(axes: "Axes", history: History, names: list[str], what: str) -> None:
    _lines(axes, history, names)
    axes.set_ylabel(what)
    axes.legend(frameon=False, labels=[" ".join(_label(name).split()) for name in names], handles=axes.get_lines())


def _draw_watched(axes: "Axes", watched: History, kept: int | None, kept_auroc: float | None) -> None:
    _lines(axes, watched, ["auroc"], color=GREEN, places=[row["epoch"] for row in watched])
    low = min(0.5, *(row["auroc"] for row in watched))
    axes.axhline(0.5, color="0.5", linestyle="--", linewidth=1, label="chance")
    if kept is not None:
        axes.axvline(kept, color="0.5", linestyle=":")
    if kept is not None and kept_auroc is not None:
        label = f"kept weights: {kept_auroc:.3f}"
        axes.plot(
            [kept], [kept_auroc], color=_INK, marker="D", markersize=6, fillstyle="none", linestyle="", label=label
        )
        low = min(low, kept_auroc)
    axes.set_ylim(max(-0.02, low - 0.05), 1.02)
    axes.set_ylabel("AUROC")
    axes.legend(frameon=False)


def _lines(  # one line a name, over the rows that have it
    axes: "Axes", rows: History, names: Sequence[str], *, color: str = "", places: Sequence[float] | None = None
) -> None:
    marker = "o" if len(rows) <= 30 else ""
    for at, name in enumerate(names):
        own, dashes = _LINES[at % len(_LINES)]
        where = [place for place, row in enumerate(rows) if name in row]
        epochs = [places[place] if places is not None else place + 1 for place in where]
        axes.plot(
            epochs,
            [rows[place][name] for place in where],
            label=_label(name),
            drawstyle="steps-mid" if name == "learning_rate" else "default",
            color=color or own,
            linestyle=dashes,
            marker=marker,
            markersize=3.5,
        )


def _between_powers(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis that is readable however little the values change."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if not values or min(values) <= 0:
        return
    axes.set_yscale("log")
    low, high = np.floor(np.log10(0.7 * min(values))), np.ceil(np.log10(1.5 * max(values)))
    axes.set_ylim(10**low, 10**high)
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _whole_epochs(axes: "Axes", count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0.5, count + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def worst_channels(parts: Sequence[Rebuilt]) -> list[int]:
    """Places of the `MOST_CHANNELS` that are rebuilt worst, in their own order."""
    worst = np.zeros(parts[0].original.shape[1])
    for part in parts:
        if part.map is not None:
            worst += part.map.mean(axis=0)
        else:
            worst += np.abs(part.original - part.rebuilt).mean(axis=0) / (part.original.std(axis=0) + 1e-30)
    return sorted(np.argsort(-worst, kind="stable")[:MOST_CHANNELS].tolist())
