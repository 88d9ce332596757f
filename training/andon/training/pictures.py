"""Pictures of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from andon.runtime.errors import MissingExtra

_LOSSES = ("train", "validation")


def draw_losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Training and validation loss by epoch, with the learning rate below, as a PNG; nothing where there were no epochs.

    Raises:
        MissingExtra: no matplotlib.
    """
    if len(history) < 2:
        return
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtra("drawing the losses needs matplotlib: pip install 'andon[train]'") from error
    epochs = range(1, len(history) + 1)
    # Figure without pyplot: no global state, no window system
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    for name in _LOSSES:
        if all(name in row for row in history):
            losses.plot(epochs, [row[name] for row in history], label=name)
    best = min(range(len(history)), key=lambda place: history[place].get("validation", history[place]["train"]))
    losses.axvline(best + 1, color="0.6", linestyle=":", label=f"kept: epoch {best + 1}")
    if all(value > 0 for row in history for name, value in row.items() if name in _LOSSES):
        losses.set_yscale("log")
    losses.set_ylabel("loss")
    losses.legend(frameon=False)
    rates.step(epochs, [row.get("learning_rate", float("nan")) for row in history], where="mid", color="0.3")
    rates.set_yscale("log")
    rates.set_ylabel("rate")
    rates.set_xlabel("epoch")
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, rates):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
