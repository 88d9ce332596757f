"""From good data to a run folder: what ``andon train`` does.

>>> run = train("window_vae", "logs/good.csv", "runs/pump")                       # doctest: +SKIP
>>> export_run(run, "pump.onnx", request=CalibrationRequest(date="2026-11-22"))   # doctest: +SKIP
"""

from andon.training.fitting import thread_waiting  # noqa: F401 - before torch is imported

# isort: split

import contextlib
import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch

from andon.calibration.split import CALIBRATION_SHARE, require_share
from andon.foundation.errors import AndonError, ConfigError, DataError, TrainingError
from andon.foundation.printable import printable
from andon.foundation.progress import Progress, silent
from andon.sources.addresses import shown_address
from andon.sources.items import Collection
from andon.sources.kinds import images
from andon.sources.kinds.images import Pictures
from andon.sources.series.log import Log
from andon.sources.source import collect, find
from andon.training.animation.epoch_snapshots import REEL, Epochs, Reel
from andon.training.fitting.device import Device, as_device, device_named, drawn_apart
from andon.training.fitting.good_parts import GoodParts, open_good
from andon.training.fitting.gradient_descent import Plan
from andon.training.observers import latent_plane, score_histogram
from andon.training.observers.curves import curves, save
from andon.training.observers.reconstructions import Album
from andon.training.observers.watching import Labelled, Watch, open_labelled
from andon.training.recipe.recipe import Recipe, recipe
from andon.training.runs.checkpoints import Checkpoints
from andon.training.runs.folder_lock import LOCK, SILENT_S, claimed, who_holds
from andon.training.runs.run_folder import (
    MODEL,
    PICTURES,
    RUN,
    FolderRun,
    LoadedRun,
    Row,
    RunRecord,
    Watched,
    begin,
    check_recipe,
    identity,
    load,
    read_record,
    read_settings,
    seal,
    write_record,
    write_weights,
)

logger = logging.getLogger(__name__)

Data = str | Path | Collection | Log
"""A path or name that a source opens, or what one opened already."""


def train(
    detector: str | Recipe,
    data: Data,
    out: Path | str,
    *,
    settings: msgspec.Struct | None = None,
    seed: int = 0,
    group: str | None = None,
    calibration_share: float | None = None,
    device: Device = "auto",
    threads: int | None = None,
    resume: bool = False,
    watch: str | Path | None = None,
    watch_every: int | None = None,
    picture_epochs: Sequence[int] | None = None,
    animation_epochs: Epochs = None,
    checkpoint_epochs: Epochs = None,
    progress: Progress = silent,
) -> LoadedRun:
    """Learn what good looks like, and leave a run folder.

    Args:
        detector: name of a registered recipe, or a recipe.
        data: good parts only.
        out: the run folder; must not hold a run yet, unless `resume`.
        settings: of the recipe; None: its defaults.
        seed: of split, weights, order and noise.
        group: which items belong together, as `open_good` takes it.
        calibration_share: of the good parts, held back for calibration, above 0 and at most 0.8; None: 0.3. A tenth
            validates, where the detector wants that, and the rest is learnt from.
        device: to learn on; ``auto`` takes CUDA where there is one. ``mps`` has never run here (`device`).
        threads: of PyTorch on the CPU; None: one for windows, whose nets are so small that a second thread only gets in
            the way, and as PyTorch is set for frames. Another number gives other (equally good) weights.
        resume: go on after the last whole epoch of an interrupted run, with its own settings, seed, group, share,
            device and threads; begins where there is no run yet, and gives back a finished one.
        watch: labelled parts whose AUROC is drawn by epoch, for watching only (`watching`): the weights are those of a
            training that nobody watched. A resumed run goes on watching what it watched.
        watch_every: watch the first epoch and each such; None: as often as a tenth of the time allows.
        picture_epochs: after which epochs to draw what is rebuilt, beside the kept weights; None: 1, 3, 10, 30, 100, ...;
            empty: never. Nothing is drawn for detectors that do not rebuild.
        animation_epochs: which epochs to keep for an animation that is made afterwards (`animation.animate`): each so many,
            just these, or, None, each up to 20, each second up to 50, each fifth up to 100, and so on; empty: none.
        checkpoint_epochs: after which epochs to keep weights that can be exported (`run_folder.load` with `epoch`): each so
            many, just these, or, None, none. Detectors that learn in one go keep none.
        progress: told of reading and training.

    Raises:
        TrainingError: there is a run already, another process trains in the folder, it diverged, or what should be
            resumed was another training.
        DataError: data that cannot be learnt from, or nothing to watch.
        ConfigError: no such detector or setting, a share out of bounds, or `watch_every` with nothing to watch.
        DeviceError: no such device.
    """
    known = detector if isinstance(detector, Recipe) else recipe(detector)
    with _alone(Path(out), resume=resume):
        return _train(
            known,
            data,
            Path(out),
            settings=settings,
            seed=seed,
            group=group,
            calibration_share=calibration_share,
            device=device,
            threads=threads,
            resume=resume,
            watch=watch,
            watch_every=watch_every,
            picture_epochs=picture_epochs,
            animation_epochs=animation_epochs,
            checkpoint_epochs=checkpoint_epochs,
            progress=progress,
        )


