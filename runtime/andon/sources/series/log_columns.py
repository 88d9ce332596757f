"""The meaning of the columns of a log: which one is the time, and which numbers a channel has."""

import contextlib
import logging
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.sources.series.tables import Columns, is_number, with_point
from andon.sources.series.time_units import LATEST_S, named_time, since_1970

_ENCODE = "Remove the column, or encode it as numbers"

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class Times(NamedTuple):
    """The times of a log."""

    at: int | None
    """Place of the time column, or None if there is none."""
    seconds: Floats
    """Source times in seconds, ``[n]``."""
    per_s: float = 1.0
    """Units of the column per second, if its name states a unit."""
    unit: str = ""
    """Unit of the column since 1970, if it was recognised from the size of its numbers."""


def times_of(raw: Columns, lowered: list[str], path: Path, *, ordered: bool = True, t_is_time: bool = False) -> Times:
    """Return the time column and the source times in seconds.

    Args:
        raw: the columns.
        lowered: their names in lower case.
        path: the file, for messages.
        ordered: refuse times that are earlier than the one above them. Otherwise the caller sorts the rows.
        t_is_time: a column named t is a time, even if its values do not increase.

    Raises:
        DataError: a time is missing, cannot be read, or is earlier than the one above it.
    """
    for at, (name, column) in enumerate(zip(lowered, raw.cells, strict=True)):
        per_s, unit = 1.0, ""
        if column.dtype.kind == "f":
            time = named_time(name)
            if time is None:
                continue
            per_s = time.per_s or 1.0
            times_s = column.astype(np.float64) / per_s
            if time.base == "t" and not t_is_time and not (np.diff(times_s) >= 0).all():
                continue  # this t may be a temperature
            large = since_1970(times_s[np.isfinite(times_s)]) if time.per_s is None else None
            if large is not None:
                unit = large[0]
                times_s = times_s / large[1]
        elif column.dtype.kind == "M" or _is_date(str(column[0])):
            times_s = _seconds(raw, at, path)
        else:
            continue
        far = np.flatnonzero(np.isfinite(times_s) & (np.abs(times_s) > LATEST_S))
        if len(far) and column.dtype.kind == "f":
            raise DataError(
                f"{place_of(raw, at, int(far[0]), path)}: expected times of one unit before the year 5000, got "
                f"{column[far[0]]:g}. Write seconds or ISO dates in every row."
            )
        wrong = np.flatnonzero(~np.isfinite(times_s))
        if len(wrong):
            raise DataError(
                f"{place_of(raw, at, int(wrong[0]), path)}: expected a time in every row, got an empty cell."
            )
        back = np.flatnonzero(np.diff(times_s) < 0)
        if len(back) and ordered:
            raise DataError(
                f"{place_of(raw, at, int(back[0]) + 1, path)}: expected ascending times, but this one is "
                f"{times_s[back[0]] - times_s[back[0] + 1]:g} s before the row above. If the rows are only out of order, give "
                "--sort. If they are of several runs, write each run into its own file. Use UTC, because local time repeats an "
                "hour in autumn."
            )
        return Times(at, times_s, per_s, unit)
    logger.warning(
        "%s: no time column found (ISO dates, or ascending numbers named time or timestamp); rows are assumed to be 1 s apart",
        path,
    )
    return Times(None, np.arange(len(raw.cells[0]), dtype=np.float64))


def _seconds(raw: Columns, at: int, path: Path) -> Floats:
    """Return seconds since 1970 UTC, with NaN for a missing date."""
    column = raw.cells[at]
    if column.dtype.kind == "U":
        text = np.char.strip(column.astype(np.str_))
        offset = (np.char.count(text, "+") > 0) | (np.char.count(text, "-") > 2)
        zoned = offset | np.char.endswith(text, "Z") | np.char.endswith(text, "z")
        mixed = np.flatnonzero((zoned != zoned[0]) & (text != ""))
        if len(mixed) and text[0]:
            wanted = "with a time zone" if zoned[0] else "without a time zone"
            raise DataError(
                f"{place_of(raw, at, int(mixed[0]), path)}: expected a time {wanted} as in the first row, got "
                f"{str(text[mixed[0]])!r}. Write a time zone in every row, or in none; times without a zone are UTC."
            )
        if not offset.any():
            with contextlib.suppress(ValueError, UserWarning), warnings.catch_warnings():
                # dates for which numpy gives only a warning are parsed one by one below, so that an error names the line
                warnings.simplefilter("error", UserWarning)
                column = np.char.rstrip(text, "Zz ").astype("datetime64[us]")
        if column.dtype.kind == "U":
            return np.array([_stamp(str(text), raw, at, row, path) for row, text in enumerate(column)])
    dates = column.astype("datetime64[us]")
    return np.where(np.isnat(dates), np.nan, dates.astype(np.int64) / 1e6)


def _stamp(text: str, raw: Columns, at: int, row: int, path: Path) -> float:
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise DataError(
            f"{place_of(raw, at, row, path)}: expected an ISO date, for example 2020-03-09 10:14:33, got {text!r}."
        ) from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def numbers_of(raw: Columns, at: int, path: Path) -> Floats:
    """Return the values of a channel, with NaN for an empty cell.

    Raises:
        DataError: a cell is not a number.
    """
    column = raw.cells[at]
    if column.dtype.kind == "f":
        return column.astype(np.float64)
    row = next(row for row, cell in enumerate(column.tolist()) if not is_number(str(cell)))
    cell = str(column[row])
    # a guess would be dangerous: 1,234 can also mean a thousand, and training on values off by a factor of 1000 shows no error
    instead = f"Decimal commas are not supported. Write points ({point})" if (point := with_point(cell)) else _ENCODE
    raise DataError(f"{place_of(raw, at, row, path)}: expected a number, got {cell!r}. {instead}.")


def place_of(raw: Columns, at: int, row: int, path: Path) -> str:
    """Return the place of a cell for messages: file, line and column."""
    return f"{path}, {raw.place(row, path)}, column {raw.names[at]!r}"


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True
