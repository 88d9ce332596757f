"""The `FitContext` of a fit that leaves its state in a folder, so that an interrupted training can continue from the last epoch.

Scalars and history stand in the header of ``state.safetensors``, so that one rename replaces all of it and no kill can leave
halves that do not fit.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.foundation.progress import Progress
from andon.training.recipe.recipe import Row, State
from andon.training.runs.paths import RUN, STATE
from andon.training.runs.weights import HEADER, load_state, packed, read_tensors

_SCORER, _FIT = "scorer.", "fit."


class EpochObserver(Protocol):
    """What a fit's epochs are shown to: `observers.observers.Observers`."""

    rows: list[Row]
    """Kept with the state, never seen by a fit."""

    def continue_after(self, history: Sequence[Row], rows: Sequence[Row]) -> None:
        """Continue a run, or begin one."""

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Observe a scorer."""


class FolderContext:
    """The `FitContext` of a fit that leaves its state in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        device: torch.device,
        progress: Progress,
        observers: EpochObserver | None = None,
        of: Mapping[str, str] | None = None,
    ) -> None:
        """With `of`, the `record.identity` of the training, states of other trainings are refused."""
        self.seed = seed
        self.device = device
        self.progress = progress
        self.resumed: State | None = None
        """What the fit kept, once `resume` has found something."""
        self.history: list[Row] = []
        self._observers = observers
        self._of = dict(of or {})
        self._path = folder / STATE

    def resume(self, scorer: nn.Module) -> bool:
        """Load what the last whole epoch left, the scorer's weights with it; False where there is nothing.

        Raises:
            TrainingError: it is damaged, of another detector, or of a training on other data, settings or seed.
        """
        if not self._path.exists():
            return False
        tensors, header = read_tensors(self._path)
        stored = json.loads(header[HEADER])
        kept = stored.get("of", {})
        others = [name for name in self._of.keys() & kept.keys() if self._of[name] != kept[name]]
        if others:
            raise TrainingError(
                f"{self._path}: of a training with another {' and '.join(sorted(others))} than {RUN} says. Delete it to "
                "start this run again."
            )
        load_state(scorer, _under(_SCORER, tensors), where=str(self._path))
        self.history = stored["history"]
        if self._observers is not None:
            self._observers.continue_after(self.history, stored.get("watched", []))
        self.resumed = State(tensors=_under(_FIT, tensors), scalars=stored["scalars"])
        return True

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Add a row to the history, show the scorer to the observers; keep scorer and state, where the fit can be resumed."""
        self.history.append(dict(losses))
        if self._observers is not None:
            self._observers.after_epoch(scorer, len(self.history))
        if state is not None:
            watched = [] if self._observers is None else self._observers.rows
            kept_rows = {"history": self.history, "watched": watched, "of": self._of}
            header = json.dumps(kept_rows | {"scalars": state.scalars}, allow_nan=False)
            weights = {_SCORER + name: tensor for name, tensor in scorer.state_dict().items()}
            kept = {_FIT + name: tensor for name, tensor in state.tensors.items()}
            write_atomically(self._path, packed(weights | kept, {HEADER: header}))

    def finish(self) -> None:
        """Remove the state: nothing is to be resumed any more."""
        self._path.unlink(missing_ok=True)


def kept_history(folder: Path) -> tuple[Row, ...]:
    """Return the whole epochs that an interrupted training would continue from; none where it would start again.

    Raises:
        TrainingError: what was kept is damaged.
    """
    path = folder / STATE
    if not (path.exists() and (folder / RUN).exists()):  # `begin` removes a state without a record
        return ()
    return tuple(json.loads(read_tensors(path)[1][HEADER])["history"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
