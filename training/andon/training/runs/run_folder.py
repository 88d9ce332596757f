"""Load and check a finished training, or one of its checkpoints, from a run folder. `paths` lists the files of the folder."""

import hashlib
from pathlib import Path
from typing import Any

from msgspec import Struct
from torch import nn

from andon.calibration.split import Split
from andon.foundation.errors import TrainingError
from andon.runtime.schema import InputSpec
from andon.training.recipe.recipe import Recipe, recipe
from andon.training.runs.paths import MODEL, RUN, checkpoint, kept_epochs
from andon.training.runs.record import RunRecord, check_recipe, read_record, read_settings, seal
from andon.training.runs.weights import HEADER, check_judges, load_state, read_tensors


class LoadedRun(Struct, frozen=True, kw_only=True):
    """A finished training or one of its checkpoints, in memory."""

    path: Path
    record: RunRecord
    recipe: Recipe
    settings: Any
    """Settings, as the recipe's own struct."""
    scorer: nn.Module
    """Scorer in eval mode, on the CPU."""
    epoch: int | None = None
    """Epoch of the checkpoint; None for the final weights of the training."""

    @property
    def spec(self) -> InputSpec:
        """Input of the scorer."""
        return self.record.input

    @property
    def split(self) -> Split:
        """Keys of the good parts by use: training, validation, calibration."""
        return self.record.split


def load(path: Path | str, *, of: Recipe | None = None, epoch: int | None = None) -> LoadedRun:
    """Load a finished run, or a checkpoint of a run that need not be finished. The result is ready to be exported.

    Args:
        path: the run folder.
        of: the recipe. None: the registered recipe whose name the run records.
        epoch: epoch of the checkpoint to load. None: the final weights.

    Raises:
        TrainingError: there is no run, or it is not finished, damaged, or of another version of its recipe. Also raised if
            there is no checkpoint of `epoch`.
    """
    folder = Path(path)
    record = read_record(folder)
    if epoch is not None and not checkpoint(folder, epoch).exists():
        kept = ", ".join(str(number) for number in kept_epochs(folder)) or "none. Train with --checkpoint-epochs"
        raise TrainingError(f"{folder}: found no checkpoint of epoch {epoch}. Kept epochs: {kept}.")
    if epoch is None and not record.finished:
        raise TrainingError(
            f"{folder}: training has not finished. Resume it with: andon train {record.recipe} --data "
            f"{record.data or 'DATA'} --out {folder} --resume"
        )
    known = of or recipe(record.recipe)
    check_recipe(record, known, folder)
    settings = read_settings(record, known)
    scorer = known.build(settings, record.input)
    weights = folder / MODEL if epoch is None else checkpoint(folder, epoch)
    tensors, header = read_tensors(weights)
    _check_weights(weights, record, header.get(HEADER, ""), kept=epoch is None)
    load_state(scorer, tensors, where=str(weights))
    check_judges(scorer.eval(), record.input, where=str(weights))
    return LoadedRun(path=folder, record=record, recipe=known, settings=settings, scorer=scorer, epoch=epoch)


def _check_weights(path: Path, record: RunRecord, sealed: str, *, kept: bool) -> None:
    """Refuse weights that do not belong to the record. Records of an older andon hold no digests to compare."""
    if kept and record.weights_sha256:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != record.weights_sha256:
            raise TrainingError(
                f"{path}: expected weights with sha256 {record.weights_sha256[:12]} as recorded in {RUN}, got "
                f"{digest[:12]}. Restore the file of this run, or train again."
            )
    if sealed != seal(record) and (sealed or record.contents):
        raise TrainingError(
            f"{path}: expected weights that were trained with the parts, settings and seed in {RUN}, got weights of another "
            f"run, or {RUN} was changed. Restore both files of one run, or train again."
        )
