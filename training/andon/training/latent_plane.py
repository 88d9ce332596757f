"""Where parts lie in a detector's latent space, as a plane: good parts, and labelled ones where some are watched."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.sources.picture_folder import GOOD
from andon.training.device import undisturbed
from andon.training.pictures import latent_plane, save
from andon.training.recipe import Good
from andon.training.watching import Labelled

LATENT = "latent"
"""Name of the table of evidence that is drawn; scorers that give none have no such picture."""
MOST_PARTS = 500
_BATCH = 64


def draw(scorer: nn.Module, good: Good, watched: Labelled | None, path: Path, *, device: torch.device) -> bool:
    """Write the picture; False, and nothing, where the scorer has no latent numbers.

    Args:
        scorer: left as it was.
        good: its validation part (the training part where there is none) is drawn; it sets the axes too.
        watched: drawn beside, each kind by itself.
        path: of the PNG.
        device: where the scorer is.
    """
    part = good.validation if len(good.validation) else good.train
    places = np.linspace(0, len(part) - 1, min(MOST_PARTS, len(part))).round().astype(int).tolist()
    points = _latent(scorer, part.take(places), device)
    if points is None or len(points) < 2:
        return False
    if not np.isfinite(points).all():
        return False
    clouds = {f"{GOOD} ({'validation' if part is good.validation else 'training'})": points}
    if watched is not None:
        of_watched = _latent(scorer, watched.prepared, device)
        assert of_watched is not None
        kinds = np.array(watched.kinds)
        clouds |= {f"{kind} (watched)": of_watched[kinds == kind] for kind in watched.counts}
    save(latent_plane(clouds), path)
    return True


def _latent(scorer: nn.Module, prepared: Tensor, device: torch.device) -> NDArray[np.float32] | None:
    """``[n, k]``."""
    pieces = []
    with undisturbed(scorer):
        for batch in torch.split(prepared, _BATCH):
            tables = scorer(batch.to(device)).tables
            if LATENT not in tables:
                return None
            pieces.append(tables[LATENT].cpu())
    points: NDArray[np.float32] = torch.cat(pieces).numpy()
    return points
