"""Train a detector on good data and write a run folder. The command ``andon train`` calls this module.

>>> run = train("window_vae", "logs/good.csv", "runs/pump")                       # doctest: +SKIP
>>> export_run(run, "pump.onnx", request=CalibrationRequest(date="2026-11-22"))   # doctest: +SKIP
"""

from andon.training.fitting import thread_waiting  # noqa: F401 - before torch is imported

# isort: split

import contextlib
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from andon.export.preprocessing import PREPARATION
from andon.foundation.errors import ConfigError, TrainingError
from andon.foundation.progress import Progress, silent
from andon.runtime.schema import FrameSpec, InputSpec, WindowSpec
from andon.sources.collection import Collection, FoundFrames
from andon.sources.series.good_rows import faulty_count
from andon.sources.series.log import Log
from andon.training.fitting.device import device_named, seeded
from andon.training.fitting.frame_masks import Masks
from andon.training.fitting.prepared_data import PreparedData, prepare_data
from andon.training.fitting.window_reading import WindowReading
from andon.training.observers.epochs import to_record
from andon.training.observers.observers import Observed, Observers, open_observers
from andon.training.observers.options import ObserveOptions
from andon.training.recipe.recipe import Recipe, recipe
from andon.training.runs.data_warnings import (
    DataWarning,
    Suspect,
    few_parts,
    few_windows,
    large_frames,
    mixed_sizes,
    of_log,
    suspicious,
    tiles_asked_for,
)
from andon.training.runs.fit_state import FolderContext
from andon.training.runs.folder_lock import LOCK, SILENT_S, lock_folder, who_holds
from andon.training.runs.options import TrainOptions
from andon.training.runs.paths import MODEL, RUN
from andon.training.runs.plan import Plan, make_plan
from andon.training.runs.record import RunRecord, begin, identity, read_record, seal, write_record
from andon.training.runs.run_data import Data, of_size, open_data, open_to_resume
from andon.training.runs.run_folder import LoadedRun, load
from andon.training.runs.weights import write_weights
from andon.training.runs.window_settings import naming_a_length, windows_of

__all__ = ["Data", "ObserveOptions", "TrainOptions", "train"]

logger = logging.getLogger(__name__)

TRAIN, OBSERVE = TrainOptions(), ObserveOptions()


def train(
    detector: str | Recipe,
    data: Data,
    out: Path | str,
    *,
    settings: msgspec.Struct | None = None,
    options: TrainOptions = TRAIN,
    observe: ObserveOptions = OBSERVE,
    resume: bool = False,
    progress: Progress = silent,
) -> LoadedRun:
    """Train a detector on good parts and write a run folder.

    Args:
        detector: name of a registered recipe, or a recipe.
        data: good parts only.
        out: the run folder. It must not contain a run, unless `resume` is true.
        settings: settings of the recipe; None for its defaults.
        options: seed, device and other options.
        observe: what to draw and keep during training. Observers do not change the weights.
        resume: continue an interrupted run after its last complete epoch, with its recorded settings and options. Start a
            new run if there is none. Return a run that has finished.
        progress: called while reading and training.

    Raises:
        TrainingError: the folder already contains a run, another process trains in it, the training diverged, or the run
            to resume has other data, settings or options.
        DataError: the data are not suitable, or there are no parts to watch.
        ConfigError: unknown detector or setting, a share out of bounds, `watch_every` without `watch`, or `watch` with tiles.
        DeviceError: the device does not exist.
    """
    known = detector if isinstance(detector, Recipe) else recipe(detector)
    folder = Path(out)
    with _locked(folder, resume=resume):
        plan = make_plan(folder, known, settings, options, observe, resume=resume)
        if plan.finished:
            logger.info("%s: training has already finished", folder)
            return load(folder, of=known)
        device = device_named(plan.options.device)
        with seeded(plan.options.seed, plan.options.threads, device) as threads:
            training = _open(plan, data, device, threads, progress)
            scorer = _fit(training)
            return _store(training, scorer)


class _Training(NamedTuple):
    """A training after its data were opened and its record was written."""

    plan: Plan
    record: RunRecord
    good: PreparedData
    observed: Observed
    observers: Observers
    run: FolderContext


