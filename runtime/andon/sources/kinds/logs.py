"""Sensor logs: a CSV or Parquet file, or a folder of them. Each file is one run.

A CSV file is UTF-8 text with a header. Fields are separated by comma, semicolon, tab or vertical bar, and lines end with LF or
CR LF. Numbers have a decimal point. An empty field is a missing sample, and blank lines are ignored.

The time is the first column of ISO dates, or the first numeric column named time, timestamp, datetime or t, in seconds. A name
such as ``time_ms`` states another unit, and milli-, micro- and nanoseconds since 1970 are recognised (`series.time_units`). Times
must increase from row to row, unless the caller asks for sorting. Exception: a column named t whose values do not increase is
read as a channel, not as time. Dates without a time zone are UTC.

A column ``anomaly``, ``label``, ``faulty`` or ``is_anomaly`` contains the truth, with 0 or 1 in every row. So does a column of
two values whose name has a word such as attack or outlier (`series.label_columns`). A column ``changepoint`` is ignored. Every
other column is a channel and must contain numbers.
"""

import logging
import os
import threading
from collections.abc import Sequence
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
from andon.sources.series.follow_log import LogSettings, follow_log
from andon.sources.series.grid import DEFAULT_GAP_PERIODS
from andon.sources.series.label_columns import faulty_rows, role_of, undecided
from andon.sources.series.log import Log, Run
from andon.sources.series.log_columns import numbers_of, place_of, times_of
from andon.sources.series.replay import replay_log
from andon.sources.series.tables import Columns, read_csv, read_parquet
from andon.sources.source import Skip, Source

MOST_BYTES = 2 << 30

_CSV = frozenset({".csv", ".tsv"})
_PARQUET = frozenset({".parquet", ".pq"})

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


def collect(text: str, *, sort: bool = False) -> Log:
    """Read a log file, or all log files below a folder in the order of their names.

    Args:
        text: the path.
        sort: put the rows of each file into the order of their times, instead of refusing a file out of order.

    Raises:
        DataError: there is no log, a file is larger than 2 GB, or files of one folder have different channels. Also if a header,
            time, label or value cannot be read; the message then contains the file, line and column.
        MissingExtra: pyarrow is not installed, for Parquet.
    """
    path = Path(text)
    files = files_of(path)
    if not files:
        raise DataError(f"{path}: expected a CSV or Parquet file, or a folder of them; found none.")
    names = [file.name if file == path else file.relative_to(path).as_posix() for file in files]
    tables = [_read(file, name, sort=sort) for file, name in zip(files, names, strict=True)]
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
            time_per_s=table.run.time_per_s,
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
        channel_periods_s=tuple(_channel_period_s(runs, at) for at in range(len(channels))),
    )
    return Log(found=found, runs=runs, notes=_notes(tables))


def stream(text: str, spec: InputSpec, settings: LogSettings, clock: Clock, stop: threading.Event) -> Stream:
    """Replay a log through the grid. The stream ends with the last row, or follows the growing file (`follow_log`).

    Raises:
        ConfigError: the model file judges frames, or another log than a CSV file shall be followed.
        DataError: as `collect`. Also if the log lacks a channel of the model file.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{text}: this model file judges frames: expected pictures or a video, got a log of sensor values."
        )
    if not settings.follow:
        return replay_log(collect(text), spec, clock, settings.speed, stop)
    path = Path(text)
    if path.suffix.lower() not in _CSV:
        raise ConfigError(f"{text}: expected a CSV file to follow, got a folder or a Parquet file. Leave out --follow.")
    return follow_log(path, spec, settings, clock, stop)


def resumed(  # noqa: PLR0917 - the signature of `Source.resumed`
    text: str, spec: InputSpec, settings: LogSettings, clock: Clock, stop: threading.Event, skip: Skip
) -> Stream:
    """Return the stream without the items that `skip` names.

    Raises:
        AndonError: see `stream`.
    """
    windows = stream(text, spec, settings, clock, stop)
    return (item for item in windows if not skip(item.ref))


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


class _Table(Struct, frozen=True, kw_only=True):
    channels: list[str]
    run: Run
    labels: tuple[str, ...]
    """Names of the label columns."""
    unit: str
    """Unit of the time column since 1970, if it was recognised from its numbers."""
    moved: int
    """Number of rows that were out of order."""


def _notes(tables: Sequence[_Table]) -> tuple[str, ...]:
    """Return what was done to the files when they were read."""
    notes = []
    labels = list(dict.fromkeys(name for table in tables for name in table.labels))
    if labels:
        rows = sum(len(table.run.times_s) for table in tables)
        faulty = sum(int(table.run.faulty.sum()) for table in tables if table.run.faulty is not None)
        columns = f"label column{'s' if len(labels) > 1 else ''} {', '.join(map(repr, labels))}"
        notes.append(f"{columns}: not a channel. {faulty} of {rows} rows are labelled as faulty")
    units = sorted({table.unit for table in tables if table.unit})
    if units:
        notes.append(f"times are {' and '.join(units)} since 1970, recognised from their size")
    moved = sum(table.moved for table in tables)
    if moved:
        notes.append(f"{moved} rows were out of order and were sorted by their times")
    for note in notes:
        _log.info("%s", note)
    return tuple(notes)


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


def _channel_period_s(runs: Sequence[Run], channel: int) -> float | None:
    """Return the median distance of a channel's samples. Some channels have a sample in each tenth row only."""
    steps = np.concatenate([np.diff(run.times_s[np.isfinite(run.values[:, channel])]) for run in runs])
    period_s = float(np.median(steps)) if len(steps) else 0.0
    return period_s if period_s > 0 else None


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


