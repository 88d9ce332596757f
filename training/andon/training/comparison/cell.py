"""Run one cell of a comparison: train, export, evaluate, measure. An interrupted training is resumed."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from msgspec import Struct

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.evaluation.logs import evaluate_logs
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent
from andon.runtime.bench import bench
from andon.runtime.detector import Detector
from andon.runtime.mask_pixels import judged_pixels
from andon.runtime.schema import FrameSpec, WindowSpec
from andon.sources.collection import Collection
from andon.sources.opening import open_log
from andon.training.comparison.check import labelled
from andon.training.comparison.plan import Cell, DataSet
from andon.training.comparison.results import (
    COST,
    EVALUATION,
    MODEL,
    RESULT,
    RUN_FOLDER,
    Cost,
    Result,
    frame_figures,
    log_figures,
    read,
    write,
)
from andon.training.fitting.device import Device
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import calibration_part, export_run
from andon.training.runs.fit_state import kept_history
from andon.training.runs.folder_lock import FolderLock
from andon.training.runs.paths import RUN
from andon.training.runs.record import read_record
from andon.training.runs.run_folder import LoadedRun
from andon.training.runs.train import ObserveOptions, TrainOptions, train

Figure = Callable[[Detector, Collection, int], float | None]
"""``figure(detector, calibration, seed)`` returns an additional number for a cell.

Its arguments are the exported detector, the calibration parts and the seed. It returns None if the number is not defined for
such data.
"""


class Surroundings(Struct, frozen=True, kw_only=True):
    """Conditions under which cells run: device, threads and date. They are recorded, but they do not identify a cell."""

    date: str
    """ISO date, for the logs in model files."""
    threads: int | None = None
    """Number of PyTorch threads, as in `TrainOptions`."""
    device: Device = "auto"
    """Device for training. Model files are evaluated and timed on the CPU."""
    bench_s: float = 0.5
    """Seconds for each of the four measurements of `bench`; 0 to measure nothing."""
    more: Mapping[str, Figure] = {}
    """Additional results by name. The cells must be planned with the same names."""


def warm_up() -> None:
    """Import the packages that the first training of a process imports, so that this time is not counted for a cell."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # 4 s, measured, because it imports the compiler
    import matplotlib.figure  # noqa: F401


def free_memory() -> None:
    """Free the memory of a cell for the next one.

    Scorer and optimiser refer to each other, so only the garbage collector frees them.
    """
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def run_cell(cell: Cell, folder: Path, where: Surroundings, lock: FolderLock, *, progress: Progress = silent) -> Result:
    """Run the remaining steps of a cell. Write its result last.

    Raises:
        AndonError: as `train`, `export_run` and `evaluate`, or another process took the cell over.
    """
    run, cost = _train(cell, folder, where, progress)
    lock.check()
    start_s = time.perf_counter()
    exported = export_run(
        run,
        folder / MODEL,
        request=CalibrationRequest(promise=cell.promise, date=where.date),
        data=cell.data.train,
        name=str(cell),
        progress=progress,
    )
    export_s = time.perf_counter() - start_s
    lock.check()
    detector = Detector.load(folder / MODEL)
    start_s = time.perf_counter()
    figures = _evaluate(detector, cell.data, folder / EVALUATION, progress)
    evaluate_s = time.perf_counter() - start_s
    for name, figure in where.more.items():
        value = figure(detector, calibration_part(run, cell.data.train), cell.seed)
        if value is not None and math.isfinite(value):
            figures[name] = value
    timed = bench(folder / MODEL, seconds=where.bench_s, progress=progress) if where.bench_s else None
    record, card = run.record, exported.model.card
    judged = judged_pixels(record.input) if isinstance(record.input, FrameSpec) else None
    result = Result(
        cell=cell.key,
        kind="window" if isinstance(card.input, WindowSpec) else "frame",
        figures=figures,
        promise=card.calibration.sentence if card.calibration else "",
        n_train=record.readable(record.split.train),
        n_validation=record.readable(record.split.validation),
        n_calibration=len(record.split.calibration),
        training=cost,
        export_s=export_s,
        evaluate_s=evaluate_s,
        latency_ms=timed.latency_ms if timed else None,
        gemm_ms=timed.gemm_ms if timed else None,
        item_shape=timed.item_shape if timed else None,
        file_mb=len(exported.model.data) / 1e6,
        model=exported.model.short_digest,
        fingerprint=record.fingerprint,
        threads=record.threads,
        device=record.device,
        andon=record.andon,
        versions=card.versions | record.versions,
        date=where.date,
        judged_share=None if judged is None else float(judged.mean()),
    )
    lock.check()
    write(folder / RESULT, result)
    return result


def _train(cell: Cell, folder: Path, where: Surroundings, progress: Progress) -> tuple[LoadedRun, Cost]:
    place = folder / RUN_FOLDER
    exists = (place / RUN).exists()
    finished_before = exists and read_record(place).finished
    earlier_s = sum(row.get("seconds", math.nan) for row in kept_history(place))
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    run = train(
        cell.choice.recipe,
        cell.data.train,
        place,
        settings=cell.choice.settings,
        options=TrainOptions(
            seed=cell.seed,
            group=cell.data.group,
            calibration_share=cell.data.calibration_share,
            ignore=cell.data.ignore,
            region=cell.data.region,
            window=cell.choice.window,
            device=where.device,
            threads=where.threads,
        ),
        observe=ObserveOptions(picture_epochs=NONE, animation_epochs=NONE),  # drawing would be timed too
        resume=exists,
        progress=progress,
    )
    wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    known = read(folder / COST, Cost)
    if finished_before:
        return run, known or Cost(wall_s=None, cpu_s=None)
    whole_s = wall_s + earlier_s
    cost = Cost(wall_s=whole_s if math.isfinite(whole_s) else None, cpu_s=None if earlier_s else cpu_s)
    write(folder / COST, cost)
    return run, cost


def _evaluate(detector: Detector, data: DataSet, path: Path, progress: Progress) -> dict[str, float]:
    """Return the results of the evaluation. Write the whole evaluation to a file."""
    if isinstance(detector.card.input, WindowSpec):
        labels = Path(data.truth) if data.truth else None
        of_logs = evaluate_logs(detector, open_log(data.tested, truth=labels), progress=progress)
        write(path, of_logs)
        figures = log_figures(of_logs)
    else:
        collection, truth = labelled(data, detector.card.input)
        of_frames, judged = evaluate(detector, collection, truth, by_part=data.group is not None, progress=progress)
        if of_frames.auroc is None:
            raise DataError(
                f"{data.tested}: expected good and defective parts that can be judged, got {of_frames.n_good} good and "
                f"{of_frames.n_defect} defective ones of {len(judged)} parts."
            )
        write(path, of_frames)
        figures = frame_figures(of_frames)
    calibration = detector.card.calibration
    if calibration is not None and calibration.promised:
        figures["promised"] = calibration.alpha
    return figures
