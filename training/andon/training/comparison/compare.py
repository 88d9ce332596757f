"""Run a comparison, one cell after the other. Several processes can share one comparison. ``andon compare`` calls this module.

>>> plan = Plan(choices=(parse_detector("patchcore"),), sets=(parse_data("parts/"),), seeds=(0, 1))   # doctest: +SKIP
>>> compare(plan, "compare/", Surroundings(date="2026-11-25"))                                         # doctest: +SKIP
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from andon.drawing.style import png_of
from andon.engines.engine import EngineName, open_engine
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import TrainingError
from andon.foundation.progress import Progress, silent
from andon.training.comparison.bars import bars
from andon.training.comparison.cell import Surroundings, free_memory, run_cell, warm_up
from andon.training.comparison.cell_job import CellJob, JobConditions, Outcome, remove_dead_parts, run_job
from andon.training.comparison.check import check
from andon.training.comparison.data_fingerprint import data_fingerprint
from andon.training.comparison.failure import write_failure
from andon.training.comparison.plan import Cell, Plan, cells, share
from andon.training.comparison.results import (
    ERROR,
    RESULT,
    Result,
    cell_statuses,
    is_done,
    read,
    reserve_folder,
)
from andon.training.comparison.set_masks import refuse_other_masks, with_pixels_read
from andon.training.comparison.table import Table, as_json, markdown, table_of
from andon.training.runs.folder_lock import lock_folder

logger = logging.getLogger(__name__)


class Events(Struct, frozen=True, kw_only=True):
    """Callbacks of a comparison. Each gets the cell, its number within the share, counted from 1, and the number of cells."""

    started: Callable[[Cell, int, int], None] = lambda _cell, _number, _of: None
    done: Callable[[Cell, int, int, Result], None] = lambda _cell, _number, _of, _result: None
    failed: Callable[[Cell, int, int, str], None] = lambda _cell, _number, _of, _why: None
    progress: Progress = silent


class EngineRequest(Struct, frozen=True, kw_only=True):
    """Choice of the engine that runs several cells at the same time. See `andon.engines.engine.open_engine`."""

    name: EngineName = "local"
    address: str | None = None
    """Address of a Ray cluster. None: on this machine."""
    workers: int | None = None
    """Number of cells at the same time. None: the number of CPUs, divided by the threads of a cell."""


class Compared(Struct, frozen=True, kw_only=True):
    """Outcome of the cells of a share, and the table of all cells in the folder."""

    table: Table
    done: tuple[str, ...]
    """Folders of cells that this call finished."""
    before: tuple[str, ...]
    """Folders of cells that were finished earlier, or by another process in the meantime."""
    failed: tuple[str, ...]
    """Folders of cells that failed in this call."""
    elsewhere: tuple[str, ...]
    """Folders of cells that another process is still working on."""

    @property
    def complete(self) -> bool:
        """True if each cell of the share has a result."""
        return not (self.failed or self.elsewhere)


def compare(
    plan: Plan,
    out: Path | str,
    where: Surroundings,
    *,
    part: tuple[int, int] = (1, 1),
    events: Events | None = None,
    engine: EngineRequest | None = None,
) -> Compared:
    """Run all cells that are not done yet. Repeat the same call to continue after an interruption.

    A cell that fails writes ``error.json``, and the other cells continue. The next call tries it again. Several processes,
    on one machine or on many that share a file system, may run the same comparison. Each cell is done by one of them.

    Args:
        plan: what to compare.
        out: the folder of the comparison. It may contain cells of other plans, which appear in the table too.
        where: threads, device and other conditions.
        part: ``(which, of)``: run only this share of the cells, for array jobs.
        events: callbacks for each cell.
        engine: run several cells at the same time, in other processes or on other machines. Each cell then starts from the
            beginning after an interruption, with `Surroundings.threads` threads (None: 1). By default the cells run one after
            the other in this process.

    Raises:
        ConfigError: the engine cannot be opened, see `open_engine`.
        AndonError: a cell that is not done yet has an error in its plan or data. Raised before any cell starts.
    """
    folder, events = Path(out), events or Events()
    listed = cells(with_pixels_read(plan), more=tuple(where.more))
    refuse_other_masks(listed, folder)
    left = [cell for cell in listed if not is_done(cell, folder)]
    check(left, progress=events.progress)
    for cell in listed:
        reserve_folder(folder / cell.folder, cell.key, type(cell.choice.settings))
    mine = share(listed, *part)
    if engine is None:
        done, before, failed, elsewhere = _do(mine, folder, where, events)
    else:
        done, before, failed, elsewhere = _do_on_engine(mine, folder, where, events, engine)
    return Compared(
        table=write_table(folder),
        done=tuple(done),
        before=tuple(before),
        failed=tuple(failed),
        elsewhere=tuple(elsewhere),
    )


def write_table(out: Path | str) -> Table:
    """Write ``table.md``, ``table.json`` and, if a cell is done, ``table.png`` from the folders of the cells.

    Raises:
        DataError: `out` contains no comparison, or a damaged one.
        MissingExtra: matplotlib is not installed.
    """
    table = table_of(cell_statuses(Path(out)), where=str(out))
    write_atomically(Path(out) / "table.json", as_json(table))
    write_atomically(Path(out) / "table.md", markdown(table).encode())
    picture = bars(table)
    if picture is not None:
        write_atomically(Path(out) / "table.png", png_of(picture))
    return table


def _do(
    mine: Sequence[Cell], folder: Path, where: Surroundings, events: Events
) -> tuple[list[str], list[str], list[str], list[str]]:
    done, before, failed, elsewhere = [], [], [], []
    if not all(is_done(cell, folder) for cell in mine):
        warm_up()
    for number, cell in enumerate(mine, 1):
        place = folder / cell.folder
        if is_done(cell, folder):
            before.append(cell.folder)
            continue
        with lock_folder(place) as lock:
            if lock is None:
                logger.info("%s: another process is working on this cell", cell)
                elsewhere.append(cell.folder)
                continue
            if is_done(cell, folder):  # another process has just finished it and released the lock
                before.append(cell.folder)
                continue
            events.started(cell, number, len(mine))
            try:
                result = run_cell(cell, place, where, lock, progress=events.progress)
            except Exception as error:  # noqa: BLE001 - recorded with its traceback; a bug in one cell must not stop the rest
                failed.append(cell.folder)
                events.failed(cell, number, len(mine), write_failure(error, place, where.date))
            else:
                (place / ERROR).unlink(missing_ok=True)
                done.append(cell.folder)
                events.done(cell, number, len(mine), result)
        free_memory()
        write_table(folder)
    still = [cell.folder for cell in mine if cell.folder in elsewhere and not is_done(cell, folder)]
    return done, [*before, *(place for place in elsewhere if place not in still)], failed, still


def _do_on_engine(
    mine: Sequence[Cell], folder: Path, where: Surroundings, events: Events, request: EngineRequest
) -> tuple[list[str], list[str], list[str], list[str]]:
    of: dict[str, list[str]] = {"done": [], "before": [], "failed": [], "elsewhere": []}
    of["before"] = [cell.folder for cell in mine if is_done(cell, folder)]
    left = [(number, cell) for number, cell in enumerate(mine, 1) if cell.folder not in of["before"]]
    threads = where.threads or 1
    jobs = {CellJob.of(cell): (number, cell) for number, cell in left}
    conditions = JobConditions(
        out=os.path.abspath(folder),  # noqa: PTH100 - not resolve(): other machines may see another link
        folder=str(Path.cwd()),
        where=replace(where, threads=threads),
        driver=uuid.uuid4().hex[:8],
        fingerprints={}
        if request.name == "local"
        else {data.name: data_fingerprint(data) for data in {cell.data.name: cell.data for _, cell in left}.values()},
    )

    def started() -> Iterator[CellJob]:
        for job, (number, cell) in jobs.items():
            events.started(cell, number, len(mine))
            yield job

    remove_dead_parts(folder / cell.folder for _, cell in left)
    try:
        with (
            _thread_limit(threads),
            open_engine(request.name, workers=request.workers, cpus=threads, address=request.address) as engine,
            closing(
                engine.map_unordered(
                    partial(run_job, conditions=conditions),
                    started(),
                    cpus=threads,
                    gpus=1 if where.device == "cuda" else 0,
                )
            ) as results,  # type: ignore[type-var]
        ):
            for result in results:
                number, cell = jobs[result.item]
                place = folder / cell.folder
                outcome = result.value or Outcome(
                    state="failed", error=write_failure(TrainingError(result.error), place, where.date)
                )
                of[outcome.state].append(cell.folder)
                record = read(place / RESULT, Result)
                if outcome.state == "failed":
                    events.failed(cell, number, len(mine), outcome.error)
                elif outcome.state == "done" and record is not None:
                    events.done(cell, number, len(mine), record)
                write_table(folder)
    finally:
        # workers that were stopped, for example by Ctrl-C, leave theirs
        remove_dead_parts(folder / cell.folder for _, cell in left)
    return of["done"], of["before"], of["failed"], of["elsewhere"]


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Limit the threads of numerical libraries in processes that start within the block. They read these variables once."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