def _open(plan: Plan, data: Data, device: torch.device, threads: int, progress: Progress) -> _Training:
    """Read the data, compare them with the data of an interrupted run, and write the record."""
    previous, options, observe = plan.previous, plan.options, plan.observe
    opened = open_data(data, sort=options.sort) if previous is None else open_to_resume(data, previous, plan.folder)
    opened, other_sizes = (opened, ()) if options.frame_size is None else of_size(opened, options.frame_size)
    plan, opened, choice = windows_of(plan, opened)
    with naming_a_length(plan, opened):
        good = prepare_data(
            opened,
            plan.recipe,
            plan.settings,
            seed=options.seed,
            group=options.group,
            calibration_share=plan.share,
            reading=WindowReading(detrend=options.detrend, context=options.context),
            masks=Masks(ignore=options.ignore, region=options.region),
            progress=progress,
        )
    if isinstance(good.spec, FrameSpec) and good.spec.tiles is not None and observe.watch is not None:
        raise ConfigError(
            "--watch: expected a training without tiles, got one with tiles. Leave out --watch or --tile."
        )
    record = RunRecord(
        recipe=plan.recipe.name,
        recipe_version=plan.recipe.version,
        andon=version("andon"),
        settings=msgspec.json.decode(
            msgspec.json.encode(plan.settings)
        ),  # plain data, equal to what `read_record` gives
        input=good.spec,
        preparation=PREPARATION,
        split=good.split,
        fingerprint=good.fingerprint,
        lost=good.lost,
        copies=good.copies,
        frame_size=options.frame_size,
        other_sizes=other_sizes if previous is None else previous.other_sizes,
        warnings=_warnings_before_the_fit(plan, opened, good),
        contents=good.contents,
        data=str(data) if isinstance(data, str | Path) else "",
        window=choice,
        sort=options.sort,
        group=options.group,
        calibration_share=plan.share,
        seed=options.seed,
        threads=threads,
        device=device.type,
        versions={package: version(package) for package in ("andon", "numpy", "torch")},
        picture_epochs=to_record(observe.picture_epochs),
        animation_epochs=to_record(observe.animation_epochs),
        checkpoint_epochs=to_record(observe.checkpoint_epochs),
    )
    if previous is not None and _data_changed(previous, record):
        raise TrainingError(f"{plan.folder}: the data have changed since this run began. Start a new run.")
    observed = Observed(
        folder=plan.folder,
        recipe=plan.recipe,
        settings=plan.settings,
        good=good,
        spec=good.spec,
        seed=options.seed,
        device=device,
        sealed=seal(record),
    )
    observers = open_observers(
        observed,
        observe,
        split=good.split,
        data=record.data,
        watched=None if previous is None else previous.watched,
        progress=progress,
    )
    record = msgspec.structs.replace(record, watched=observers.watched)
    (begin if previous is None else write_record)(plan.folder, record)
    run = FolderContext(
        plan.folder,
        seed=options.seed,
        device=device,
        progress=progress,
        observers=observers,
        of=identity(record),
    )
    return _Training(plan, record, good, observed, observers, run)


def _warnings_before_the_fit(plan: Plan, opened: Collection | Log, good: PreparedData) -> tuple[DataWarning, ...]:
    """Return the warnings about the parts, and log them."""
    if isinstance(opened, Log) and isinstance(good.spec, WindowSpec):
        few = few_windows(len(good.split.calibration), good.spec, plan.share)
        about = (*of_log(opened.notes, faulty_count(opened)), *(() if few is None else (few,)))
        for warning in about:
            logger.warning("%s", warning.text)
        return about
    found = opened.found
    if not isinstance(found, FoundFrames) or not isinstance(good.spec, FrameSpec):
        return ()
    kept_back = good.calibration.refs
    warnings = (
        mixed_sizes(found),
        large_frames(found, good.spec, plan.settings, cell=plan.recipe.cell(plan.settings)),
        tiles_asked_for(found, good.spec),
        few_parts(
            len(good.train.keys),
            len({ref.part for ref in kept_back}),
            share=plan.share,
            grouped=plan.options.group is not None,
        ),
    )
    listed = tuple(warning for warning in warnings if warning is not None)
    for warning in listed:
        logger.warning("%s", warning.text)
    return listed


