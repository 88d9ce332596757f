"""Options for the observers of a training, and the record of watched parts in ``run.json``."""

from pathlib import Path

from msgspec import Struct

from andon.training.observers.epochs import Epochs
from andon.training.recipe.recipe import Row


class ObserveOptions(Struct, frozen=True, kw_only=True):
    """Options for the observers. They never change the weights. In a resumed run, None means the recorded option."""

    watch: str | Path | None = None
    """Labelled parts whose AUROC is drawn by epoch (`watching`). None: no parts."""
    watch_every: int | None = None
    """Watch the first epoch and each multiple of this. None: as often as a tenth of the training time allows."""
    picture_epochs: Epochs | None = None
    """Epochs after which to draw reconstructions (`reconstructions`).

    None: 1, 3, 10, 30 and so on. Empty: draw only the training curves. Detectors without reconstructions have no such pictures.
    """
    animation_epochs: Epochs | None = None
    """Epochs that `animate` can show (`epoch_snapshots`).

    Epoch 1 is added to periodic epochs. None: each epoch up to 20, each 2nd up to 50, each 5th up to 100, and so on.
    """
    checkpoint_epochs: Epochs | None = None
    """Epochs whose weights are kept for export (`checkpoints`).

    None: no epochs. Detectors that do not train in epochs keep none.
    """


class Watched(Struct, frozen=True, kw_only=True):
    """The record of labelled parts that were only watched. No fit, schedule or choice of weights uses them."""

    path: str
    """Path of the parts, as given."""
    parts: dict[str, int]
    """Number of parts by kind, ``good`` first."""
    every: int | None = None
    """Value of `ObserveOptions.watch_every`."""
    rows: tuple[Row, ...] = ()
    """A row ``epoch, auroc, seconds`` for each watched epoch. The AUROC is over these parts."""
    kept: float | None = None
    """AUROC of the final weights."""
