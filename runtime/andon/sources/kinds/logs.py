"""Sensor logs: a CSV or Parquet file, or a folder of them. Each file is one run.

A CSV file is UTF-8 text with a header. Fields are separated by comma, semicolon, tab or vertical bar, and lines end with LF or
CR LF. Numbers have a decimal point. An empty field is a missing sample, and blank lines are ignored.

The time is the first column of ISO dates, or the first numeric column named time, timestamp, datetime or t, in seconds. Times
must increase from row to row. Exception: a column named t whose values do not increase is read as a channel, not as time.
Dates without a time zone are UTC.

A column ``anomaly``, ``label``, ``faulty`` or ``is_anomaly`` contains the truth, with 0 or 1 in every row. A column
``changepoint`` is ignored. Every other column is a channel and must contain numbers.
"""

import contextlib
import logging
import os
import threading
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.printable import printable
from andon.runtime.schema import Channel, InputSpec, WindowSpec
from andon.sources.clock import Clock
from andon.sources.collection import FoundLogs, Stream
from andon.sources.pictures.folder import is_picture
from andon.sources.pictures.folder_walk import MOST_LOOKED_AT, walk
from andon.sources.series.grid import DEFAULT_GAP_PERIODS
from andon.sources.series.log import Log, Run
from andon.sources.series.replay import replay_log
from andon.sources.series.tables import Columns, is_number, read_csv, read_parquet, with_point
from andon.sources.source import Source
from andon.sources.stream_settings import ReplaySettings

MOST_BYTES = 2 << 30
TIME_NAMES = frozenset({"time", "timestamp", "datetime", "t"})
LABEL_NAMES = frozenset({"anomaly", "label", "faulty", "is_anomaly"})
IGNORED_NAMES = frozenset({"changepoint"})

_CSV = frozenset({".csv", ".tsv"})
_PARQUET = frozenset({".parquet", ".pq"})
_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})

_ENCODE = "Remove the column, or encode it as numbers"

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


def collect(text: str) -> Log:
    """Read a log file, or all log files below a folder in the order of their names.

    Raises:
        DataError: there is no log, a file is larger than 2 GB, or files of one folder have different channels. Also if a header,
            time, label or value cannot be read; the message then contains the file, line and column.
        MissingExtra: pyarrow is not installed, for Parquet.
    """
    path = Path(text)
    files = _files(path)
    if not files:
        raise DataError(f"{path}: expected a CSV or Parquet file, or a folder of them; found none.")
    tables = [_read(file, file.name if file == path else file.relative_to(path).as_posix()) for file in files]
    channels = tables[0].channels
    for table in tables[1:]:
        if sorted(table.channels) != sorted(channels):
            odd = sorted(set(table.channels) ^ set(channels))
            raise DataError(
                f"{path}: expected the same channels in all files of a folder, but {table.run.name} differs from "
                f"{tables[0].run.name} in {', '.join(odd)}. Give the files one by one, or put each kind into its own folder."
            )
    runs = tuple(
        Run(
            name=table.run.name,
            times_s=table.run.times_s,
            values=np.ascontiguousarray(table.run.values[:, [table.channels.index(name) for name in channels]]),
            faulty=table.run.faulty,
        )
        for table in tables
    )
    period_s = period_of([run.times_s for run in runs], str(path))
    found = FoundLogs(
        channels=tuple(
            Channel(name=name, max_gap_s=_usual_gap_s(runs, at, period_s)) for at, name in enumerate(channels)
        ),
        period_s=period_s,
        runs=len(runs),
        rows=sum(len(run.times_s) for run in runs),
    )
    return Log(found=found, runs=runs)