def _data_changed(previous: RunRecord, now: RunRecord) -> bool:
    """Return whether the data of a run have changed. Records of an older andon hold no contents to compare."""
    read = _as_recorded_before(now.input, previous.input)
    return (previous.fingerprint, previous.input) != (now.fingerprint, read) or (
        bool(previous.contents) and previous.contents != now.contents
    )


def _as_recorded_before(read: InputSpec, previous: InputSpec) -> InputSpec:
    """Return an input without what an older andon did not record: the check for windows outside the good ones.

    The check does not take part in the training, so a run of an older andon can get it when it is resumed.
    """
    if not isinstance(read, WindowSpec) or not isinstance(previous, WindowSpec) or previous.outside is not None:
        return read
    channels = tuple(msgspec.structs.replace(channel, spread=None, rate=None) for channel in read.channels)
    return msgspec.structs.replace(read, outside=None, channels=channels)


def _fit(training: _Training) -> nn.Module:
    """Fit from the beginning, or from the last complete epoch of an interrupted run. Then finalize."""
    plan, run, observers = training.plan, training.run, training.observers
    scorer = training.observed.build()
    if plan.previous is not None and run.resume(scorer):
        logger.info("%s: resuming after epoch %d", plan.folder, len(run.history))
    else:
        observers.continue_after((), ())
    scorer = scorer.to(run.device)
    try:
        plan.recipe.fit_and_finalize(scorer, training.good, plan.settings, run)
    except BaseException:  # includes Ctrl-C and divergence
        observers.after_interruption(run.history)
        raise
    return scorer


def _store(training: _Training, scorer: nn.Module) -> LoadedRun:
    """Store the weights and the record, then call the observers. So a failing observer cannot lose the training."""
    plan, run, observers = training.plan, training.run, training.observers
    keys = training.good.train.keys
    suspects = tuple(
        Suspect(key=keys[place], times=times, left_out=run.left_out) for place, times in run.found_suspects
    )
    warning = suspicious(suspects, len(keys))
    if warning is not None:
        logger.warning("%s", warning.text)
    record = msgspec.structs.replace(
        training.record,
        suspects=suspects,
        warnings=(*training.record.warnings, *(() if warning is None else (warning,))),
        history=tuple(run.history),
        watched=observers.watched,
        weights_sha256=write_weights(plan.folder / MODEL, scorer, sealed=training.observed.sealed),
        pretrained=tuple(
            plan.recipe.weights(plan.settings)
        ),  # read after the fit, because the fit may have downloaded them, and the cache may change later
        finished=True,
    )
    write_record(plan.folder, record)
    run.finish()
    observers.after_training(scorer, run.history)
    if observers.watched != record.watched:
        record = msgspec.structs.replace(record, watched=observers.watched)
        write_record(plan.folder, record)
    scorer = scorer.to("cpu").eval()
    return LoadedRun(path=plan.folder, record=record, recipe=plan.recipe, settings=plan.settings, scorer=scorer)


@contextlib.contextmanager
def _locked(folder: Path, *, resume: bool) -> Iterator[None]:
    """Keep other trainings out of a run folder. Lock nothing if nothing will be written.

    Raises:
        TrainingError: another process trains in the folder, or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: expected a folder for the run, got a file. Give another --out.")
    record = read_record(folder) if (folder / RUN).exists() else None
    if record is not None and (record.finished or not resume):
        yield
        return
    new = not folder.exists()
    try:
        with lock_folder(folder) as lock:
            if lock is None:
                raise TrainingError(
                    f"{folder}: {who_holds(folder)}. Wait until that process ends, or give another --out. If it has already "
                    f"ended, delete {folder / LOCK}, or wait: a lock expires {SILENT_S:.0f} s after it was last renewed."
                )
            yield
    finally:
        if new:  # a training that could not start leaves no empty folder
            with contextlib.suppress(OSError):
                folder.rmdir()
