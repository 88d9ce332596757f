"""Draw the latent space of a detector as a plane, with good parts and, if some are watched, labelled parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.drawing.labels import plain
from andon.drawing.style import BLUE, DPI, GREEN, ORANGE, PURPLE, SKY, VERMILION, new_figure
from andon.evaluation.report.plots.latent_plane import axes_of
from andon.sources.pictures.folder import GOOD
from andon.training.fitting.device import preserve_state
from andon.training.observers.curves import save
from andon.training.observers.watching import Labelled
from andon.training.recipe.recipe import TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENT = "latent"
"""Name of the evidence table that is drawn. Scorers without it get no such picture."""
MOST_PARTS = 500
_BATCH = 8
_COLORS = (BLUE, GREEN, VERMILION, PURPLE, ORANGE, SKY, "#333333")
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*", "h", "p", "d", "8")


def draw(scorer: nn.Module, good: TrainingData, watched: Labelled | None, path: Path, *, device: torch.device) -> bool:
    """Write the picture and return True. If the scorer has no (finite) latent values, only return False.

    Args:
        scorer: the scorer. Its state does not change.
        good: its validation parts, or its training parts if there are none, are drawn. They also set the axes.
        watched: labelled parts to draw too, if any. Each kind has its own marker.
        path: path of the PNG.
        device: device of the scorer.
    """
    part = good.validation if len(good.validation) else good.train
    # one part shows it: many large frames through a scorer without latent values would take gigabytes
    if not _has_latent(scorer, part.take([0]), device):
        return False
    places = np.linspace(0, len(part) - 1, min(MOST_PARTS, len(part))).round().astype(int).tolist()
    points = _latent(scorer, part.take(places), device)
    if len(points) < 2 or not np.isfinite(points).all():
        return False
    clouds = {f"{GOOD} ({'validation' if part is good.validation else 'training'})": points}
    if watched is not None:
        of_watched = _latent(scorer, watched.prepared, device)
        kinds = np.array(watched.kinds)
        clouds |= {f"{kind} (watched)": of_watched[kinds == kind] for kind in watched.counts}
    save(latent_plane(clouds), path)
    return True


def _has_latent(scorer: nn.Module, prepared: Tensor, device: torch.device) -> bool:
    with preserve_state(scorer):
        return LATENT in scorer(prepared.to(device)).tables


def _latent(scorer: nn.Module, prepared: Tensor, device: torch.device) -> NDArray[np.float32]:
    """Return the latent values ``[n, k]``."""
    with preserve_state(scorer):
        pieces = [scorer(batch.to(device)).tables[LATENT].cpu() for batch in torch.split(prepared, _BATCH)]
    points: NDArray[np.float32] = torch.cat(pieces).numpy()
    return points


def latent_plane(clouds: Mapping[str, NDArray[np.float32]]) -> "Figure":
    """Draw named clouds of points ``[n, k]`` in a plane. The first cloud is of good parts.

    With two latent dimensions the axes are these two. With more they are the first principal axes of the first cloud.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    first = next(iter(clouds.values()))
    center, directions, labels = axes_of(first.astype(np.float64))
    figure: Figure = new_figure(7.5, 6.0, dpi=DPI)
    axes = figure.subplots()
    for place, (name, cloud) in enumerate(clouds.items()):
        flat = (cloud - center) @ directions.T
        color, marker = _COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)]
        axes.scatter(
            flat[:, 0], flat[:, 1], s=26, marker=marker, alpha=0.75, label=plain(f"{name}: {len(cloud)}", 40),
            facecolors=color if place == 0 else "none", edgecolors=color, linewidths=0.9,
        )  # fmt: skip
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure
