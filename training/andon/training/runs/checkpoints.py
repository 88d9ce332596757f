"""Weights of chosen epochs, each ready to be exported as if the training had ended there.

``RUN/checkpoints/epoch_0010.safetensors``. What is looked at elsewhere is never chosen here: which epoch to export is a
setting like any other, and parts that helped to choose it report nothing any more.
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from andon.training.animation.epoch_snapshots import Epochs
from andon.training.fitting.device import device_of, drawn_apart
from andon.training.runs.run_folder import checkpoint, load_state, write_weights


class Checkpoints:
    """Keeps weights of a running training; nothing of scorer and random generators is changed by it."""

    def __init__(
        self,
        run: Path,
        build: Callable[[], nn.Module],
        finalize: Callable[[nn.Module], None],
        *,
        epochs: Epochs,
        sealed: str = "",
    ) -> None:
        """
        Args:
            run: the run folder.
            build: an untrained scorer like the one that learns.
            finalize: what follows once weights stay, in place.
            epochs: which; a number, each so many; a sequence, just these; None or empty, none.
            sealed: the run's `run_folder.seal`, kept in each file.
        """
        self._sealed = sealed
        self._run, self._build, self._finalize, self._epochs = run, build, finalize, epochs

    def look(self, scorer: nn.Module, epoch: int) -> None:
        """Keep, if this epoch is one of the chosen; epochs count from 1."""
        chosen = self._epochs or ()
        if not (epoch % chosen == 0 if isinstance(chosen, int) else epoch in chosen):
            return
        device = device_of(scorer)
        with drawn_apart(device):
            settled = self._build()  # as it will be loaded, so that it settles as it will be exported
            load_state(settled, scorer.state_dict(), where=f"epoch {epoch}")
            self._finalize(settled.to(device).eval())
        write_weights(checkpoint(self._run, epoch), settled, sealed=self._sealed)
