"""Draw the scores of training parts and of other parts, with the final weights. Large differences show overfitting."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.drawing.labels import short
from andon.drawing.style import BLUE, GREEN, SKY, VERMILION, new_figure, tidy
from andon.evaluation.figures.score_arrays import score_range, smoothed
from andon.evaluation.report.page import counted
from andon.export.pooling import Pool
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.training.fitting.device import preserve_state
from andon.training.observers.curves import save
from andon.training.observers.watching import Labelled
from andon.training.recipe.recipe import Part, TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PARTS = 200
"""Largest number of parts of each kind."""
_BATCH = 8
# colours of Okabe and Ito, which colour-blind people can distinguish; the dashes work without colour
_STYLES = {
    "good, training": (BLUE, "-"),
    "good, validation": (GREEN, "--"),
    "good, watched": (SKY, "-."),
    "defective, watched": (VERMILION, ":"),
}

Floats = NDArray[np.float64]


def draw(
    scorer: nn.Module,
    good: TrainingData,
    watched: Labelled | None,
    path: Path,
    *,
    spec: InputSpec,
    score_rule: ScoreRule,
    device: torch.device,
) -> bool:
    """Write the picture and return True. If there is only one kind of parts or a score is not finite, only return False.

    Args:
        scorer: the scorer. Its state does not change.
        good: its training and validation parts are drawn, evenly spaced, at most `MOST_PARTS` of each.
        watched: labelled parts to draw too, if any.
        path: path of the PNG.
        spec: input of the scorer.
        score_rule: how evidence becomes the score.
        device: device of the scorer.
    """
    pool = Pool(score_rule, spec).to(device)
    parts = [_some(good.train), _some(good.validation) if len(good.validation) else torch.empty(0)]
    if watched is not None:
        bad = torch.from_numpy(watched.defective)
        parts += [watched.prepared[~bad], watched.prepared[bad]]
    with preserve_state(scorer):
        scores = {
            name: _scores(scorer, pool, prepared, device)
            for name, prepared in zip(_STYLES, parts, strict=False)
            if len(prepared)
        }
    if len(scores) < 2 or not all(np.isfinite(values).all() for values in scores.values()):
        return False
    save(score_histogram(scores, unit="window" if isinstance(spec, WindowSpec) else "part"), path)
    return True


def score_histogram(scores: Mapping[str, Floats], *, unit: str) -> "Figure":
    """Draw a histogram with area 1 for each kind of parts, and a smoothed curve if there are enough scores.

    Args:
        scores: scores by kind. The kinds are the keys of `_STYLES`.
        unit: singular of what is counted: "part" or "window".

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    range_ = score_range(np.concatenate(list(scores.values())), np.nan)
    move = np.log10 if range_.log else np.asarray
    low, high = float(move(range_.low)), float(move(range_.high))
    edges, grid = np.linspace(low, high, 41), np.linspace(low, high, 400)
    figure: Figure = new_figure(9.0, 3.8)
    axes = figure.subplots()
    tidy(axes)
    for name, values in scores.items():
        colour, line = _STYLES[name]
        moved = move(np.clip(values, range_.low, range_.high))
        heights, _ = np.histogram(moved, edges, density=True)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.15)
        curve = smoothed(moved, grid)
        if curve is None:
            axes.stairs(heights, edges, color=colour, ls=line)
        else:
            axes.plot(grid, curve, color=colour, ls=line, lw=2)
        axes.plot([], [], color=colour, ls=line, lw=2, label=f"{short(name)}: {counted(len(values), unit)}")
    if range_.log:
        powers = np.arange(np.ceil(low), np.floor(high) + 1)
        places = powers if len(powers) > 1 else np.linspace(low, high, 5)
        axes.set_xticks(places, [f"{10.0**place:.3g}" for place in places])
    axes.set(xlim=(low, high), ylim=(0, None), ylabel="density (each: area 1)")
    axes.set_xlabel(
        "score" + (", logarithmic scale" if range_.log else "") + (f"; {range_.clipped}" * bool(range_.clipped))
    )
    axes.set_title("Scores of the final weights; export sets the threshold on other parts", fontsize=10)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def _some(part: Part) -> Tensor:
    return part.take(np.linspace(0, len(part) - 1, min(MOST_PARTS, len(part))).round().astype(int).tolist())


def _scores(scorer: nn.Module, pool: Pool, prepared: Tensor, device: torch.device) -> Floats:
    pieces = [pool(scorer(batch.to(device)))["score"].cpu() for batch in torch.split(prepared, _BATCH)]
    scores: Floats = torch.cat(pieces).double().numpy()
    return scores
