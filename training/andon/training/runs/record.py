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
from andon.export.preprocessing import PREPARATION
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.runtime.schema import FrameSpec, InputSpec, Weights
from andon.training.observers.epochs import Recorded
from andon.training.observers.options import Watched
from andon.training.recipe.recipe import Recipe, Row
from andon.training.runs.data_warnings import DataWarning, Suspect
from andon.training.runs.paths import MODEL, PICTURES, RUN, STATE, checkpoint, kept_epochs
from andon.training.runs.window_choice import WindowChoice

logger = logging.getLogger(__name__)


class RunRecord(Struct, frozen=True, kw_only=True):
    """Contents of ``run.json``."""

    recipe: str
    recipe_version: int
    andon: str
    """Version of andon that wrote the record."""
    settings: dict[str, Any]
    input: InputSpec
    preparation: int = 1
    """Version of the preparation that the weights were trained with (`preprocessing.PREPARATION`). 1 in older records."""
    split: Split
    fingerprint: str
    """Digest of keys and raw contents of the training parts."""
    lost: tuple[str, ...] = ()
    """Keys of parts that could not be used for training, because they are unreadable."""
    copies: tuple[str, ...] = ()
    """Keys of parts that are copies of another part. They are in no part of the split."""
    frame_size: tuple[int, int] | None = None
    """Height and width of the frames that were chosen with ``--frame-size``; None if not given."""
    other_sizes: tuple[str, ...] = ()
    """Keys of frames of another size. They are in no part of the split."""
    suspects: tuple[Suspect, ...] = ()
    """Training parts that look unlike all others, the oddest first."""
    warnings: tuple[DataWarning, ...] = ()
    """Warnings about the good parts."""
    contents: dict[str, str] = {}
    """Digest of each calibration part by key; empty for an unreadable part. Export compares them."""
    weights_sha256: str = ""
    """Digest of ``model.safetensors``; empty until training has finished."""
    pretrained: tuple[Weights, ...] | None = None
    """Pretrained weights in the model, as they were when training ended; None in a record of an older andon."""
    data: str = ""
    """The path as given; empty for data in memory."""
    window: WindowChoice | None = None
    """Length, hop and period of the windows that were chosen from the log, and why; None if the settings gave them."""
    sort: bool = False
    """True if the rows of the log were sorted by their times."""
    group: str | None = None
    calibration_share: float = CALIBRATION_SHARE
    """Share of the parts held back for calibration."""
    seed: int
    threads: int
    device: str
    versions: dict[str, str] = {}
    history: tuple[Row, ...] = ()
    watched: Watched | None = None
    picture_epochs: Recorded = None
    """Epochs after which pictures are drawn, as in `ObserveOptions`; None if not given."""
    animation_epochs: Recorded = None
    """Epochs whose snapshots are kept for animations, as in `ObserveOptions`; None if not given."""
    checkpoint_epochs: Recorded = None
    """Epochs whose weights are kept, as in `ObserveOptions`; None if not given."""
    finished: bool = False

    def readable(self, keys: Sequence[str]) -> int:
        """Return how many of these keys of the split belong to readable parts."""
        return len(set(keys) - set(self.lost))


def read_record(folder: Path) -> RunRecord:
    """Read the ``run.json`` of a run, finished or not.

    Raises:
        TrainingError: the file is missing or damaged.
    """
    path = folder / RUN
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except OSError as error:
        raise TrainingError(
            f"{folder}: expected a run folder written by andon train, found no {RUN} ({error.strerror})."
        ) from error
    except msgspec.DecodeError as error:
        raise TrainingError(
            f"{path}: expected the record of a run: {error}. Restore the file, or train again."
        ) from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json`` atomically."""
    write_atomically(folder / RUN, msgspec.json.format(msgspec.json.encode(record), indent=1))


def begin(folder: Path, record: RunRecord) -> None:
    """Write the record of a new run.

    First remove weights, state and pictures of an earlier run whose record is missing. They do not belong to the new run.
    """
    left = [folder / STATE, folder / MODEL, *(checkpoint(folder, epoch) for epoch in kept_epochs(folder))]
    left += (folder / PICTURES).glob("epoch_*.png")
    found = [path for path in left if path.exists()]
    for path in found:
        path.unlink()
    if found:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        logger.warning("%s: removed files of another training: %s", folder, names)
    write_record(folder, record)


def identity(record: RunRecord) -> dict[str, str]:
    """Return the values that must agree between a training and the state it resumes from, by readable name."""
    settings = json.dumps(record.settings, sort_keys=True)
    return {
        "data": record.fingerprint,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "seed": str(record.seed),
    }


def seal(record: RunRecord) -> str:
    """Return a digest of everything that determines a run's weights: recipe, settings, input, parts and seed.

    Each weights file stores this digest. So `load` detects weights of another run, and a record that was changed.
    """
    names = ["recipe", "recipe_version", "settings", "input", "split", "fingerprint", "contents", "seed"]
    if isinstance(record.input, FrameSpec):  # that of windows has only one version, and older runs of them still load
        names.append("preparation")
    trained_with = {name: msgspec.to_builtins(getattr(record, name)) for name in names}
    return hashlib.sha256(json.dumps(trained_with, sort_keys=True).encode()).hexdigest()


def check_recipe(record: RunRecord, known: Recipe, folder: Path) -> None:
    """Check that the folder was written by this version of the recipe and of the preparation, so that scores are the same.

    Raises:
        TrainingError: they differ. The message names the version of andon that wrote the folder.
    """
    # the same andon could not export it either: a plugin's recipe, or a checkout between two releases
    or_other_version = "" if record.andon == version("andon") else f", or export it with andon {record.andon}"
    if (record.recipe, record.recipe_version) != (known.name, known.version):
        raise TrainingError(
            f"{folder}: expected a run of {known.name} version {known.version}, got {record.recipe} version "
            f"{record.recipe_version}, written by andon {record.andon}. Train it again{or_other_version}."
        )
    if isinstance(record.input, FrameSpec) and record.preparation != PREPARATION:
        raise TrainingError(
            f"{folder}: expected weights trained on frames of preparation {PREPARATION}, got preparation {record.preparation}, "
            f"written by andon {record.andon}. This andon resizes frames in another way, so that scores would differ. Train it "
            f"again{or_other_version}."
        )


def read_settings(record: RunRecord, known: Recipe) -> Any:
    """Return the settings of a run as the recipe's own struct.

    Raises:
        TrainingError: the recorded settings do not fit the struct.
    """
    try:
        return msgspec.convert(record.settings, known.settings)
    except msgspec.ValidationError as error:
        raise TrainingError(f"settings of the run: expected settings of {known.name}: {error}. Train again.") from error
