"""Run a comparison, one cell after the other. Several processes can share one comparison. ``andon compare`` calls this module.

>>> plan = Plan(choices=(parse_detector("patchcore"),), sets=(parse_data("parts/"),), seeds=(0, 1))   # doctest: +SKIP
>>> compare(plan, "compare/", Surroundings(date="2026-11-25"))                                         # doctest: +SKIP
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from andon.drawing.style import png_of
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import AndonError
from andon.foundation.progress import Progress, silent
from andon.training.comparison.bars import bars
from andon.training.comparison.cell import Surroundings, free_memory, run_cell, warm_up
from andon.training.comparison.check import check
from andon.training.comparison.plan import Cell, Plan, cells, share
from andon.training.comparison.results import (
    ERROR,
    RESULT,
    Failure,
    Result,
    cell_statuses,
    read,
    reserve_folder,
    with_new_defaults,
    write,
)
from andon.training.comparison.table import Table, as_json, markdown, table_of
from andon.training.runs.folder_lock import lock_folder

logger = logging.getLogger(__name__)


class Events(Struct, frozen=True, kw_only=True):
    """Callbacks of a comparison. Each gets the cell, its number within the share, counted from 1, and the number of cells."""

    started: Callable[[Cell, int, int], None] = lambda _cell, _number, _of: None
    done: Callable[[Cell, int, int, Result], None] = lambda _cell, _number, _of, _result: None
    failed: Callable[[Cell, int, int, str], None] = lambda _cell, _number, _of, _why: None
    progress: Progress = silent


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
    plan: Plan, out: Path | str, where: Surroundings, *, part: tuple[int, int] = (1, 1), events: Events | None = None
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

    Raises:
        AndonError: a cell that is not done yet has an error in its plan or data. Raised before any cell starts.
    """
    folder, events = Path(out), events or Events()
    listed = cells(plan, more=tuple(where.more))
    left = [cell for cell in listed if not _is_done(cell, folder)]
    check(left, progress=events.progress)
    for cell in listed:
        reserve_folder(folder / cell.folder, cell.key, type(cell.choice.settings))
    done, before, failed, elsewhere = _do(share(listed, *part), folder, where, events)
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
    if not all(_is_done(cell, folder) for cell in mine):
        warm_up()
    for number, cell in enumerate(mine, 1):
        place = folder / cell.folder
        if _is_done(cell, folder):
            before.append(cell.folder)
            continue
        with lock_folder(place) as lock:
            if lock is None:
                logger.info("%s: another process is working on this cell", cell)
                elsewhere.append(cell.folder)
                continue
            if _is_done(cell, folder):  # another process has just finished it and released the lock
                before.append(cell.folder)
                continue
            events.started(cell, number, len(mine))
            try:
                result = run_cell(cell, place, where, lock, progress=events.progress)
            except Exception as error:  # noqa: BLE001 - recorded with its traceback; a bug in one cell must not stop the rest
                failed.append(cell.folder)
                _write_failure(error, place, where.date)
                events.failed(cell, number, len(mine), _one_line(error))
            else:
                (place / ERROR).unlink(missing_ok=True)
                done.append(cell.folder)
                events.done(cell, number, len(mine), result)
        free_memory()
        write_table(folder)
    still = [cell.folder for cell in mine if cell.folder in elsewhere and not _is_done(cell, folder)]
    return done, [*before, *(place for place in elsewhere if place not in still)], failed, still


def _is_done(cell: Cell, folder: Path) -> bool:
    result = read(folder / cell.folder / RESULT, Result)
    return result is not None and with_new_defaults(result.cell, type(cell.choice.settings)) == cell.key


def _write_failure(error: Exception, place: Path, date: str) -> None:
    expected = isinstance(error, AndonError)
    trace = "" if expected else "".join(traceback.format_exception(error))
    write(place / ERROR, Failure(message=_one_line(error), kind=type(error).__name__, traceback=trace, date=date))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AndonError) else f"{type(error).__name__}: {text}"
