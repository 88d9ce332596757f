"""Keep reconstructions, maps and generated parts of selected epochs during training. Animations are made from them.

They are stored as safetensors, so that an animation can be made later at any frame rate and size, and without pickle:

============================  ==========================================================================================
``parts.safetensors``         ``prepared``: the parts of all snapshots. Their captions are in the header.
``epoch_0010.safetensors``    `Snapshot` of an epoch. At most `MOST_SIDE` pixels a side, so at most 1.6 MB for 3 channels.
``kept.safetensors``          `Snapshot` of the final weights.
============================  ==========================================================================================
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from andon.export.pooling import Pool
from andon.export.preprocessing import Restore
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError, TrainingError
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.training.fitting.device import preserve_state
from andon.training.observers.epochs import TENTHS, Epochs
from andon.training.observers.reconstructions import RECONSTRUCTION, choose_parts
from andon.training.observers.watching import Labelled
from andon.training.recipe.recipe import TrainingData

logger = logging.getLogger(__name__)

USUAL = TENTHS
MOST_SIDE = 128
"""Largest side of a stored picture in pixels. Larger pictures are reduced."""
SAMPLES = 16
"""Number of parts to generate at each epoch, always from the same latent points."""
_PARTS, _KEPT, _HEADER = "parts.safetensors", "kept.safetensors", "andon"

Sampler = Callable[[nn.Module, int, Generator], Tensor]
"""``sampler(scorer, count, generator)`` returns prepared tensors ``[count, C, h, w]``: a recipe's ``sample`` with settings."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """Output of the scorer after one epoch, in raw units (grey levels or sensor units)."""

    epoch: int | None
    """Epoch of the weights; None for final weights whose epoch is unknown."""
    kept: bool
    """True for the final weights, False for the weights after an epoch."""
    reconstructions: NDArray[Any] | None
    """Grey levels ``[n, h, w, C]``, uint8, or windows in sensor units ``[n, T, C]``, float32."""
    maps: NDArray[np.float32] | None
    """Deciding maps: ``[n, h', w']``, or ``[n, T, C]``."""
    scores: NDArray[np.float32] | None
    """Scores of the parts, ``[n]``."""
    samples: NDArray[np.uint8] | None
    """Generated parts ``[SAMPLES, h, w, C]``."""


class SnapshotParts(Struct, frozen=True, kw_only=True):
    """The parts that all snapshots show."""

    originals: NDArray[Any]
    """Original parts, with shape and type of `Snapshot.reconstructions`."""
    captions: tuple[str, ...]


