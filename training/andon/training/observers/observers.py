"""Everything that observes a training, in one object. Nothing here changes the weights or stops a run.

`Observers` is called after each epoch, after an interruption and at the end. A failing observer is a warning.
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
    """Of the recipe's own type."""
    good: TrainingData
    spec: InputSpec
    """What the scorer takes."""
    seed: int
    device: torch.device
    """Where the scorer is."""
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
        """
        Args:
            observed: the training.
            options: what to observe.
            labelled: the parts of `options.watch`, if they can be read.
            watched: what an interrupted run recorded of such parts; kept where `labelled` is None.
        """
        self._observed, self._options, self._labelled = observed, options, labelled
        rule = observed.recipe.score_rule(observed.settings)
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
        """``epoch, auroc, seconds`` of each epoch that was watched."""
        self._failed: set[Callable[..., Row | None]] = set()

    @property
    def watched(self) -> Watched | None:
        """What to record of the labelled parts; None where none are watched."""
        return self._watched and msgspec.structs.replace(self._watched, rows=tuple(self.rows))

    def continue_after(self, history: Sequence[Row], rows: Sequence[Row]) -> None:
        """Continue a run whose `history` and watched `rows` were kept; without history, begin."""
        self.rows = list(rows)
        self._snapshots.continue_after(len(history))

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Observe a scorer after an epoch, counted from 1. A failing observer costs only what it would have kept."""
        looking: list[Callable[[nn.Module, int], Row | None]] = [] if self._watch is None else [self._watch.after_epoch]
        looking += [self._checkpoints.after_epoch, self._pictures.after_epoch, self._snapshots.after_epoch]
        for look in looking:
            try:
                row = look(scorer, epoch)
            except Exception as error:  # noqa: BLE001 - a failing picture must not cost the training
                if look not in self._failed:  # warn once: a full disk stays full
                    self._failed.add(look)
                    _warn(f"epoch {epoch}: {_sentence(error)} Training goes on without it.", error)
            else:
                self.rows += [] if row is None else [row]

    def after_interruption(self, history: Sequence[Row]) -> None:
        """Draw the curves of the epochs so far. A failure is silent, because the error that interrupted the run is on its way."""
        with contextlib.suppress(Exception):
            self._draw_curves(history)

    def after_training(self, scorer: nn.Module, history: Sequence[Row]) -> None:
        """Observe the kept weights, once the run is stored and nothing here can cost it."""
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
                        score_rule=observed.recipe.score_rule(observed.settings),
                        device=observed.device,
                    )
        if options.checkpoint_epochs and not history:
            logger.warning("%s learns in one go: there are no epochs to keep checkpoints of", observed.recipe.name)
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
    """Read the parts to watch, and make the observers.

    Args:
        observed: the training.
        options: what to observe.
        split: the run's own parts: none of them is watched.
        data: the path of the run's good parts; empty for parts in memory.
        watched: what an interrupted run recorded of labelled parts, if it watched some.
        progress: called while parts are read.

    Raises:
        DataError: nothing to watch there. For parts that the run has watched before, this is a warning.
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
            logger.warning("going on without watching: %s", error)
    return Observers(observed, options, labelled, watched=watched)


@contextlib.contextmanager
def _only_a_warning() -> Iterator[None]:
    """Warn of what cannot be observed once a run has finished."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever fails here, the run itself is whole
        _warn(f"{_sentence(error)} The run itself has finished.", error)


def _warn(text: str, error: Exception) -> None:
    logger.warning("%s", text, exc_info=None if isinstance(error, AndonError) else error)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, AndonError) else f"{type(error).__name__}: {error}."
