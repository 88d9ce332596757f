"""Keep the weights of selected epochs. Each checkpoint can be exported as if the training had ended there.

The files are ``RUN/checkpoints/epoch_0010.safetensors`` and so on. The user chooses the epoch to export, like any other
setting. Parts that were used for this choice cannot be used to report results.
"""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from andon.training.fitting.device import device_of, preserve_rng
from andon.training.observers.epochs import NONE, Epochs
from andon.training.runs.paths import checkpoint
from andon.training.runs.weights import load_state, write_weights

USUAL = NONE


class Checkpoints:
    """Keeps weights of a running training. It does not change the scorer or the random generators."""

    def __init__(
        self,
        run: Path,
        build: Callable[[], nn.Module],
        finalize: Callable[[nn.Module], None],
        *,
        epochs: Epochs | None = None,
        sealed: str = "",
    ) -> None:
        """Create the observer.

        Args:
            run: the run folder.
            build: returns an untrained scorer like the one in training.
            finalize: completes a scorer whose weights are final, in place.
            epochs: epochs to keep. None: `USUAL`.
            sealed: the run's `record.seal`, stored in each file.
        """
        self._run, self._build, self._finalize = run, build, finalize
        self._epochs = USUAL if epochs is None else epochs
        self._sealed = sealed

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Keep the weights, if this epoch is one of the selected epochs."""
        if epoch not in self._epochs:
            return
        device = device_of(scorer)
        with preserve_rng(device):
            final = self._build()  # `load` builds it in the same way, so it is finalized as it will be exported
            load_state(final, scorer.state_dict(), where=f"epoch {epoch}")
            self._finalize(final.to(device).eval())
        write_weights(checkpoint(self._run, epoch), final, sealed=self._sealed)
