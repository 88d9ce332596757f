"""A comparison: cell after cell in one process, any number of processes beside each other; ``andon compare``.

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
from andon.training.comparison.cell import Surroundings, let_go, run_cell, warm_up
from andon.training.comparison.check import check
from andon.training.comparison.plan import Cell, Plan, cells, share
from andon.training.comparison.results import ERROR, RESULT, Failure, Result, filled, read, standings, take_place, write
from andon.training.comparison.table import Table, as_json, markdown, table_of
from andon.training.runs.folder_lock import lock_folder

logger = logging.getLogger(__name__)


class Events(Struct, frozen=True, kw_only=True):
    """Whom a comparison tells what it does; cells are counted from 1 within the share."""

    begun: Callable[[Cell, int, int], None] = lambda _cell, _number, _of: None
    done: Callable[[Cell, int, int, Result], None] = lambda _cell, _number, _of, _result: None
    failed: Callable[[Cell, int, int, str], None] = lambda _cell, _number, _of, _why: None
    progress: Progress = silent


class Compared(Struct, frozen=True, kw_only=True):
    """What became of the cells of a share, and the table of all that the folder holds."""

    table: Table
    done: tuple[str, ...]
    """Folders of cells that this run finished."""
    before: tuple[str, ...]
    """That had been done already, or were done by another process meanwhile."""
    failed: tuple[str, ...]
    elsewhere: tuple[str, ...]
    """That another process works on and has not finished either."""

    @property
    def complete(self) -> bool:
        """Whether every cell of the share has its result."""
        return not (self.failed or self.elsewhere)


def compare(
    plan: Plan, out: Path | str, where: Surroundings, *, part: tuple[int, int] = (1, 1), tell: Events | None = None
) -> Compared:
    """Do the cells that are not done yet; the same call goes on where it was interrupted.

    A cell that fails leaves ``error.json`` and the others go on; the next call tries it again. Several processes, on one
    machine or many that share a file system, may run the same comparison: each cell is done by one of them.

    Args:
        plan: what is compared.
        out: the folder of the comparison, which may hold cells of other plans; they are in the table too.
        where: threads, device and the like.
        part: ``(which, of)``: only that share of the cells, for array jobs.
        tell: told of each cell.

    Raises:
        AndonError: a mistake in any cell of the plan that is still to be done, before any is begun.
    """
    folder, tell = Path(out), tell or Events()
    listed = cells(plan, more=tuple(where.more))
    left = [cell for cell in listed if not _is_done(cell, folder)]
    check(left, progress=tell.progress)
    for cell in listed:
        take_place(folder / cell.folder, cell.key, type(cell.choice.settings))
    done, before, failed, elsewhere = _do(share(listed, *part), folder, where, tell)
    return Compared(
        table=write_table(folder),
        done=tuple(done),
        before=tuple(before),
        failed=tuple(failed),
        elsewhere=tuple(elsewhere),
    )


def write_table(out: Path | str) -> Table:
    """``table.md``, ``table.json`` and, where a cell is done, ``table.png`` from the folders of the cells.

    Raises:
        DataError: no comparison there, or a damaged one.
        MissingExtra: no matplotlib.
    """
    table = table_of(standings(Path(out)), where=str(out))
    write_atomically(Path(out) / "table.json", as_json(table))
    write_atomically(Path(out) / "table.md", markdown(table).encode())
    picture = bars(table)
    if picture is not None:
        write_atomically(Path(out) / "table.png", png_of(picture))
    return table


def _do(
    mine: Sequence[Cell], folder: Path, where: Surroundings, tell: Events
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
                logger.info("%s: another process works on it", cell)
                elsewhere.append(cell.folder)
                continue
            if _is_done(cell, folder):  # by a process that has just let go of it
                before.append(cell.folder)
                continue
            tell.begun(cell, number, len(mine))
            try:
                result = run_cell(cell, place, where, lock, progress=tell.progress)
            except Exception as error:  # noqa: BLE001 - written down with its traceback; one bug must not cost the night
                failed.append(cell.folder)
                _write_down(error, place, where.date)
                tell.failed(cell, number, len(mine), _one_line(error))
            else:
                (place / ERROR).unlink(missing_ok=True)
                done.append(cell.folder)
                tell.done(cell, number, len(mine), result)
        let_go()
        write_table(folder)
    still = [cell.folder for cell in mine if cell.folder in elsewhere and not _is_done(cell, folder)]
    return done, [*before, *(place for place in elsewhere if place not in still)], failed, still


def _is_done(cell: Cell, folder: Path) -> bool:
    result = read(folder / cell.folder / RESULT, Result)
    return result is not None and filled(result.cell, type(cell.choice.settings)) == cell.key


def _write_down(error: Exception, place: Path, date: str) -> None:
    mistake = isinstance(error, AndonError)
    told = "" if mistake else "".join(traceback.format_exception(error))
    write(place / ERROR, Failure(message=_one_line(error), kind=type(error).__name__, traceback=told, date=date))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AndonError) else f"{type(error).__name__}: {text}"
