"""Draw the curves of a training, and save pictures of a training. This module only draws; it computes no scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from andon.drawing.labels import plain
from andon.drawing.style import BLUE, DPI, GREEN, PURPLE, VERMILION, new_figure, png_of
from andon.foundation.atomic import write_atomically
from andon.training.observers.options import Watched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = ("train", "validation")

History = Sequence[Mapping[str, float]]
"""One row per epoch, with the numbers of the fit by name."""

_ALONE = ("gradient_norm", "learning_rate", "seconds")
"""Numbers that have their own panel, in this order."""
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
"""Ending of the names of adversarial losses. They share a panel, because when one rises the other falls."""
_NOT_DRAWN = ("epoch", "parts_per_s")
# the dashes distinguish the lines without colour
_INK = "#333333"
_LINES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"))


def curves(
    history: History,
    *,
    kept: int | None = None,
    watched: History = (),
    watched_caption: str = "",
    kept_auroc: float | None = None,
) -> "Figure":
    """Draw losses by epoch, and below them the other numbers of the fit: gradient, learning rate, time, scores.

    Args:
        history: rows of a fit, at least one, starting at epoch 1. Names that end in ``loss`` (adversarial losses) share a
            panel, and so do names that end in ``auroc`` or ``ap``. Each other name gets its own panel.
        kept: the epoch whose weights are the final ones.
        watched: rows ``epoch, auroc`` of watched parts. They have their own panel at the bottom.
        watched_caption: title of that panel: which parts were watched, and that the training did not use them.
        kept_auroc: AUROC of the final weights over the watched parts.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    further = [name for name in dict.fromkeys(name for row in history for name in row) if _is_further(name)]
    scores = [name for name in further if _is_score(name)]
    rivals = [name for name in further if name.rpartition("_")[2] == _RIVALS]
    shared = {*scores, *rivals}
    alone = [name for name in (*_ALONE, *further) if name not in shared and any(name in row for row in history)]
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
        _draw_together(next(below), history, rivals, "adversarial\nlosses")
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
        axes.set_title(plain(watched_caption, 88), fontsize=9, loc="left")
    for axes in stack:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    stack[-1].set_xlabel("epoch")
    _whole_epochs(stack[-1], len(history))
    figure.align_ylabels()
    return figure


def draw_curves(path: Path, history: History, *, kept: int | None, watched: Watched | None) -> None:
    """Write the curves of a training. Do nothing if no epoch is complete."""
    if not history:
        return
    caption = ""
    if watched is not None:
        parts = ", ".join(f"{count} {kind}" for kind, count in watched.parts.items())
        caption = f"watched, never used: {parts}"
    figure = curves(
        history,
        kept=kept,
        watched=() if watched is None else watched.rows,
        watched_caption=caption,
        kept_auroc=None if watched is None else watched.kept,
    )
    save(figure, path)


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG atomically, so that viewers never see half a picture during training."""
    write_atomically(path, png_of(figure, "figure"))


def _is_further(name: str) -> bool:
    return name not in (*LOSSES, *_ALONE, *_NOT_DRAWN)


def _is_score(name: str) -> bool:
    return name.rpartition("_")[2] in _SCORES


def _label(name: str) -> str:
    words = [word.upper() if word in _SCORES else word for word in name.split("_")]
    return _NAMES.get(name) or plain(" ".join(words), 18)


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
        label = f"final weights: {kept_auroc:.3f}"
        axes.plot(
            [kept], [kept_auroc], color=_INK, marker="D", markersize=6, fillstyle="none", linestyle="", label=label
        )
        low = min(low, kept_auroc)
    axes.set_ylim(max(-0.02, low - 0.05), 1.02)
    axes.set_ylabel("AUROC")
    axes.legend(frameon=False)


def _lines(  # one line per name, over the rows that contain it
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
    """Set a logarithmic axis that stays readable even if the values hardly change."""
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