def files_of(path: Path) -> list[Path]:
    """Return the log at a path, or all logs below a folder, in the order of their names.

    Raises:
        DataError: the folder cannot be listed.
    """
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


def _read(path: Path, name: str, *, sort: bool) -> _Table:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: expected a file of at most 2 GB, got {size / 2**30:.1f} GB. Split it into several files in one folder."
        )
    raw = read_parquet(path) if path.suffix.lower() in _PARQUET else read_csv(path)
    if not raw.cells or len(raw.cells[0]) == 0:
        raise DataError(f"{path}: expected rows of values after the header, found none.")
    lowered = [column.strip().lower() for column in raw.names]
    times = times_of(raw, lowered, path, ordered=not sort)
    faulty = None
    channels: list[str] = []
    labels: list[str] = []
    values: list[Floats] = []
    for at, column_name in enumerate(raw.names):
        role = "ignored" if at == times.at else role_of(column_name, raw.cells[at])
        if role == "ignored":
            continue
        if role == "label":
            label = _labels(raw, at, path)
            faulty = label if faulty is None else faulty | label
            labels.append(column_name.strip())
        elif at == 0 and (not lowered[at] or lowered[at].startswith("unnamed")):
            _log.warning("%s: the first column has no name; it is used as a row number, not as a channel", path)
        else:
            channels.append(column_name.strip())
            values.append(numbers_of(raw, at, path))
    if not channels:
        raise DataError(
            f"{path}: expected at least one numeric channel in addition to time and labels, got only the columns "
            f"{', '.join(raw.names)}."
        )
    with np.errstate(over="ignore"):
        block = np.stack(values, axis=1).astype(np.float32)
    order = np.argsort(times.seconds, kind="stable")
    moved = int((order != np.arange(len(order))).sum())
    if moved:
        block, faulty = block[order], None if faulty is None else faulty[order]
    run = Run(name=name, times_s=times.seconds[order], values=block, faulty=faulty, time_per_s=times.per_s)
    return _Table(channels=channels, run=run, labels=tuple(labels), unit=times.unit, moved=moved)


def _labels(raw: Columns, at: int, path: Path) -> NDArray[np.bool_]:
    column = raw.cells[at]
    wrong = undecided(column)
    if len(wrong):
        cell = str(column[wrong[0]])
        got = "an empty cell" if cell in ("", "nan") else repr(cell)
        raise DataError(
            f"{place_of(raw, at, int(wrong[0]), path)}: a column with this name contains the labels: expected 0 or 1 in every "
            f"row, got {got}. Write 0 for good rows, or rename the column if it is a channel."
        )
    return faulty_rows(column)


SOURCE = Source(
    name="logs",
    summary="a CSV or Parquet log, or a folder of them",
    accepts=_accepts,
    collect=collect,
    settings=LogSettings,
    stream=stream,
    resumed=resumed,
    endless=lambda _text, settings: bool(settings.follow),
)