@contextlib.contextmanager
def _alone(folder: Path, *, resume: bool) -> Iterator[None]:
    """Keep other trainings out of a run folder; nothing is locked where nothing will be written.

    Raises:
        TrainingError: another process trains there, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; expected a folder for the run. Give another --out.")
    record = read_record(folder) if (folder / RUN).exists() else None
    if record is not None and (record.finished or not resume):
        yield
        return
    new = not folder.exists()
    try:
        with claimed(folder) as claim:
            if claim is None:
                raise TrainingError(
                    f"{folder}: {who_holds(folder)}. Wait until it ends, give another --out, or delete {folder / LOCK} if "
                    f"that process is gone (it is taken over after {SILENT_S:.0f} s)."
                )
            yield
    finally:
        if new:  # a training that could not begin leaves no folder
            with contextlib.suppress(OSError):
                folder.rmdir()


def _train(
    known: Recipe,
    data: Data,
    folder: Path,
    *,
    settings: msgspec.Struct | None,
    seed: int,
    group: str | None,
    calibration_share: float | None,
    device: Device,
    threads: int | None,
    resume: bool,
    watch: str | Path | None,
    watch_every: int | None,
    picture_epochs: Sequence[int] | None,
    animation_epochs: Epochs,
    checkpoint_epochs: Epochs,
    progress: Progress,
) -> LoadedRun:
    record = read_record(folder) if (folder / RUN).exists() else None
    if record is not None and not resume:
        raise TrainingError(f"{folder}: there is a run already. Give another --out, or go on with it by --resume.")
    if record is not None:
        check_recipe(record, known, folder)
        chosen = read_settings(record, known)
        if settings is not None and settings != chosen:
            raise TrainingError(
                f"{folder}: was begun with other settings ({_differences(chosen, settings)}); leave them out to go on, or "
                "start a new run."
            )
        if record.finished:
            logger.info("%s: has finished already", folder)
            return load(folder, of=known)
        calibration_share = _share_begun_with(record, calibration_share, folder)
        seed, group, threads = record.seed, record.group, record.threads
        device = as_device(record.device)
        picture_epochs = record.picture_epochs if picture_epochs is None else picture_epochs
        animation_epochs = record.animation_epochs if animation_epochs is None else animation_epochs
        checkpoint_epochs = record.checkpoint_epochs if checkpoint_epochs is None else checkpoint_epochs
        if record.watched is not None:
            if watch is not None and str(watch) != record.watched.path:
                raise TrainingError(
                    f"{folder}: has watched {shown_address(record.watched.path)}, got --watch {shown_address(str(watch))}. Leave "
                    "out --watch to go on."
                )
            watch, watch_every = record.watched.path, watch_every or record.watched.every
    else:
        if resume:
            logger.warning("%s: there is no run to go on with; beginning a new one", folder)
        chosen = settings if settings is not None else known.settings()
        calibration_share = CALIBRATION_SHARE if calibration_share is None else calibration_share
        require_share(calibration_share)
        threads = 1 if threads is None and known.gives == "window" else threads
    if watch_every is not None and (watch is None or watch_every < 1):
        raise ConfigError(f"--watch-every {watch_every}: expected 1 or more, and --watch PATH with labelled parts.")
    _check_epochs("animation_epochs", animation_epochs)
    _check_epochs("checkpoint_epochs", checkpoint_epochs)
    place = device_named(device)
    with _surroundings(seed, threads, place) as used_threads:
        good = open_good(
            open_data(data) if record is None else _opened_again(data, record, folder),
            known,
            chosen,
            seed=seed,
            group=group,
            calibration_share=calibration_share,
            progress=progress,
        )
        begun = RunRecord(
            recipe=known.name,
            recipe_version=known.version,
            andon=version("andon"),
            settings=msgspec.json.decode(msgspec.json.encode(chosen)),  # as it will be read
            input=good.spec,
            split=good.split,
            fingerprint=good.fingerprint,
            lost=good.lost,
            copies=good.copies,
            contents=good.contents,
            data=str(data) if isinstance(data, str | Path) else "",
            group=group,
            calibration_share=calibration_share,
            seed=seed,
            threads=used_threads,
            device=place.type,
            versions={package: version(package) for package in ("andon", "numpy", "torch")},
            picture_epochs=None if picture_epochs is None else tuple(picture_epochs),
            animation_epochs=_recorded(animation_epochs),
            checkpoint_epochs=_recorded(checkpoint_epochs),
        )
        changed = record is not None and (
            (record.fingerprint, record.input) != (good.fingerprint, good.spec)
            or (bool(record.contents) and record.contents != good.contents)
        )
        if changed:
            raise TrainingError(f"{folder}: the data have changed since this run began. Start a new run.")
        labelled = _labelled(watch, begun, resumed=record, progress=progress)
        if labelled is not None:
            begun = msgspec.structs.replace(
                begun, watched=Watched(path=str(watch), parts=labelled.counts, every=watch_every)
            )
        elif record is not None:
            begun = msgspec.structs.replace(begun, watched=record.watched)
        write = begin if record is None else write_record
        write(folder, begun)
        return _fit(
            folder, begun, known, chosen, good, labelled=labelled, resume=resume, device=place, progress=progress
        )


def _share_begun_with(record: RunRecord, came: float | None, folder: Path) -> float:
    if came not in (None, record.calibration_share):
        raise TrainingError(
            f"{folder}: was begun with --calibration-share {record.calibration_share:g}, came {came:g}; leave it out to go "
            "on, or start a new run."
        )
    return record.calibration_share


def _check_epochs(name: str, epochs: Epochs) -> None:
    if isinstance(epochs, int) and epochs < 1:
        raise ConfigError(f"{name} {epochs}: expected 1 (each epoch) or more (each so many), or a list of epochs.")


def _recorded(epochs: Epochs) -> int | tuple[int, ...] | None:
    return epochs if epochs is None or isinstance(epochs, int) else tuple(epochs)


def _differences(begun: msgspec.Struct, came: msgspec.Struct) -> str:
    """Which settings differ, for people."""
    known, given = msgspec.structs.asdict(begun), msgspec.structs.asdict(came)
    return ", ".join(
        f"{name}: begun with {known[name]}, came {given[name]}" for name in known if known[name] != given.get(name)
    )


def open_data(data: Data) -> Collection | Log:
    """Open a path or name; pass on what is open already.

    Raises:
        DataError: nothing readable there.
    """
    return collect(str(data)) if isinstance(data, str | Path) else data


def open_again(data: Data, record: RunRecord) -> Collection | Log:
    """Open the data of a run that has begun: of a folder of pictures, those that training chose then.

    What else the folder holds by now does not matter: the run knows its parts by key and content. `good_part` chooses for a
    new training only, and would refuse the folder for a neighbour that came later.

    Raises:
        DataError: nothing readable there.
    """
    if not isinstance(data, str | Path) or find(str(data)).name != "images":
        return open_data(data)
    return images.chosen(str(data), _keys_of(record))


def _keys_of(record: RunRecord) -> set[str]:
    used = record.split
    return {*used.train, *used.validation, *used.calibration, *record.copies}


def _opened_again(data: Data, record: RunRecord, folder: Path) -> Collection | Log:
    opened = open_again(data, record)
    if isinstance(opened, Pictures):
        present = {ref.key for ref in opened.refs}
        missing = sorted(_keys_of(record) - present)
        if missing:
            raise TrainingError(
                f"{folder}: the data have changed since this run began: {len(missing)} of its pictures are not in "
                f"{shown_address(str(data))} any more, the first is {printable(missing[0])}. Give their present place with "
                "--data, or start a new run."
            )
    return opened


def _labelled(
    watch: str | Path | None, begun: RunRecord, *, resumed: RunRecord | None, progress: Progress
) -> Labelled | None:
    if watch is None:
        return None
    try:
        return open_labelled(str(watch), begun.input, begun.split, data=begun.data, seed=begun.seed, progress=progress)
    except DataError as error:
        if resumed is None or resumed.watched is None:
            raise
        logger.warning("going on without watching: %s", error)  # a training does not depend on what watches it
        return None


def _fit(
    folder: Path,
    begun: RunRecord,
    known: Recipe,
    settings: Any,
    good: GoodParts,
    *,
    labelled: Labelled | None,
    resume: bool,
    device: torch.device,
    progress: Progress,
) -> LoadedRun:
    reading = known.reading(settings)
    every = begun.watched.every if begun.watched is not None else None
    watch = None if labelled is None else Watch(labelled, good.spec, reading, device=device, every=every)
    album = Album(
        folder / PICTURES, good, good.spec, reading, device=device, epochs=begun.picture_epochs, watched=labelled
    )
    sample = known.sample
    reel = Reel(
        folder / REEL,
        good,
        good.spec,
        reading,
        device=device,
        seed=begun.seed,
        epochs=begun.animation_epochs,
        watched=labelled,
        sampler=None if sample is None else lambda scorer, count, drawn: sample(scorer, settings, count, drawn),
    )
    checkpoints = Checkpoints(
        folder,
        lambda: known.build(settings, good.spec),
        lambda scorer: known.finalize(scorer, good, settings, device) if known.finalize is not None else None,
        epochs=begun.checkpoint_epochs,
        sealed=seal(begun),
    )
    looking = (checkpoints.look, album.look, reel.look)
    observers = looking if watch is None else (watch.look, *looking)
    run = FolderRun(folder, seed=begun.seed, device=device, progress=progress, observers=observers, of=identity(begun))
    scorer = known.build(settings, good.spec)
    if resume and run.resume(scorer):
        logger.info("%s: going on after epoch %d", folder, len(run.history))
    reel.go_on_after(len(run.history))
    scorer = scorer.to(run.device)
    try:
        known.learn(scorer, good, settings, run)
    except BaseException:
        with contextlib.suppress(AndonError):
            _draw(run, begun.watched, settings)  # what there is so far, after Ctrl-C and after a divergence
        raise
    watched = begun.watched and msgspec.structs.replace(begun.watched, rows=tuple(run.watched))
    digest = write_weights(folder / MODEL, scorer, sealed=seal(begun))
    record = msgspec.structs.replace(
        begun,
        history=tuple(run.history),
        watched=watched,
        weights_sha256=digest,
        pretrained=tuple(known.weights(settings)),  # now: a fit may have fetched them, and a cache may change later
        finished=True,
    )
    write_record(folder, record)
    run.finish()
    # what people look at comes last: nothing that fails there can cost the training
    if watch is not None and watched is not None:
        watched = msgspec.structs.replace(watched, kept=watch.auroc(scorer))
        record = msgspec.structs.replace(record, watched=watched)
        write_record(folder, record)
    with _only_looking():
        album.look_at_kept(scorer, _kept(run.history, settings))
    if begun.picture_epochs is None or begun.picture_epochs:
        with _only_looking():
            latent_plane.draw(scorer, good, labelled, folder / PICTURES / "latent.png", device=device)
        if run.history:
            scores = folder / PICTURES / "scores.png"
            with _only_looking():
                score_histogram.draw(scorer, good, labelled, scores, spec=good.spec, reading=reading, device=device)
    if begun.checkpoint_epochs and not run.history:
        logger.warning("%s learns in one go: there are no epochs to keep checkpoints of", known.name)
    if run.history:
        with _only_looking():
            reel.look_at_kept(scorer, _kept(run.history, settings))
    with _only_looking():
        _draw(run, watched, settings)
    scorer = scorer.to("cpu").eval()
    return LoadedRun(path=folder, record=record, recipe=known, settings=settings, scorer=scorer)


@contextlib.contextmanager
def _only_looking() -> Iterator[None]:
    """What cannot be drawn is told, and costs neither what else is drawn nor the run that has just finished."""
    try:
        yield
    except AndonError as error:
        logger.warning("%s The run itself has finished.", error)


def _kept(history: Sequence[Row], settings: Any) -> int | None:
    """The epoch whose weights `descend` keeps; None for a fit of its own, which may keep others."""
    if not isinstance(settings, Plan) or not history:
        return None
    if settings.by_cosine:
        return len(history)
    judged = [row.get("validation", row.get("train")) for row in history]
    losses = [(loss, epoch) for epoch, loss in enumerate(judged, 1) if loss is not None]
    return min(losses)[1] if losses else None


def _draw(run: FolderRun, watched: Watched | None, settings: Any) -> None:
    """The curves; nothing for a fit that did not go by epochs."""
    if not run.history:
        return
    caption = ""
    if watched is not None:
        parts = ", ".join(f"{count} {kind}" for kind, count in watched.parts.items())
        caption = f"watched, never used: {parts}"
    figure = curves(
        run.history,
        kept=_kept(run.history, settings),
        watched=run.watched,
        watched_caption=caption,
        kept_auroc=None if watched is None else watched.kept,
    )
    save(figure, run.folder / PICTURES / "curves.png")


@contextlib.contextmanager
def _surroundings(seed: int, threads: int | None, device: torch.device) -> Iterator[int]:
    """Seed, threads and determinism for one training; the caller's are as before afterwards."""
    threads_before = torch.get_num_threads()
    strict_before = torch.get_deterministic_debug_mode()
    with drawn_apart(device):
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        # On CUDA some backward passes have no deterministic form, and equality between machines is promised nowhere.
        # The same switch as use_deterministic_algorithms, which would import torch's compiler: two seconds.
        torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(threads_before)
            torch.set_deterministic_debug_mode(strict_before)
