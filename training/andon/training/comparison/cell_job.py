"""Run one cell of a comparison in another process or on another machine, for the engines of `andon.engines`.

A try works in a folder of its own, ``seed-N.part-DRIVER-TRY``, and never resumes what another try has begun. Its last step moves
the files into the folder of the cell, the result last. So a worker can die at any moment, and the table is made from folders.
"""

import functools
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from andon.calibration.request import PromiseRequest
from andon.engines.engine import UnfitWorkerError
from andon.training.comparison.cell import Surroundings, free_memory, run_cell, warm_up
from andon.training.comparison.data_fingerprint import data_fingerprint
from andon.training.comparison.failure import write_failure
from andon.training.comparison.plan import Cell, Choice, DataSet
from andon.training.comparison.results import (
    COST,
    ERROR,
    EVALUATION,
    MODEL,
    RESULT,
    RUN_FOLDER,
    is_done,
    part_folders,
    part_prefix,
)
from andon.training.recipe.recipe import recipe
from andon.training.runs.folder_lock import is_locked, lock_folder
from andon.training.runs.window_choice import WindowRequest


class CellJob(Struct, frozen=True, kw_only=True):
    """A cell that can be sent to another process. It names its detector, because a recipe has functions."""

    detector: str
    settings: bytes
    """All settings, as JSON."""
    window: WindowRequest
    name: str
    data: DataSet
    seed: int
    promise: PromiseRequest
    more: tuple[str, ...]

    @classmethod
    def of(cls, cell: Cell) -> "CellJob":
        """Return the job of a cell."""
        return cls(
            detector=cell.choice.recipe.name,
            settings=msgspec.json.encode(cell.choice.settings),
            window=cell.choice.window,
            name=cell.choice.name,
            data=cell.data,
            seed=cell.seed,
            promise=cell.promise,
            more=cell.more,
        )

    def cell(self) -> Cell:
        """Return the cell.

        Raises:
            ConfigError: this installation does not have the detector.
        """
        known = recipe(self.detector)
        settings = msgspec.json.decode(self.settings, type=known.settings)
        choice = Choice(recipe=known, settings=settings, window=self.window, name=self.name)
        return Cell(choice=choice, data=self.data, seed=self.seed, promise=self.promise, more=self.more)


class JobConditions(Struct, frozen=True, kw_only=True):
    """Everything that the jobs of one driver have in common."""

    out: str
    """Folder of the comparison, absolute. All workers see it under this path."""
    folder: str
    """Working folder of the driver. Paths of data sets can be relative to it."""
    where: Surroundings
    driver: str
    """Identifies this driver. Folders of its own dead tries do not keep a try waiting."""
    fingerprints: Mapping[str, str] = {}
    """Digest by name of each data set, as the driver sees it. Empty if all workers are on its machine."""


class Outcome(Struct, frozen=True, kw_only=True):
    """Outcome of a job. The result itself is in the folder of the cell."""

    state: Literal["done", "before", "elsewhere", "failed"]
    error: str = ""
    """Readable error of a cell that failed. It is in ``error.json`` too."""


def run_job(job: CellJob, *, conditions: JobConditions) -> Outcome:
    """Run a cell in a new folder, and move it into its place.

    Raises:
        UnfitWorkerError: this machine does not see the folder of the comparison, or sees other data. The message has its name.
    """
    _require_same_data(job.data, conditions)
    cell = job.cell()
    place = Path(conditions.out) / cell.folder
    own = part_prefix(place) + conditions.driver
    if is_done(cell, Path(conditions.out)):
        return Outcome(state="before")
    if is_locked(place) or any(is_locked(part) for part in part_folders(place) if not part.name.startswith(own)):
        return Outcome(state="elsewhere")
    _warm_up_once()
    part = place.with_name(f"{own}-{uuid.uuid4().hex[:8]}")
    try:
        with lock_folder(part) as lock:
            if lock is None:
                return Outcome(state="elsewhere")
            run_cell(cell, part, conditions.where, lock)
            lock.check()
            return Outcome(state=_commit(cell, part, place, Path(conditions.out)))
    except Exception as error:  # noqa: BLE001 - recorded with its traceback; a bug in one cell must not stop the rest
        return Outcome(state="failed", error=write_failure(error, place, conditions.where.date))
    finally:
        shutil.rmtree(part, ignore_errors=True)
        free_memory()


def remove_dead_parts(places: Iterator[Path]) -> None:
    """Remove the folders of tries that have ended without their last step."""
    for place in places:
        for part in part_folders(place):
            with lock_folder(part) as lock:
                if lock is not None:
                    shutil.rmtree(part, ignore_errors=True)


def _require_same_data(data: DataSet, conditions: JobConditions) -> None:
    node = socket.gethostname()
    try:
        os.chdir(conditions.folder)
    except OSError as error:
        raise UnfitWorkerError(
            f"node {node}: expected the working folder {conditions.folder}, got: {error.strerror}. Use a folder that all nodes "
            "share."
        ) from error
    if not Path(conditions.out).is_dir():
        raise UnfitWorkerError(
            f"node {node}: expected the folder of the comparison {conditions.out}, found none. Use a folder that all nodes share."
        )
    expected = conditions.fingerprints.get(data.name)
    if expected is not None and _fingerprint_here(data) != expected:
        raise UnfitWorkerError(
            f"set {data.name}: expected the data of the machine that started the comparison, got other data on node {node}. Use "
            "a folder that all nodes share, or copy the data again."
        )


_fingerprint_here = functools.cache(data_fingerprint)
_warm_up_once = functools.cache(warm_up)


def _commit(cell: Cell, part: Path, place: Path, out: Path) -> Literal["done", "before", "elsewhere"]:
    """Move the files of a finished try into the folder of its cell."""
    with lock_folder(place) as lock:
        if lock is None:
            return "elsewhere"
        if is_done(cell, out):
            return "before"
        # an interrupted training without an engine, which the next one would otherwise resume
        shutil.rmtree(place / RUN_FOLDER, ignore_errors=True)
        for name in (COST, RUN_FOLDER, MODEL, EVALUATION, RESULT):
            (part / name).replace(place / name)
        (place / ERROR).unlink(missing_ok=True)
    return "done"