class EpochSnapshots:
    """Keeps snapshots of a running training. It does not change the scorer or the random generators."""

    def __init__(
        self,
        folder: Path,
        good: TrainingData,
        spec: InputSpec,
        score_rule: ScoreRule,
        *,
        device: torch.device,
        seed: int,
        epochs: Epochs | None = None,
        watched: Labelled | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """Create the observer.

        Args:
            folder: folder of the snapshots.
            good: good parts. The parts to show are taken from these and from `watched`.
            spec: input of the scorer.
            score_rule: determines which map is shown.
            device: device of the scorer.
            seed: seed of the latent points of generated parts.
            epochs: epochs to keep. Epoch 1 is added to periodic epochs. None means `USUAL`, and an empty set means none.
            watched: labelled parts, if some are watched.
            sampler: generates parts; None if the detector cannot.
        """
        self._folder = folder
        self._good = good
        self._spec = spec
        self._map_name = score_rule.map
        self._pool = Pool(score_rule, spec).to(device)
        self._restore = Restore(spec)
        self._device = device
        self._seed = seed
        self._epochs = USUAL if epochs is None else epochs.with_first()
        self._watched = watched
        self._sampler = sampler
        self._rebuilds = True
        self._parts: Tensor | None = None

    def continue_after(self, epoch: int) -> None:
        """Resume after an epoch; 0 starts a new run.

        Remove snapshots of later epochs. They belong to another training, or to one that was interrupted after `epoch`.
        """
        known = _read_parts(self._folder) if epoch else None
        if known is not None:
            # use the parts of the existing snapshots, even if other parts are watched now. They are cloned, because the
            # memory address of a file's bytes influences how sums are rounded
            self._parts = known[0].clone()
        for path in self._folder.glob("*.safetensors") if self._folder.is_dir() else ():
            if (_epoch_of(path) or epoch + 1) > epoch and not (epoch and path.name == _PARTS):
                path.unlink(missing_ok=True)

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Keep a snapshot, if this epoch is one of the selected epochs."""
        if epoch in self._epochs:
            self._keep(scorer, epoch, f"epoch_{epoch:04}.safetensors")

    def after_training(self, scorer: nn.Module, epoch: int | None) -> None:
        """Keep a snapshot of the final weights. `epoch` is the epoch they were taken from; None if unknown."""
        if self._epochs:
            self._keep(scorer, epoch, _KEPT)

    def _keep(self, scorer: nn.Module, epoch: int | None, name: str) -> None:
        tensors = self._rebuilt(scorer) if self._rebuilds else {}
        samples = self._generated(scorer)
        if samples is not None:
            tensors["samples"] = samples
        if not tensors:
            return
        if not all(bool(torch.isfinite(values).all()) for values in tensors.values()):
            logger.warning("%s: not kept, because reconstructed or generated values are not finite", name)
            return
        for panel in ("reconstructions", "samples"):
            if panel in tensors:
                tensors[panel] = self._kept(tensors[panel])
        _write(self._folder / name, tensors, {"epoch": epoch})

    def _rebuilt(self, scorer: nn.Module) -> dict[str, Tensor]:
        if self._parts is None:
            windows = isinstance(self._spec, WindowSpec)
            self._parts, captions = choose_parts(self._good, self._watched, windows=windows)
            _write(self._folder / _PARTS, {"prepared": self._parts}, {"captions": captions})
        with preserve_state(scorer):
            evidence = scorer(self._parts.to(self._device))
            if RECONSTRUCTION not in evidence.images:
                self._rebuilds = False  # this scorer never gives reconstructions
                (self._folder / _PARTS).unlink(missing_ok=True)
                return {}
            outputs = self._pool(evidence)
        tensors = {"reconstructions": evidence.images[RECONSTRUCTION].cpu(), "scores": outputs["score"].cpu()}
        maps = outputs.get("anomaly_map", evidence.maps.get(self._map_name or next(iter(evidence.maps), "")))
        if maps is not None:
            maps = maps.float().cpu()
            tensors["maps"] = maps if isinstance(self._spec, WindowSpec) else _reduced(maps[:, None])[:, 0]
        return tensors

    def _generated(self, scorer: nn.Module) -> Tensor | None:
        if self._sampler is None:
            return None
        try:
            with preserve_state(scorer):
                return self._sampler(scorer, SAMPLES, torch.Generator().manual_seed(self._seed)).float().cpu()
        except ConfigError as error:
            logger.info("snapshots contain no generated parts: %s", error)
            self._sampler = None
            return None

    def _kept(self, prepared: Tensor) -> Tensor:
        return _stored(self._restore(prepared.float()), self._spec)


def read_snapshot_parts(folder: Path, spec: InputSpec) -> SnapshotParts | None:
    """Return the parts that the snapshots show; None if the run has no reconstructions.

    Raises:
        TrainingError: the file is damaged.
    """
    known = _read_parts(folder)
    if known is None:
        return None
    return SnapshotParts(originals=_stored(Restore(spec)(known[0]), spec).numpy(), captions=tuple(known[1]))


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Return all snapshots by epoch, with the snapshot of the final weights last. Empty if nothing was kept.

    Raises:
        TrainingError: a file is damaged.
    """
    paths = list(folder.glob("epoch_*.safetensors")) if folder.is_dir() else []
    ordered = sorted((epoch, path) for path in paths if (epoch := _epoch_of(path)) is not None)
    kept = folder / _KEPT
    return [_snapshot(path) for _, path in ordered] + ([_snapshot(kept)] if kept.exists() else [])


def _snapshot(path: Path) -> Snapshot:
    tensors, header = _read(path)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return Snapshot(
        epoch=header.get("epoch"),
        kept=path.name == _KEPT,
        **{name: arrays.get(name) for name in ("reconstructions", "maps", "scores", "samples")},
    )


def _stored(raw: Tensor, spec: InputSpec) -> Tensor:
    """Return raw values as they are stored: frames as bytes ``[n, h, w, C]``, reduced; windows as float32."""
    if isinstance(spec, WindowSpec):
        return raw.float().contiguous()
    levels = _reduced(raw.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return levels.round().clamp(0, 255).to(torch.uint8).contiguous()


def _reduced(pictures: Tensor) -> Tensor:
    """Return pictures ``[n, C, h, w]`` reduced to sides of at most `MOST_SIDE`."""
    sides = pictures.shape[2:]
    if max(sides) <= MOST_SIDE:
        return pictures
    smaller = [max(1, math.floor(side * MOST_SIDE / max(sides))) for side in sides]
    return nn.functional.interpolate(pictures, size=smaller, mode="area")


def _epoch_of(path: Path) -> int | None:
    number = path.name.removeprefix("epoch_").removesuffix(".safetensors")
    return int(number) if number.isdecimal() else None


def _read_parts(folder: Path) -> tuple[Tensor, list[str]] | None:
    path = folder / _PARTS
    if not path.exists():
        return None
    tensors, header = _read(path)
    return tensors["prepared"], header["captions"]


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    from safetensors.torch import save

    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata={_HEADER: json.dumps(header)}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads((stored.metadata() or {})[_HEADER])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path}: expected a snapshot of a training: {error}. Delete the file, then train or resume."
        ) from error
