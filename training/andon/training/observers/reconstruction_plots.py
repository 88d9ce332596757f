"""Draw how a network reconstructs a few parts. This module only draws; it computes no scores."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.labels import caption, plain
from andon.drawing.style import DPI, ORANGE, VERMILION, new_figure
from andon.runtime.heat_map import colours
from andon.runtime.schema import WindowSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CHANNELS = 6
"""Largest number of channels drawn for a window. If there are more, the worst reconstructed channels are drawn."""

HOTTEST = 1.5
"""Value of the hottest colour of a map, in multiples of the 99.9 % quantile of good maps."""

_INK = "#333333"


class Rebuilt(Struct, frozen=True, kw_only=True):
    """One part and its reconstruction, in raw units (grey levels or sensor units)."""

    caption: str
    original: NDArray[np.float32]
    """Grey levels ``[h, w, C]``, 0 to 255, or a window in sensor units ``[T, C]``."""
    rebuilt: NDArray[np.float32]
    """Reconstruction, of the same shape."""
    map: NDArray[np.float32] | None
    """Map that decides the verdict: ``[h', w']``, or ``[T, C]``."""


class GoodMaps(Struct, frozen=True, kw_only=True):
    """Level of the maps of good parts. It sets the scale of heat maps."""

    quantile: float
    """99.9 % quantile of the values of these maps."""
    of: str
    """Description of the good parts, such as "9 good validation parts"."""


def rebuilt_frames(
    parts: Sequence[Rebuilt], *, title: str, map_name: str, good_maps: GoodMaps | None = None
) -> "Figure":
    """Draw frames, one column per part: the original, its reconstruction below, and the map below that.

    The colour scale is relative to the maps of good parts with the same weights, as in a finished model file. 1 is the 99.9 %
    quantile of good maps, and 1.5 is the hottest colour. So a good part is cool in every epoch, and a defect gets hotter from
    epoch to epoch if the training helps to detect it. Two other scales were rejected. A scale up to the maximum of the page
    would give a hot spot on every page of good parts. A scale fixed at the first epoch, which has the largest errors, would
    make all later epochs black. The text above the picture gives the quantile itself, which shows how far the errors fell.

    Args:
        parts: at least one, all of the same size.
        title: text above the picture.
        map_name: name of the maps.
        good_maps: scale of the maps; None to draw them in their own units.

    Raises:
        MissingExtra: matplotlib is not installed.
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
    # the scale of all heat maps of andon: the colours of colours() end at 1.5 times its scale argument
    hot = ListedColormap(colours(np.linspace(0, HOTTEST, 256, dtype=np.float32)[np.newaxis], 1.0, cool=0.0)[0] / 255)
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
                axes.set_title(caption(part.caption, 25), fontsize=9)
            if column == 0:
                axes.set_ylabel(("original", "rebuilt", plain(f"map {map_name}", 24))[row])
    if last is not None:
        bar_box = (
            (left + len(parts) * (cell[0] + apart) + 0.1) / size[0],
            bottom / size[1],
            0.15 / size[0],
            cell[1] / size[1],
        )
        bar = figure.colorbar(
            last, cax=figure.add_axes(bar_box), ticks=[0, 0.5, 1, HOTTEST], extend="max", extendfrac=0.06
        )
        bar.set_label("times good" if good_maps else "units of the map", fontsize=9)
    if last is not None and good_maps is not None:
        note = f"map: 1 is {good_maps.quantile:.3g}, the 99.9 % quantile over the cells of {good_maps.of}"
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
    """Draw up to four windows: the original and the reconstruction of each channel. All windows share one scale per channel.

    Args:
        parts: at least one.
        title: text above the picture.
        spec: description of the windows.
        channels: indices of the channels to draw; None for the worst reconstructed ones.
        limits: lowest and highest value of each channel, ``[C]``; None to take them from the windows drawn.

    Raises:
        MissingExtra: matplotlib is not installed.
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
                axes.set_title(caption(part.caption, 65), fontsize=9)
            if column == 0:
                known = spec.channels[channel]
                name = f"{known.name}\n[{known.unit}]" if known.unit else known.name
                axes.set_ylabel(plain(name, 17), fontsize=9, rotation=0, ha="right", va="center")
                axes.yaxis.set_label_coords(-0.55 / 4.85, 0.5)
            if lowest and number + columns >= len(parts):
                axes.set_xlabel("seconds from the window's first row")
    whole = len(spec.channels)
    figure.text(0.15 / size[0], 1 - 0.12 / size[1], title, va="top", fontsize=11)
    if len(places) < whole:
        note = f"the {len(places)} worst reconstructed of {whole} channels"
        figure.text(0.15 / size[0], 1 - 0.36 / size[1], note, va="top", fontsize=9)
    figure.legend(
        drawn, ["original", "rebuilt", "difference"], ncols=3, loc="upper right", frameon=False,
        bbox_to_anchor=(1 - right / size[0], 1 - 0.32 / size[1]), borderaxespad=0.0,
    )  # fmt: skip
    return figure


def worst_channels(parts: Sequence[Rebuilt]) -> list[int]:
    """Return the indices of the `MOST_CHANNELS` worst reconstructed channels, in ascending order."""
    worst = np.zeros(parts[0].original.shape[1])
    for part in parts:
        if part.map is not None:
            worst += part.map.mean(axis=0)
        else:
            worst += np.abs(part.original - part.rebuilt).mean(axis=0) / (part.original.std(axis=0) + 1e-30)
    return sorted(np.argsort(-worst, kind="stable")[:MOST_CHANNELS].tolist())