def stream(text: str, spec: InputSpec, settings: ReplaySettings, clock: Clock, stop: threading.Event) -> Stream:
    """Replay a log through the grid. The stream ends with the last row.

    Raises:
        ConfigError: the model file judges frames.
        DataError: as `collect`. Also if the log lacks a channel of the model file.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{text}: this model file judges frames: expected pictures or a video, got a log of sensor values."
        )
    return replay_log(collect(text), spec, clock, settings.speed, stop)


def period_of(times: Sequence[Floats], where: str) -> float:
    """Return the median distance of rows in seconds, rounded to as few digits as the precision of the stamps allows.

    Raises:
        DataError: no run has two rows.
    """
    steps = np.concatenate([np.diff(run) for run in times]) if times else np.empty(0)
    if len(steps) == 0:
        raise DataError(
            f"{where}: expected at least one run with two rows, to compute the distance of rows; found none."
        )
    median = float(np.median(steps))
    # dates near 1.6e9 s have a resolution of 2.4e-7 s, so 1 ms becomes 0.00099993 s; such noise must not become a drift
    noise = 2 * float(np.spacing(max(np.abs(run).max() for run in times if len(run))))
    for digits in range(1, 16):
        period = float(f"{median:.{digits}g}")
        if abs(period - median) <= noise:
            return period
    return median


class _Table(Struct, frozen=True):
    channels: list[str]
    run: Run


def _usual_gap_s(runs: Sequence[Run], channel: int, period_s: float) -> float | None:
    """Return the longest gap that resampling may bridge for a channel, or None for the default of three periods.

    The gap is twice the usual distance of the channel's samples. With the default, a logger that skips every twentieth second
    would lose a third of its windows to marked points (SKAB: 1.05 s, stamped in whole seconds). A channel with a slower rate
    would lose all windows. The usual distance is at most twice the median, so that dropouts do not count as usual.
    """
    stamps = [run.times_s[np.isfinite(run.values[:, channel])] for run in runs]
    steps = np.concatenate([np.diff(times) for times in stamps])
    if len(steps) == 0:
        return None
    usual_s = float(min(np.quantile(steps, 0.99), 2 * np.median(steps)))
    return 2 * usual_s if 2 * usual_s > DEFAULT_GAP_PERIODS * period_s else None


def _accepts(text: str) -> bool:
    path = Path(text)
    if not path.is_dir():
        return path.is_file() and path.suffix.lower() in _CSV | _PARQUET
    a_log = False
    for entry in walk(path, on_unlisted=lambda *_: None, most=MOST_LOOKED_AT):
        if is_picture(entry.name):
            return False
        a_log = a_log or _is_log(entry.name)
    return a_log


def _is_log(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _CSV | _PARQUET  # noqa: PTH122 - a str in a hot loop


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    try:
        entries = list(walk(path, on_unlisted=_left_out))
    except OSError as error:
        raise DataError(
            f"{path}: expected a log or a folder of logs, but it cannot be listed: {error.strerror}."
        ) from error
    return sorted(Path(entry.path) for entry in entries if _is_log(entry.name) and entry.is_file())


def _left_out(folder: str, error: OSError) -> None:
    _log.warning("%s: cannot be listed (%s); logs below it are left out", printable(folder), error.strerror)


def _read(path: Path, name: str) -> _Table:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: expected a file of at most 2 GB, got {size / 2**30:.1f} GB. Split it into several files in one folder."
        )
    raw = read_parquet(path) if path.suffix.lower() in _PARQUET else read_csv(path)
    if not raw.cells or len(raw.cells[0]) == 0:
        raise DataError(f"{path}: expected rows of values after the header, found none.")
    lowered = [column.strip().lower() for column in raw.names]
    time_at, times_s = _times(raw, lowered, path)
    faulty = None
    channels: list[str] = []
    values: list[Floats] = []
    for at, column_name in enumerate(raw.names):
        if at == time_at or lowered[at] in IGNORED_NAMES:
            continue
        if lowered[at] in LABEL_NAMES:
            label = _labels(raw, at, path)
            faulty = label if faulty is None else faulty | label
        elif at == 0 and (not lowered[at] or lowered[at].startswith("unnamed")):
            _log.warning("%s: the first column has no name; it is used as a row number, not as a channel", path)
        else:
            channels.append(column_name.strip())
            values.append(_numbers(raw, at, path))
    if not channels:
        raise DataError(
            f"{path}: expected at least one numeric channel in addition to time and labels, got only the columns "
            f"{', '.join(raw.names)}."
        )
    with np.errstate(over="ignore"):
        block = np.stack(values, axis=1).astype(np.float32)
    return _Table(channels, Run(name=name, times_s=times_s, values=block, faulty=faulty))


def _times(raw: Columns, lowered: list[str], path: Path) -> tuple[int | None, Floats]:
    """Return the place of the time column, or None if there is none, and the source times in seconds."""
    for at, (name, column) in enumerate(zip(lowered, raw.cells, strict=True)):
        if column.dtype.kind == "f":
            if name not in TIME_NAMES:
                continue
            times_s = column.astype(np.float64)
            if name == "t" and not (np.diff(times_s) >= 0).all():
                continue  # this t may be a temperature
        elif column.dtype.kind == "M" or _is_date(str(column[0])):
            times_s = _seconds(raw, at, path)
        else:
            continue
        far = np.flatnonzero(np.isfinite(times_s) & (np.abs(times_s) > _LATEST_S))
        if len(far) and column.dtype.kind == "f":
            raise DataError(
                f"{_place(raw, at, int(far[0]), path)}: expected seconds, got {times_s[far[0]]:g}, which "
                f"{_unit_of(times_s[far[0]])}"
            )
        wrong = np.flatnonzero(~np.isfinite(times_s))
        if len(wrong):
            raise DataError(f"{_place(raw, at, int(wrong[0]), path)}: expected a time in every row, got an empty cell.")
        back = np.flatnonzero(np.diff(times_s) < 0)
        if len(back):
            raise DataError(
                f"{_place(raw, at, int(back[0]) + 1, path)}: expected ascending times, but this one is "
                f"{times_s[back[0]] - times_s[back[0] + 1]:g} s before the row above. Sort the rows, write each run into its own "
                "file, and use UTC, because local time repeats an hour in autumn."
            )
        return at, times_s
    _log.warning(
        "%s: no time column found (ISO dates, or ascending numbers named time or timestamp); rows are assumed to be 1 s apart",
        path,
    )
    return None, np.arange(len(raw.cells[0]), dtype=np.float64)


_LATEST_S = 1e11
"""Latest time in seconds, after the year 5000. A larger number has a unit shorter than seconds."""


def _unit_of(stamp: float) -> str:
    units = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
    for unit, parts in units.items():
        if stamp / parts <= 1e10:
            return f"looks like {unit} since 1970. Divide the column by {parts:g}."
    return "is after the year 5000. Write seconds or ISO dates."


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
                f"{_place(raw, at, int(mixed[0]), path)}: expected a time {wanted} as in the first row, got "
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
            f"{_place(raw, at, row, path)}: expected an ISO date, for example 2020-03-09 10:14:33, got {text!r}."
        ) from error
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _labels(raw: Columns, at: int, path: Path) -> NDArray[np.bool_]:
    column = raw.cells[at]
    if column.dtype.kind == "f":
        wrong = np.flatnonzero((column != 0) & (column != 1))
        label = column == 1
    else:
        lowered = np.char.lower(column.astype(np.str_))
        label = np.isin(lowered, list(_TRUE))
        wrong = np.flatnonzero(~label & ~np.isin(lowered, list(_FALSE)))
    if len(wrong):
        cell = str(column[wrong[0]])
        got = "an empty cell" if cell in ("", "nan") else repr(cell)
        raise DataError(
            f"{_place(raw, at, int(wrong[0]), path)}: a column with this name contains the labels: expected 0 or 1 in every row, "
            f"got {got}. Write 0 for good rows, or rename the column if it is a channel."
        )
    return np.asarray(label, dtype=bool)


def _numbers(raw: Columns, at: int, path: Path) -> Floats:
    column = raw.cells[at]
    if column.dtype.kind == "f":
        return column.astype(np.float64)
    row = next(row for row, cell in enumerate(column.tolist()) if not is_number(str(cell)))
    cell = str(column[row])
    # a guess would be dangerous: 1,234 can also mean a thousand, and training on values off by a factor of 1000 shows no error
    instead = f"Decimal commas are not supported. Write points ({point})" if (point := with_point(cell)) else _ENCODE
    raise DataError(f"{_place(raw, at, row, path)}: expected a number, got {cell!r}. {instead}.")


def _place(raw: Columns, at: int, row: int, path: Path) -> str:
    return f"{path}, {raw.place(row, path)}, column {raw.names[at]!r}"


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


SOURCE = Source(
    name="logs",
    summary="a CSV or Parquet log, or a folder of them",
    accepts=_accepts,
    collect=collect,
    settings=ReplaySettings,
    stream=stream,
)
