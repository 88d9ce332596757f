"""The plan of a training: as it was asked for, or as the interrupted run has it."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from andon.calibration.split import CALIBRATION_SHARE, require_share
from andon.foundation.errors import ConfigError, TrainingError
from andon.sources.addresses import shown_address
from andon.training.fitting.device import as_device
from andon.training.observers.epochs import from_record
from andon.training.observers.options import ObserveOptions
from andon.training.recipe.recipe import Recipe
from andon.training.runs.options import TrainOptions
from andon.training.runs.paths import RUN
from andon.training.runs.record import RunRecord, check_recipe, read_record, read_settings

logger = logging.getLogger(__name__)


class Plan(NamedTuple):
    """A training, with nothing left open."""

    folder: Path
    recipe: Recipe
    settings: Any
    """Of the recipe's own type."""
    options: TrainOptions
    observe: ObserveOptions
    begun: RunRecord | None = None
    """The record of the run that is resumed; None for a new one."""

    @property
    def finished(self) -> bool:
        """Whether the run has finished already."""
        return self.begun is not None and self.begun.finished

    @property
    def share(self) -> float:
        """Of the good parts, kept back for calibration."""
        given = self.options.calibration_share
        return CALIBRATION_SHARE if given is None else given


def make_plan(
    folder: Path,
    recipe: Recipe,
    settings: msgspec.Struct | None,
    options: TrainOptions,
    observe: ObserveOptions,
    *,
    resume: bool,
) -> Plan:
    """Decide what a training does, before any data are read.

    Raises:
        TrainingError: there is a run already, or what should be resumed was another training.
        ConfigError: options out of bounds.
    """
    asked = Plan(folder, recipe, settings, options, observe)
    begun = read_record(folder) if (folder / RUN).exists() else None
    if begun is None:
        plan = _new(asked)
        if resume:
            logger.warning("%s: there is no run to go on with; beginning a new one", folder)
    elif resume:
        plan = _resumed(asked, begun)
    else:
        raise TrainingError(f"{folder}: there is a run already. Give another --out, or go on with it by --resume.")
    every = plan.observe.watch_every
    if every is not None and (plan.observe.watch is None or every < 1):
        raise ConfigError(f"--watch-every {every}: expected 1 or more, and --watch PATH with labelled parts.")
    return plan


def _new(asked: Plan) -> Plan:
    settings, options = asked.settings, asked.options
    if options.threads is None and asked.recipe.gives == "window":
        options = msgspec.structs.replace(options, threads=1)
    require_share(asked.share)
    return asked._replace(settings=asked.recipe.settings() if settings is None else settings, options=options)


def _resumed(asked: Plan, begun: RunRecord) -> Plan:
    folder, recipe, share = asked.folder, asked.recipe, asked.options.calibration_share
    check_recipe(begun, recipe, folder)
    own = read_settings(begun, recipe)
    if asked.settings is not None and asked.settings != own:
        raise TrainingError(
            f"{folder}: was begun with other settings ({_differences(own, asked.settings)}); leave them out to go on, or "
            "start a new run."
        )
    if begun.finished:
        return asked._replace(settings=own, observe=ObserveOptions(), begun=begun)
    if share not in (None, begun.calibration_share):
        raise TrainingError(
            f"{folder}: was begun with --calibration-share {begun.calibration_share:g}, got {share:g}; leave it out to go on, "
            "or start a new run."
        )
    its_own = TrainOptions(
        seed=begun.seed,
        group=begun.group,
        calibration_share=begun.calibration_share,
        device=as_device(begun.device),
        threads=begun.threads,
    )
    return Plan(folder, recipe, own, its_own, _observe_further(folder, asked.observe, begun), begun)


def _observe_further(folder: Path, observe: ObserveOptions, begun: RunRecord) -> ObserveOptions:
    """Return what is asked for now, and else what the run observed before."""
    names = ("picture_epochs", "animation_epochs", "checkpoint_epochs")
    before = {name: from_record(getattr(begun, name)) for name in names if getattr(observe, name) is None}
    observe = msgspec.structs.replace(observe, **before)
    if begun.watched is None:
        return observe
    if observe.watch is not None and str(observe.watch) != begun.watched.path:
        raise TrainingError(
            f"{folder}: has watched {shown_address(begun.watched.path)}, got --watch {shown_address(str(observe.watch))}. "
            "Leave out --watch to go on."
        )
    return msgspec.structs.replace(
        observe, watch=begun.watched.path, watch_every=observe.watch_every or begun.watched.every
    )


def _differences(begun: msgspec.Struct, given: msgspec.Struct) -> str:
    """List the settings that differ."""
    before, now = msgspec.structs.asdict(begun), msgspec.structs.asdict(given)
    return ", ".join(
        f"{name}: begun with {before[name]}, got {now.get(name)}" for name in before if before[name] != now.get(name)
    )
