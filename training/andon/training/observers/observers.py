"""All observers of a training in one object. They never change the weights or stop a run.

A training calls `Observers` after each epoch, after an interruption and at the end. If an observer fails, a warning is logged.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import nn

from andon.calibration.split import Split
from andon.foundation.errors import AndonError, DataError
from andon.foundation.progress import Progress
from andon.runtime.schema import InputSpec
from andon.training.fitting.gradient_descent import kept_epoch
from andon.training.observers import latent_plane, score_histogram
from andon.training.observers.checkpoints import Checkpoints
from andon.training.observers.curves import draw_curves
from andon.training.observers.epoch_snapshots import EpochSnapshots
from andon.training.observers.options import ObserveOptions, Watched
from andon.training.observers.reconstructions import ReconstructionPictures
from andon.training.observers.watching import Labelled, Watch, open_labelled
from andon.training.recipe.recipe import Recipe, Row, TrainingData
from andon.training.runs.paths import PICTURES, SNAPSHOTS

logger = logging.getLogger(__name__)


class Observed(NamedTuple):
    """The training that is observed."""

    folder: Path
    recipe: Recipe
    settings: Any
    """Settings, as the recipe's own struct."""
    good: TrainingData
    spec: InputSpec
    """Input of the scorer."""
    seed: int
    device: torch.device
    """Device of the scorer."""
    sealed: str = ""
    """The run's `record.seal`."""

    def build(self) -> nn.Module:
        """Return an untrained scorer."""
        return self.recipe.build(self.settings, self.spec)

    def finalize(self, scorer: nn.Module) -> None:
        """Complete a scorer whose weights are final."""
        if self.recipe.finalize is not None:
            self.recipe.finalize(scorer, self.good, self.settings, self.device)


