"""From good data to a run folder: what ``andon train`` does.

>>> run = train("window_vae", "logs/good.csv", "runs/pump")                       # doctest: +SKIP
>>> export_run(run, "pump.onnx", wish=Wish(), date="2026-11-22")                  # doctest: +SKIP
"""

import contextlib
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from andon.runtime.errors import DeviceError, TrainingError
from andon.runtime.progress import Progress, silent
from andon.sources.items import Collection
from andon.sources.log import Log
from andon.sources.source import collect
from andon.training.good_parts import GoodParts, open_good
from andon.training.pictures import draw_losses
from andon.training.recipe import Recipe, recipe
from andon.training.run_folder import (
    PICTURES,
    RUN,
    FolderRun,
    LoadedRun,
    RunRecord,
    check_recipe,
    load,
    read_record,
    read_settings,
    write_model,
    write_record,
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
    device: Literal["cpu", "cuda", "auto"] = "auto",
    threads: int | None = None,
    resume: bool = False,
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
        device: to learn on; ``auto`` takes CUDA where there is one.
        threads: of PyTorch on the CPU; None: one for windows, whose nets are so small that a second thread only gets in
            the way, and as PyTorch is set for frames. Another number gives other (equally good) weights.
        resume: go on after the last whole epoch of an interrupted run, with its own settings, seed, group, device and
            threads; begins where there is no run yet, and gives back a finished one.
        progress: told of reading and training.

    Raises:
        TrainingError: there is a run already, it diverged, or what should be resumed was another training.
        DataError: data that cannot be learnt from.
        ConfigError: no such detector or setting.
        DeviceError: no such device.
    """
    folder = Path(out)
    known = detector if isinstance(detector, Recipe) else recipe(detector)
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
        seed, group, threads = record.seed, record.group, record.threads
        device = "cuda" if record.device == "cuda" else "cpu"
    else:
        if resume:
            logger.warning("%s: there is no run to go on with; beginning a new one", folder)
        chosen = settings if settings is not None else known.settings()
        threads = 1 if threads is None and known.gives == "window" else threads
    place = _device(device)
    with _surroundings(seed, threads, place) as used_threads:
        good = open_good(open_data(data), known, chosen, seed=seed, group=group, progress=progress)
        begun = RunRecord(
            recipe=known.name,
            recipe_version=known.version,
            andon=version("andon"),
            settings=msgspec.json.decode(msgspec.json.encode(chosen)),  # as it will be read
            input=good.spec,
            split=good.split,
            fingerprint=good.fingerprint,
            lost=good.lost,
            data=str(data) if isinstance(data, str | Path) else "",
            group=group,
            seed=seed,
            threads=used_threads,
            device=place.type,
            versions={package: version(package) for package in ("andon", "numpy", "torch")},
        )
        if record is not None and (record.fingerprint, record.input) != (good.fingerprint, good.spec):
            raise TrainingError(f"{folder}: the data have changed since this run began. Start a new run.")
        write_record(folder, begun)
        run = FolderRun(folder, seed=seed, device=place, progress=progress)
        return _fit(run, begun, known, chosen, good, resume=resume)


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


def _fit(run: FolderRun, begun: RunRecord, known: Recipe, settings: Any, good: GoodParts, *, resume: bool) -> LoadedRun:
    folder = run.folder
    scorer = known.build(settings, good.spec)
    if resume and run.resume(scorer):
        logger.info("%s: going on after epoch %d", folder, len(run.history))
    scorer = scorer.to(run.device)
    known.fit(scorer, good, settings, run)
    scorer = scorer.to("cpu").eval()
    record = msgspec.structs.replace(begun, history=tuple(run.history), finished=True)
    write_model(folder, scorer)
    write_record(folder, record)
    run.finish()
    draw_losses(record.history, folder / PICTURES / "losses.png")
    return LoadedRun(path=folder, record=record, recipe=known, settings=settings, scorer=scorer)


def _device(wanted: str) -> torch.device:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise DeviceError("cuda was asked for, but this PyTorch sees no CUDA device. Use --device cpu.")
    if wanted not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"expected the device 'cpu', 'cuda' or 'auto', got {wanted!r}.")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


@contextlib.contextmanager
def _surroundings(seed: int, threads: int | None, device: torch.device) -> Iterator[int]:
    """Seed, threads and determinism for one training; the caller's are as before afterwards."""
    threads_before = torch.get_num_threads()
    strict_before = torch.get_deterministic_debug_mode()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
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
