"""New good parts from a run: what ``andon sample`` does, for detectors that generate; and what a memory holds, as pictures."""

from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from andon.export.preprocessing import Restore
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec
from andon.training.recipe.recipe import detectors, recipe
from andon.training.runs.run_folder import LoadedRun, load

BATCH = 256
MOST = 100_000
"""Parts that are generated at once, at most."""


class Held(Struct, frozen=True, kw_only=True):
    """What a memory holds, most used first."""

    items: NDArray[np.int64]
    """``[M]``: the place of each in the evidence ``memory_items``."""
    pictures: NDArray[np.uint8]
    """``[M, h, w, C]``: what each alone decodes to."""
    shares: NDArray[np.float32]
    """``[M]``: of what training parts read; their sum is 1."""


def sample(run: LoadedRun | Path | str, count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Generate new good parts. No model file can: it only judges.

    Args:
        run: a finished run, or its folder.
        count: how many, 1 to 100 000.
        seed: the same seed gives the same parts; the first of them whatever the count.

    Returns:
        uint8 ``[count, h, w, C]``, of the size that the network sees.

    Raises:
        TrainingError: no finished run there.
        ConfigError: its detector generates none, or not with these settings; a count out of bounds.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    if not 1 <= count <= MOST:
        raise ConfigError(f"--count: expected 1 to {MOST}, got {count}.")
    make = loaded.recipe.sample
    if make is None:
        able = [name for name in detectors() if recipe(name).sample is not None]
        raise ConfigError(
            f"{loaded.recipe.name} only judges, it generates no parts. Detectors that do: {', '.join(able)}."
        )
    pieces = []
    with torch.no_grad():
        scorer = loaded.scorer.eval()
        for begin in range(0, count, BATCH):
            # whole batches, each of its own seed: parts do not depend on how many are asked for
            generator = torch.Generator().manual_seed(1_000_003 * seed + begin)
            pieces.append(_grey_levels(make(scorer, loaded.settings, BATCH, generator), loaded))
    return np.concatenate(pieces)[:count]


def held(run: LoadedRun | Path | str) -> Held:
    """What each item of a memory decodes to.

    Raises:
        TrainingError: no finished run there.
        ConfigError: its detector has no memory of prototypes, or this run went without.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    show = loaded.recipe.prototypes
    if show is None:
        able = [name for name in detectors() if recipe(name).prototypes is not None]
        raise ConfigError(f"{loaded.recipe.name} has no memory of prototypes. Detectors that do: {', '.join(able)}.")
    with torch.no_grad():
        prepared, usage = show(loaded.scorer.eval(), loaded.settings)
    order = usage.argsort(descending=True, stable=True)
    return Held(
        items=order.numpy(), pictures=_grey_levels(prepared[order], loaded), shares=usage[order].float().numpy()
    )


def _grey_levels(prepared: torch.Tensor, run: LoadedRun) -> NDArray[np.uint8]:
    if not isinstance(run.spec, FrameSpec):
        raise ConfigError(f"{run.recipe.name} judges windows of logs; only pictures are written as samples.")
    levels: NDArray[np.uint8] = Restore(run.spec)(prepared.float().cpu()).round().to(torch.uint8).numpy()
    return levels
