"""Generate new good parts from a run (``andon sample``), and decode the items of its memory to pictures."""

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
"""Largest number of parts per call."""


class Held(Struct, frozen=True, kw_only=True):
    """The items of a memory, most used first."""

    items: NDArray[np.int64]
    """``[M]``: index of each item in the evidence ``memory_items``."""
    pictures: NDArray[np.uint8]
    """``[M, h, w, C]``: the picture that each item alone decodes to."""
    shares: NDArray[np.float32]
    """``[M]``: share of each item in the read-outs of training parts; the sum is 1."""


def sample(run: LoadedRun | Path | str, count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Generate new good parts. A run is needed, because a model file can only judge.

    Args:
        run: a finished run, or its folder.
        count: number of parts, 1 to 100 000.
        seed: seed of the parts. A larger count with the same seed starts with the same parts.

    Returns:
        uint8 ``[count, h, w, C]``, of the size that the network sees.

    Raises:
        TrainingError: the folder contains no finished run.
        ConfigError: the detector cannot generate parts with these settings, or the count is out of bounds.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    if not 1 <= count <= MOST:
        raise ConfigError(f"--count: expected 1 to {MOST}, got {count}.")
    make = loaded.recipe.sample
    if make is None:
        capable = [name for name in detectors() if recipe(name).sample is not None]
        raise ConfigError(
            f"{loaded.recipe.name} only judges, it generates no parts. Detectors that generate: {', '.join(capable)}."
        )
    pieces = []
    with torch.no_grad():
        scorer = loaded.scorer.eval()
        for begin in range(0, count, BATCH):
            # full batches with one seed each: the parts do not depend on the count
            generator = torch.Generator().manual_seed(1_000_003 * seed + begin)
            pieces.append(_grey_levels(make(scorer, loaded.settings, BATCH, generator), loaded))
    return np.concatenate(pieces)[:count]


def held(run: LoadedRun | Path | str) -> Held:
    """Return the picture, share of use and index of each item of a memory.

    Raises:
        TrainingError: the folder contains no finished run.
        ConfigError: the detector has no memory of prototypes, or this run was trained without it.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    show = loaded.recipe.prototypes
    if show is None:
        capable = [name for name in detectors() if recipe(name).prototypes is not None]
        raise ConfigError(
            f"{loaded.recipe.name} has no memory of prototypes. Detectors with a memory: {', '.join(capable)}."
        )
    with torch.no_grad():
        prepared, usage = show(loaded.scorer.eval(), loaded.settings)
    order = usage.argsort(descending=True, stable=True)
    return Held(
        items=order.numpy(), pictures=_grey_levels(prepared[order], loaded), shares=usage[order].float().numpy()
    )


def _grey_levels(prepared: torch.Tensor, run: LoadedRun) -> NDArray[np.uint8]:
    if not isinstance(run.spec, FrameSpec):
        raise ConfigError(f"{run.recipe.name} judges windows of logs. Samples are written as pictures only.")
    levels: NDArray[np.uint8] = Restore(run.spec)(prepared.float().cpu()).round().to(torch.uint8).numpy()
    return levels
