"""The `FitContext` that stores the state of a fit in a folder, so that an interrupted training can resume.

The header of ``state.safetensors`` holds scalars and history. One rename therefore replaces the whole state, and a killed
process cannot leave tensors and scalars of different epochs.
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
    """Interface of the observers that are called after each epoch: `observers.observers.Observers`."""

    rows: list[Row]
    """Rows of watched epochs. They are stored with the state, and the fit never sees them."""

    def continue_after(self, history: Sequence[Row], rows: Sequence[Row]) -> None:
        """Resume a run, or start one."""

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Observe a scorer."""


class FolderContext:
    """A `FitContext` that stores the state of the fit in a folder."""

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
        """Create a context.

        If `of` (the `record.identity` of the training) is given, `resume` refuses the states of other trainings.
        """
        self.seed = seed
        self.device = device
        self.progress = progress
        self.resumed: State | None = None
        """The stored state of the fit; None until `resume` has found one."""
        self.history: list[Row] = []
        self.found_suspects: tuple[tuple[int, float], ...] = ()
        """Place and score of suspicious training items."""
        self.left_out = False
        """True if the fit did not use them."""
        self._observers = observers
        self._of = dict(of or {})
        self._path = folder / STATE

    def resume(self, scorer: nn.Module) -> bool:
        """Load the state of the last complete epoch, including the scorer's weights. Return False if there is no state.

        Raises:
            TrainingError: the state is damaged, or belongs to another detector or to other data, settings or seed.
        """
        if not self._path.exists():
            return False
        tensors, header = read_tensors(self._path)
        stored = json.loads(header[HEADER])
        kept = stored.get("of", {})
        others = [name for name in self._of.keys() & kept.keys() if self._of[name] != kept[name]]
        if others:
            raise TrainingError(
                f"{self._path}: expected the state of the run in {RUN}, got the state of a training with different "
                f"{' and '.join(sorted(others))}. Delete the file to start this run again."
            )
        load_state(scorer, _under(_SCORER, tensors), where=str(self._path))
        self.history = stored["history"]
        if self._observers is not None:
            self._observers.continue_after(self.history, stored.get("watched", []))
        self.resumed = State(tensors=_under(_FIT, tensors), scalars=stored["scalars"])
        return True

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        """Keep the suspicious training items for the record of the run."""
        self.found_suspects = tuple(found)
        self.left_out = left_out

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        """Add a row to the history and call the observers. If `state` is given, store it together with the scorer."""
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
        """Remove the state, because a finished run is never resumed."""
        self._path.unlink(missing_ok=True)


def kept_history(folder: Path) -> tuple[Row, ...]:
    """Return the history of the complete epochs of an interrupted training; empty if it would start from the beginning.

    Raises:
        TrainingError: the state is damaged.
    """
    path = folder / STATE
    if not (path.exists() and (folder / RUN).exists()):  # a state without a record is removed by `begin`
        return ()
    return tuple(json.loads(read_tensors(path)[1][HEADER])["history"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
