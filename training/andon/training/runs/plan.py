"""Make the plan of a training from the caller's options, or from the record of the run that is resumed."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from andon.calibration.split import CALIBRATION_SHARE, require_share
from andon.foundation.errors import ConfigError, TrainingError
from andon.runtime.schema import FrameSpec, Mask, WindowSpec
from andon.sources.addresses import shown_address
from andon.sources.pictures.mask_picture import mask_of
from andon.training.fitting.device import as_device
from andon.training.observers.epochs import from_record
from andon.training.observers.options import ObserveOptions
from andon.training.recipe.recipe import Recipe
from andon.training.runs.options import TrainOptions
from andon.training.runs.paths import RUN
from andon.training.runs.record import RunRecord, check_recipe, read_record, read_settings
from andon.training.runs.window_choice import WindowRequest

logger = logging.getLogger(__name__)


class Plan(NamedTuple):
    """Everything that determines a training, with defaults filled in."""

    folder: Path
    recipe: Recipe
    settings: Any
    """Settings, as the recipe's own struct."""
    options: TrainOptions
    observe: ObserveOptions
    previous: RunRecord | None = None
    """The record of the run that is resumed; None for a new one."""

    @property
    def finished(self) -> bool:
        """True if the run has already finished."""
        return self.previous is not None and self.previous.finished

    @property
    def share(self) -> float:
        """Share of the good parts to hold back for calibration."""
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
    """Return the plan of a training, before any data are read.

    Raises:
        TrainingError: the folder already holds a run, or the run to resume has other settings, options or masks.
        DataError: a mask that was given for a run to resume cannot be read.
        ConfigError: an option is out of bounds.
    """
    asked = Plan(folder, recipe, settings, options, observe)
    previous = read_record(folder) if (folder / RUN).exists() else None
    if previous is None:
        plan = _new(asked)
        if resume:
            logger.warning("%s: found no run to resume, starting a new one", folder)
    elif resume:
        plan = _resumed(asked, previous)
    else:
        raise TrainingError(
            f"{folder}: the folder already holds a run. Give another --out, or resume it with --resume."
        )
    every = plan.observe.watch_every
    if every is not None and (plan.observe.watch is None or every < 1):
        raise ConfigError(f"--watch-every: expected an integer >= 1 together with --watch PATH, got {every}.")
    return plan


def _new(asked: Plan) -> Plan:
    settings, options = asked.settings, asked.options
    if settings is None and not options.window.given:
        options = msgspec.structs.replace(options, window=WindowRequest(shorten=True))
    if options.threads is None and asked.recipe.gives == "window":
        options = msgspec.structs.replace(options, threads=1)
    require_share(asked.share)
    return asked._replace(settings=asked.recipe.settings() if settings is None else settings, options=options)


def _resumed(asked: Plan, previous: RunRecord) -> Plan:
    folder, recipe, share = asked.folder, asked.recipe, asked.options.calibration_share
    check_recipe(previous, recipe, folder)
    own = read_settings(previous, recipe)
    asked = _with_recorded_windows(asked, own)
    if asked.settings is not None and asked.settings != own:
        raise TrainingError(
            f"{folder}: expected the settings of the first run, got others ({_differences(own, asked.settings)}). Leave "
            "them out to resume, or start a new run."
        )
    _refuse_other_masks(asked, previous)
    if previous.finished:
        return asked._replace(settings=own, observe=ObserveOptions(), previous=previous)
    if share not in (None, previous.calibration_share):
        raise TrainingError(
            f"{folder}: expected --calibration-share {previous.calibration_share:g} as in the first run, got {share:g}. Leave it "
            "out to resume, or start a new run."
        )
    read = previous.input
    recorded = TrainOptions(
        seed=previous.seed,
        group=previous.group,
        frame_size=previous.frame_size,
        ignore=(read.ignore if isinstance(read, FrameSpec) else None) or (),
        region=(read.region if isinstance(read, FrameSpec) else None) or (),
        sort=previous.sort,
        calibration_share=previous.calibration_share,
        detrend=read.detrend if isinstance(read, WindowSpec) else "none",
        context=read.context.channel if isinstance(read, WindowSpec) and read.context is not None else None,
        device=as_device(previous.device),
        threads=previous.threads,
    )
    return Plan(folder, recipe, own, recorded, _observe_further(folder, asked.observe, previous), previous)


def _refuse_other_masks(asked: Plan, previous: RunRecord) -> None:
    """Refuse masks that mark other pixels than those of the first run. Without any, the recorded masks are used."""
    for name in ("ignore", "region"):
        given, recorded = getattr(asked.options, name), getattr(previous.input, name, None)
        if given and (recorded is None or _marked(given, recorded, name) != recorded.sha256):
            raise TrainingError(
                f"{asked.folder}: expected --{name} as in the first run, got "
                f"{'another one' if recorded is not None else 'one, but that run has none'}. Leave it out to resume, or start a "
                "new run."
            )


def _marked(given: tuple[str, ...] | Mask, recorded: Mask, name: str) -> str:
    """Return the digest of a mask that was given, read at the size of the recorded one."""
    return (given if isinstance(given, Mask) else mask_of(given, recorded.frame_size, flag=f"--{name}")).sha256


def _with_recorded_windows(asked: Plan, own: msgspec.Struct) -> Plan:
    """Return the plan with the recorded length and hop where the caller does not give both."""
    request = asked.options.window
    if asked.settings is None or not (request.given or request.shorten):
        return asked
    recorded = {name: getattr(own, name) for name in ("steps", "hop") if name in own.__struct_fields__}
    return asked._replace(settings=msgspec.structs.replace(asked.settings, **recorded))


def _observe_further(folder: Path, observe: ObserveOptions, previous: RunRecord) -> ObserveOptions:
    """Return the given options. Options that were not given are taken from the record of the run."""
    names = ("picture_epochs", "animation_epochs", "checkpoint_epochs")
    before = {name: from_record(getattr(previous, name)) for name in names if getattr(observe, name) is None}
    observe = msgspec.structs.replace(observe, **before)
    if previous.watched is None:
        return observe
    if observe.watch is not None and str(observe.watch) != previous.watched.path:
        raise TrainingError(
            f"{folder}: expected --watch {shown_address(previous.watched.path)} as in the first run, got "
            f"{shown_address(str(observe.watch))}. Leave out --watch to resume."
        )
    return msgspec.structs.replace(
        observe, watch=previous.watched.path, watch_every=observe.watch_every or previous.watched.every
    )


def _differences(previous: msgspec.Struct, given: msgspec.Struct) -> str:
    """Return the settings that differ, as text."""
    before, now = msgspec.structs.asdict(previous), msgspec.structs.asdict(given)
    return ", ".join(
        f"{name}: expected {before[name]}, got {now.get(name)}" for name in before if before[name] != now.get(name)
    )
