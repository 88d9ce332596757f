"""A run folder as Python has it: a finished training or one of its checkpoints, loaded and checked. `paths` lists its files."""

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
    """A finished training, or one of its checkpoints."""

    path: Path
    record: RunRecord
    recipe: Recipe
    settings: Any
    """Of the recipe's own type."""
    scorer: nn.Module
    """In eval mode, on the CPU."""
    epoch: int | None = None
    """Whose weights these are, if not those that stayed."""

    @property
    def spec(self) -> InputSpec:
        """What the scorer takes."""
        return self.record.input

    @property
    def split(self) -> Split:
        """Good parts by use."""
        return self.record.split


def load(path: Path | str, *, of: Recipe | None = None, epoch: int | None = None) -> LoadedRun:
    """Load a finished run, ready to be exported, or a checkpoint of any run.

    Args:
        path: the run folder.
        of: the recipe; None: the registered one of the name in the folder.
        epoch: whose weights; None: those that stayed.

    Raises:
        TrainingError: no run there, not finished, damaged, of another version of its recipe, or no checkpoint of that epoch.
    """
    folder = Path(path)
    record = read_record(folder)
    if epoch is not None and not checkpoint(folder, epoch).exists():
        kept = ", ".join(str(number) for number in kept_epochs(folder)) or "none; train with --checkpoint-epochs"
        raise TrainingError(f"{folder}: no checkpoint of epoch {epoch}. Kept: {kept}.")
    if epoch is None and not record.finished:
        raise TrainingError(
            f"{folder}: training has not finished; go on with: andon train {record.recipe} --data {record.data or 'DATA'} "
            f"--out {folder} --resume"
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
    """Refuse weights that are not those that the record is about. Records of an older andon hold no digests."""
    if kept and record.weights_sha256:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != record.weights_sha256:
            raise TrainingError(
                f"{path}: expected the weights with sha256 {record.weights_sha256[:12]} that {RUN} names, got "
                f"{digest[:12]}. Put back the file of this run, or train again."
            )
    if sealed != seal(record) and (sealed or record.contents):
        raise TrainingError(
            f"{path}: expected weights that were trained with the parts, settings and seed in {RUN}, got weights of another "
            f"run, or {RUN} was changed. Put back both files of one run, or train again."
        )
