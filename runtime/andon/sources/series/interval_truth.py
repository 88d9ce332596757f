"""The truth about a log from a table of intervals: ``start,end[,kind][,file]``, one line for each fault.

`start` and `end` are times of the log, both inclusive: ISO dates, or numbers as in the time column of the log. `file` is the name
of a file of the log. It may be left out if only one file of the log was recorded at that time. Every row outside all
intervals is good.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.foundation.settings import nearest
from andon.sources.series.log import Log, Run
from andon.sources.series.tables import is_number, read_table
from andon.sources.series.time_units import since_1970


class FaultInterval(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    start: str
    end: str
    kind: str = ""
    file: str = ""
    line: int = 0


def is_interval_table(path: Path) -> bool:
    """Return whether a CSV file has the columns of a table of intervals. False for a file that cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    names = {name.strip().strip('"') for separator in ",;\t|" for name in header.strip().split(separator)}
    return {"start", "end"} <= names


def read_intervals(path: Path) -> tuple[FaultInterval, ...]:
    """Read a table of intervals.

    Raises:
        DataError: the file cannot be read, or a column or a time is missing. The message contains the line.
    """
    return tuple(
        FaultInterval(start=row["start"], end=row["end"], kind=row.get("kind", ""), file=row.get("file", ""), line=line)
        for line, row in read_table(path, ("start", "end"))
    )


def with_intervals(log: Log, intervals: Sequence[FaultInterval], where: str) -> Log:
    """Return the log with these faults as its truth. They replace the labels of the log.

    Args:
        log: the log.
        intervals: its faults.
        where: name of the table, for messages.

    Raises:
        DataError: a time cannot be read, an interval ends before it begins, its file is unknown, or it holds no row. Also
            if several files were recorded at that time and the interval does not name one.
    """
    faulty = {run.name: np.zeros(len(run.times_s), dtype=np.bool_) for run in log.runs}
    kinds = {run.name: np.full(len(run.times_s), "", dtype=object) for run in log.runs}
    for one in intervals:
        place = f"{where}, line {one.line}"
        run, inside = _rows(log, one, place)
        faulty[run.name] |= inside
        kinds[run.name][inside] = one.kind
    named = any(one.kind for one in intervals)
    return replace(
        log,
        runs=tuple(
            replace(
                run,
                faulty=faulty[run.name],
                recovering=None,
                fault=kinds[run.name].astype(np.str_) if named else None,
            )
            for run in log.runs
        ),
    )


def _rows(log: Log, one: FaultInterval, place: str) -> tuple[Run, NDArray[np.bool_]]:
    """Return the run of an interval, and which of its rows are within."""
    candidates = _named(log, one.file, place) if one.file else log.runs
    found = []
    for run in candidates:
        start_s, end_s = (_seconds(text, run, place) for text in (one.start, one.end))
        if not start_s <= end_s:
            raise DataError(f"{place}: expected start <= end, got {one.start} and {one.end}.")
        inside = (run.times_s >= start_s) & (run.times_s <= end_s)
        if inside.any():
            found.append((run, inside))
    if len(found) > 1:
        names = ", ".join(run.name for run, _ in found[:3])
        raise DataError(
            f"{place}: expected an interval in one file of the log, got one that fits {len(found)} files ({names}). Add a column "
            "file with the name of the file."
        )
    if not found:
        first, last = min(run.times_s[0] for run in candidates), max(run.times_s[-1] for run in candidates)
        raise DataError(
            f"{place}: expected an interval with rows of the log, which go from {_shown(first)} to {_shown(last)}, got "
            f"{one.start} to {one.end}. Use the times of the log; dates without a time zone are UTC."
        )
    return found[0]


def _named(log: Log, file: str, place: str) -> tuple[Run, ...]:
    wanted = PurePosixPath(file.replace("\\", "/"))
    matching = tuple(
        run
        for run in log.runs
        if run.name == file
        or PurePosixPath(run.name).name == str(wanted)
        or PurePosixPath(run.name).stem == str(wanted)
    )
    exact = tuple(run for run in matching if run.name == file)
    if exact or len(matching) == 1:
        return exact or matching
    known = [run.name for run in log.runs]
    raise DataError(f"{place}: expected the name of a file of the log, got {file!r}{nearest(file, known)}.")


def _seconds(text: str, run: Run, place: str) -> float:
    if is_number(text):
        number = float(text)
        unit = since_1970(np.array([number]))
        return number / (unit[1] if unit is not None else run.time_per_s)
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            f"{place}: expected a time, got {text!r}. Write an ISO date such as 2020-03-09 10:14:33, or a number as in the time "
            "column of the log."
        ) from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _shown(time_s: float) -> str:
    if time_s < 1e8:
        return f"{time_s:g} s"
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
