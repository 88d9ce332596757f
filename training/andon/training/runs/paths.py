"""Names and paths of the files in a run folder.

The folder of epoch snapshots is still named ``reel``, because older runs use that name.

======================  ================================================================================================
``run.json``            recipe, settings, input, split by key, fingerprint, seed, versions, history (`record.RunRecord`).
``model.safetensors``   parameters and buffers of the scorer, written when training has finished (`weights`).
``state.safetensors``   state to resume from, kept until training has finished (`fit_state`).
``checkpoints/``        the scorer after selected epochs, each ready to be exported (`observers.checkpoints`).
``pictures/``           training curves, and reconstructions after selected epochs.
``reel/``               data for animations, by epoch (`observers.epoch_snapshots`).
======================  ================================================================================================
"""

from pathlib import Path

RUN, MODEL, STATE = "run.json", "model.safetensors", "state.safetensors"
PICTURES, CHECKPOINTS, SNAPSHOTS = "pictures", "checkpoints", "reel"


def checkpoint(folder: Path, epoch: int) -> Path:
    """Return the path of the checkpoint of an epoch."""
    return folder / CHECKPOINTS / f"epoch_{epoch:04}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """Return the epochs that a run has checkpoints for, in ascending order."""
    names = (path.stem.removeprefix("epoch_") for path in (folder / CHECKPOINTS).glob("epoch_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())