class Observers:
    """The observers of one training.

    Order of calls: `continue_after` where a run is resumed, `after_epoch` for each epoch, then `after_interruption` or
    `after_training`.
    """

    def __init__(
        self,
        observed: Observed,
        options: ObserveOptions,
        labelled: Labelled | None = None,
        *,
        watched: Watched | None = None,
    ) -> None:
        """Create the observers.

        Args:
            observed: the training.
            options: what to observe.
            labelled: the parts of `options.watch`; None if there are none or they cannot be read.
            watched: record of watched parts in an interrupted run. It is kept if `labelled` is None.
        """
        self._observed, self._options, self._labelled = observed, options, labelled
        rule = observed.recipe.score_rule(observed.settings, observed.spec)
        good, spec, device = observed.good, observed.spec, observed.device
        self._watch = None
        self._watched = watched
        if labelled is not None:
            self._watch = Watch(labelled, spec, rule, device=device, every=options.watch_every)
            self._watched = Watched(path=str(options.watch), parts=labelled.counts, every=options.watch_every)
        self._checkpoints = Checkpoints(
            observed.folder,
            observed.build,
            observed.finalize,
            epochs=options.checkpoint_epochs,
            sealed=observed.sealed,
        )
        self._pictures = ReconstructionPictures(
            observed.folder / PICTURES,
            good,
            spec,
            rule,
            device=device,
            epochs=options.picture_epochs,
            watched=labelled,
        )
        sample = observed.recipe.sample
        self._snapshots = EpochSnapshots(
            observed.folder / SNAPSHOTS,
            good,
            spec,
            rule,
            device=device,
            seed=observed.seed,
            epochs=options.animation_epochs,
            watched=labelled,
            sampler=None
            if sample is None
            else lambda scorer, count, generator: sample(scorer, observed.settings, count, generator),
        )
        self.rows: list[Row] = []
        """A row ``epoch, auroc, seconds`` for each watched epoch."""
        self._failed: set[Callable[..., Row | None]] = set()

    @property
    def watched(self) -> Watched | None:
        """Record of the watched parts; None if no parts are watched."""
        return self._watched and msgspec.structs.replace(self._watched, rows=tuple(self.rows))

    def continue_after(self, history: Sequence[Row], rows: Sequence[Row]) -> None:
        """Resume a run with its stored `history` and watched `rows`. An empty history starts a new run."""
        self.rows = list(rows)
        self._snapshots.continue_after(len(history))

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Observe a scorer after an epoch, counted from 1. If an observer fails, the others and the training continue."""
        calls: list[Callable[[nn.Module, int], Row | None]] = [] if self._watch is None else [self._watch.after_epoch]
        calls += [self._checkpoints.after_epoch, self._pictures.after_epoch, self._snapshots.after_epoch]
        for observe in calls:
            try:
                row = observe(scorer, epoch)
            except Exception as error:  # noqa: BLE001 - a failing picture must not stop the training
                if observe not in self._failed:  # warn only once, because a full disk fails at each epoch
                    self._failed.add(observe)
                    _warn(f"epoch {epoch}: {_sentence(error)} Training continues without it.", error)
            else:
                self.rows += [] if row is None else [row]

    def after_interruption(self, history: Sequence[Row]) -> None:
        """Draw the curves of the epochs so far. Ignore failures, because the caller raises the error that stopped the run."""
        with contextlib.suppress(Exception):
            self._draw_curves(history)

    def after_training(self, scorer: nn.Module, history: Sequence[Row]) -> None:
        """Observe the final weights. Call this after the run is stored, so that a failure cannot lose it."""
        observed, labelled, options = self._observed, self._labelled, self._options
        kept = kept_epoch(history, observed.settings)
        pictures = observed.folder / PICTURES
        if self._watch is not None and self._watched is not None:
            with _only_a_warning():
                self._watched = msgspec.structs.replace(self._watched, kept=self._watch.auroc(scorer))
        with _only_a_warning():
            self._pictures.after_training(scorer, kept)
        if options.picture_epochs is None or options.picture_epochs:
            with _only_a_warning():
                latent_plane.draw(scorer, observed.good, labelled, pictures / "latent.png", device=observed.device)
            with _only_a_warning():
                if history:
                    score_histogram.draw(
                        scorer,
                        observed.good,
                        labelled,
                        pictures / "scores.png",
                        spec=observed.spec,
                        score_rule=observed.recipe.score_rule(observed.settings, observed.spec),
                        device=observed.device,
                    )
        if options.checkpoint_epochs and not history:
            logger.warning("%s does not train in epochs, so there are no checkpoints to keep", observed.recipe.name)
        with _only_a_warning():
            if history:
                self._snapshots.after_training(scorer, kept)
        with _only_a_warning():
            self._draw_curves(history)

    def _draw_curves(self, history: Sequence[Mapping[str, float]]) -> None:
        draw_curves(
            self._observed.folder / PICTURES / "curves.png",
            history,
            kept=kept_epoch(history, self._observed.settings),
            watched=self.watched,
        )


def open_observers(
    observed: Observed,
    options: ObserveOptions,
    *,
    split: Split,
    data: str,
    watched: Watched | None,
    progress: Progress,
) -> Observers:
    """Read the parts to watch, and create the observers.

    Args:
        observed: the training.
        options: what to observe.
        split: the run's own parts. They are never watched.
        data: the path of the run's good parts; empty for parts in memory.
        watched: record of watched parts in an interrupted run, if any.
        progress: called while parts are read.

    Raises:
        DataError: `options.watch` holds no parts to watch. If an interrupted run watched parts, this is only a warning.
    """
    labelled = None
    if options.watch is not None:
        try:
            labelled = open_labelled(
                str(options.watch), observed.spec, split, data=data, seed=observed.seed, progress=progress
            )
        except DataError as error:
            if watched is None:
                raise
            logger.warning("continuing without watched parts: %s", error)
    return Observers(observed, options, labelled, watched=watched)


@contextlib.contextmanager
def _only_a_warning() -> Iterator[None]:
    """Log failures of observers as warnings, because the run has already finished."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the run is already stored, so no failure here may stop it
        _warn(f"{_sentence(error)} The run itself has finished.", error)


def _warn(text: str, error: Exception) -> None:
    logger.warning("%s", text, exc_info=None if isinstance(error, AndonError) else error)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, AndonError) else f"{type(error).__name__}: {error}."
