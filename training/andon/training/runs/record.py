"""The record of a run, ``run.json``: data, settings, seed, versions and history."""

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from andon.calibration.split import CALIBRATION_SHARE, Split
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.runtime.schema import InputSpec, Weights
from andon.training.observers.epochs import Recorded
from andon.training.observers.options import Watched
from andon.training.recipe.recipe import Recipe, Row
from andon.training.runs.paths import MODEL, PICTURES, RUN, STATE, checkpoint, kept_epochs

logger = logging.getLogger(__name__)


class RunRecord(Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds."""

    recipe: str
    recipe_version: int
    andon: str
    """The version that wrote it."""
    settings: dict[str, Any]
    input: InputSpec
    split: Split
    fingerprint: str
    """Digest over keys and raw contents of the parts that were learnt from."""
    lost: tuple[str, ...] = ()
    """Keys of parts that could not be learnt from."""
    copies: tuple[str, ...] = ()
    """Keys of parts that repeat another one, and are in no part of the split."""
    contents: dict[str, str] = {}
    """Digest of each calibration part by key; empty for one that was lost. Export compares them."""
    weights_sha256: str = ""
    """Digest of ``model.safetensors``, once training has finished."""
    pretrained: tuple[Weights, ...] | None = None
    """Pretrained weights within, as they were when training ended; None in a record of an older andon."""
    data: str = ""
    """The path as given; empty for data in memory."""
    group: str | None = None
    calibration_share: float = CALIBRATION_SHARE
    """Of the parts, held back for calibration."""
    seed: int
    threads: int
    device: str
    versions: dict[str, str] = {}
    history: tuple[Row, ...] = ()
    watched: Watched | None = None
    picture_epochs: Recorded = None
    """Epochs after which pictures are drawn; this and the next two as `ObserveOptions` has them, None: not given."""
    animation_epochs: Recorded = None
    """Epochs that are kept for animations."""
    checkpoint_epochs: Recorded = None
    """Epochs whose weights are kept."""
    finished: bool = False

    def readable(self, keys: Sequence[str]) -> int:
        """Count the parts among these keys of the split that could be read, and so were trained or validated on."""
        return len(set(keys) - set(self.lost))


def read_record(folder: Path) -> RunRecord:
    """Read the ``run.json`` of a run, finished or not.

    Raises:
        TrainingError: there is none, or it is damaged.
    """
    path = folder / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except OSError as error:
        raise TrainingError(
            f"{folder}: expected a run folder as andon train writes it, found no {RUN} ({error.strerror})."
        ) from error
    except msgspec.DecodeError as error:
        raise TrainingError(f"{path}: expected the record of a run: {error}") from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, whole or not at all."""
    write_atomically(folder / RUN, msgspec.json.format(msgspec.json.encode(record), indent=1))


def begin(folder: Path, record: RunRecord) -> None:
    """Write the record of a new run, after removing what a run whose record is gone has left: none of it is this one's."""
    left = [folder / STATE, folder / MODEL, *(checkpoint(folder, epoch) for epoch in kept_epochs(folder))]
    left += (folder / PICTURES).glob("epoch_*.png")
    found = [path for path in left if path.exists()]
    for path in found:
        path.unlink()
    if found:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        logger.warning("%s: removed what another training left: %s", folder, names)
    write_record(folder, record)


def identity(record: RunRecord) -> dict[str, str]:
    """Return what must be the same in a training and in the state that it continues from, by name for people."""
    settings = json.dumps(record.settings, sort_keys=True)
    return {
        "data": record.fingerprint,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "seed": str(record.seed),
    }


def seal(record: RunRecord) -> str:
    """Return a digest over what a run's weights were trained with: recipe, settings, input, parts and seed.

    Each file of weights holds it, so that weights of another run, or a record with other parts, are noticed.
    """
    names = ("recipe", "recipe_version", "settings", "input", "split", "fingerprint", "contents", "seed")
    trained_with = {name: msgspec.to_builtins(getattr(record, name)) for name in names}
    return hashlib.sha256(json.dumps(trained_with, sort_keys=True).encode()).hexdigest()


def check_recipe(record: RunRecord, known: Recipe, folder: Path) -> None:
    """Check that this andon's recipe would score as the one that wrote the folder.

    Raises:
        TrainingError: it would not; the andon that wrote it is named.
    """
    if (record.recipe, record.recipe_version) != (known.name, known.version):
        # the same andon would not export it either: a plugin's recipe, or a checkout between two releases
        by_its_own = "" if record.andon == version("andon") else f", or export it with andon {record.andon}"
        raise TrainingError(
            f"{folder}: written by {record.recipe} version {record.recipe_version} of andon {record.andon}, while this "
            f"andon has {known.name} version {known.version}. Train it again{by_its_own}."
        )


def read_settings(record: RunRecord, known: Recipe) -> Any:
    """Return the settings of a run as the recipe's own struct.

    Raises:
        TrainingError: they do not fit.
    """
    try:
        return msgspec.convert(record.settings, known.settings)
    except msgspec.ValidationError as error:
        raise TrainingError(f"settings of the run do not fit {known.name}: {error}") from error
