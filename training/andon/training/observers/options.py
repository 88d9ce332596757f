"""What to observe of a training, as Python and the command line ask for it, and what is recorded of labelled parts."""

from pathlib import Path

from msgspec import Struct

from andon.training.observers.epochs import Epochs
from andon.training.recipe.recipe import Row


class ObserveOptions(Struct, frozen=True, kw_only=True):
    """What to observe. No observer changes the weights. None: not given; a resumed run then observes what it did before."""

    watch: str | Path | None = None
    """Labelled parts whose AUROC is drawn by epoch (`watching`); None: no parts."""
    watch_every: int | None = None
    """Watch the first epoch and each multiple of this; None: as often as a tenth of the training time allows."""
    picture_epochs: Epochs | None = None
    """When to draw what is rebuilt (`reconstructions`); None: after 1, 3, 10, 30, ... epochs. Empty: no pictures at all but
    the curves. Detectors that do not rebuild have no such pictures."""
    animation_epochs: Epochs | None = None
    """Which epochs `animate` can show (`epoch_snapshots`), periodic ones with the first; None: each up to 20, each second up
    to 50, each fifth up to 100, and so on."""
    checkpoint_epochs: Epochs | None = None
    """Which epochs to keep exportable weights of (`checkpoints`); None: no epochs. Detectors without epochs keep none."""


class Watched(Struct, frozen=True, kw_only=True):
    """What is recorded of labelled parts that were only watched: no fit, no schedule and no choice of weights uses them."""

    path: str
    """As given."""
    parts: dict[str, int]
    """How many of each kind, ``good`` first."""
    every: int | None = None
    """As `ObserveOptions.watch_every`."""
    rows: tuple[Row, ...] = ()
    """``epoch, auroc, seconds``: AUROC over these parts after some of the epochs."""
    kept: float | None = None
    """AUROC of the weights that were kept."""
