"""The files of a run folder. The folder of snapshots keeps the name ``reel`` that older runs have.

======================  ================================================================================================
``run.json``            `record.RunRecord`: recipe, settings, input, split by key, fingerprint, seed, versions, history
``model.safetensors``   the scorer's parameters and buffers, once training has finished (`weights`)
``state.safetensors``   until then: what an interrupted training continues from (`fit_state`)
``checkpoints/``        the scorer after chosen epochs, each ready to be exported (`observers.checkpoints`)
``pictures/``           curves, and what was rebuilt after chosen epochs
``reel/``               what animations are made from, by epoch (`observers.epoch_snapshots`)
======================  ================================================================================================
"""

from pathlib import Path

RUN, MODEL, STATE = "run.json", "model.safetensors", "state.safetensors"
PICTURES, CHECKPOINTS, SNAPSHOTS = "pictures", "checkpoints", "reel"


def checkpoint(folder: Path, epoch: int) -> Path:
    """Return where a run keeps the weights of an epoch."""
    return folder / CHECKPOINTS / f"epoch_{epoch:04}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """Return the epochs that a run has checkpoints of."""
    names = (path.stem.removeprefix("epoch_") for path in (folder / CHECKPOINTS).glob("epoch_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())
