"""Follow a CSV log that another program appends to.

The rows go through the grid as in a recorded log, so the windows are the same, whether the file grew or was complete. The last
windows of a file appear only when later rows or the next file show that they are complete.

The rules of `kinds.logs` hold, with these differences. A row that cannot be read, or that is earlier than the row above it, is
`Lost` (UNREADABLE), and the following rows are judged. Only the columns of the model file and the time need to be readable. A
column named t is always the time.

A renamed file is read to its end. The new file at the same path, or the same file after it was cut, is a new run.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from andon.foundation.errors import DataError
from andon.foundation.printable import printable
from andon.foundation.settings import nearest
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason, WindowSpec
from andon.sources.clock import Clock, pause
from andon.sources.live.stall import Refused, StallWatch
from andon.sources.series.grid import DEFAULT_GAP_PERIODS, DEFAULT_LATENESS_PERIODS, Floats, Grid, Points, Values
from andon.sources.series.growing_file import Ending, GrowingFile
from andon.sources.series.line_reader import MOST_BYTES, Oddity
from andon.sources.series.log_columns import numbers_of, times_of
from andon.sources.series.tables import Columns, parse_header, parse_rows
from andon.sources.series.time_units import named_time
from andon.sources.series.windows import Windows
from andon.sources.stream_settings import ReplaySettings, StaleAfter

logger = logging.getLogger(__name__)

_PATIENCE_PERIODS = DEFAULT_LATENESS_PERIODS + DEFAULT_GAP_PERIODS + 1.0


class LogSettings(ReplaySettings, frozen=True, kw_only=True):
    """Settings for a log: replay it, or follow a file that grows."""

    follow: Annotated[
        bool, Meta(description="after the existing rows of a CSV file, wait for new ones; the speed is not used")
    ] = False
    poll_s: Annotated[
        float, Meta(gt=0.0, description="time between two looks at a followed file", extra={"unit": "s"})
    ] = 0.25
    stale_after_s: StaleAfter = 2.0


def follow_log(
    path: Path, spec: WindowSpec, settings: LogSettings, clock: Clock, stop: threading.Event
) -> Iterator[Item | Lost]:
    """Yield the windows of a growing CSV file until the stop event is set.

    `Lost` items stand for rows that cannot be read, and for each `stale_after_s` without a row that helps to fill a window.

    Raises:
        DataError: the first header is not usable, for example because it lacks a channel of the model file.
        OSError: the file cannot be read.
    """
    file = GrowingFile(path)
    followed = _Followed(path, spec, clock, settings.stale_after_s)
    try:
        while not stop.is_set():
            grown = file.read()
            for item in followed.take(grown.lines, grown.bytes, grown.ending):
                if stop.is_set():
                    return
                yield item
            if not grown.bytes and not grown.ending:
                pause(clock, settings.poll_s, stop.is_set)
    finally:
        file.close()


class _Header:
    """The columns of one file that are needed."""

    def __init__(self, line: bytes | Oddity, path: Path, spec: WindowSpec) -> None:
        if isinstance(line, Oddity):
            raise DataError(f"{path}: expected a header of at most {MOST_BYTES} bytes, got more")
        try:
            text = line.decode("utf-8-sig").rstrip("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: expected a header in UTF-8, got another encoding. Save it as UTF-8.") from error
        self.names, self.separator = parse_header(text, path)
        for channel in spec.channels:
            if channel.name not in self.names:
                raise DataError(
                    f"{path}: the log has no channel {channel.name!r}{nearest(channel.name, self.names)}. It has: "
                    f"{', '.join(self.names)}."
                )
        self.channels = [self.names.index(channel.name) for channel in spec.channels]
        self.time_at: int | None = None
        self.time_known = False


class _Followed:
    def __init__(self, path: Path, spec: WindowSpec, clock: Clock, stale_after_s: float) -> None:
        self._path = path
        self._spec = spec
        self._clock = clock
        self._stall = StallWatch(
            silent_s=stale_after_s,
            patience_s=max(stale_after_s, _PATIENCE_PERIODS * spec.period_s),
            now_s=clock.mono_s(),
        )
        self._refused = Refused()
        self._stalls = 0
        self._runs = 0
        self._begin()

    def _begin(self) -> None:
        """Prepare for a new file."""
        self._runs += 1
        self._run = self._path.name if self._runs == 1 else f"{self._path.name}-{self._runs}"
        self._grid, self._windows = Grid(self._spec), Windows(self._spec, self._run)
        self._header: _Header | None = None
        self._unusable = False
        self._line = 0
        self._rows = 0
        self._newest_s = -np.inf

    def take(self, lines: Sequence[bytes | Oddity], size: int, ending: Ending) -> Iterator[Item | Lost]:
        """Yield the items that result from one read."""
        if size:
            self._stall.bytes_arrived(self._clock.mono_s())
        yield from self._take(lines)
        if ending:
            yield from self._windows.push(self._grid.flush())
            logger.info("%s: the file was %s; a new run begins", printable(str(self._path)), ending)
            self._begin()
        now_s = self._clock.mono_s()
        if self._stall.due(now_s):
            self._stalls += 1
            yield Lost(
                Ref(key=f"{self._path.name}:silence{self._stalls}", group=self._path.name),
                Reason.STALE,
                self._stall.why(now_s, self._refused),
            )

    def _take(self, lines: Sequence[bytes | Oddity]) -> Iterator[Item | Lost]:
        self._refused.lines += len(lines)
        if lines and self._header is None and not self._unusable:
            try:
                self._header = _Header(lines[0], self._path, self._spec)
            except DataError as error:
                if self._runs == 1:
                    raise
                self._unusable = True  # the rows of this file are not judged, and the silence is reported
                yield self._unreadable(1, str(error))
            self._line, lines = 1, lines[1:]
        if self._header is None:
            return
        first = self._line + 1
        self._line += len(lines)
        texts: list[str] = []
        for number, line in enumerate(lines, first):
            text = _text(line)
            if text is None:
                yield from self._block(texts, number - len(texts))
                texts = []
                what = f"at most {MOST_BYTES} bytes, got more" if isinstance(line, Oddity) else "text in UTF-8"
                yield self._unreadable(number, f"expected {what}")
            else:
                texts.append(text)
        yield from self._block(texts, self._line + 1 - len(texts))

    def _block(self, texts: list[str], first: int) -> Iterator[Item | Lost]:
        """Yield the items of some lines, of which the first has this number."""
        if not texts:
            return
        try:
            times_s, values = self._parsed(texts)
        except DataError as error:
            if len(texts) > 1:  # find the lines that cannot be read
                for number, text in enumerate(texts, first):
                    yield from self._block([text], number)
                return
            why = str(error).removeprefix(f"{self._path}, row 1, ").removeprefix(f"{self._path}, line 2: ")
            yield self._unreadable(first, why)
            return
        if not len(times_s):
            return
        self._rows += len(times_s)
        self._refused.rows += len(times_s)
        self._newest_s = float(times_s[-1])
        points = self._grid.push(times_s, values)
        self._progress(points)
        yield from self._windows.push(points)

    def _parsed(self, texts: list[str]) -> tuple[Floats, Values]:
        header = self._header
        assert header is not None
        raw = parse_rows(texts, header.names, header.separator, self._path)
        values = [numbers_of(raw, at, self._path) for at in header.channels]
        times_s = self._times(raw, header)
        if len(times_s) and times_s[0] < self._newest_s:
            raise DataError(
                f"expected ascending times, but this one is {self._newest_s - times_s[0]:g} s before the row above"
            )
        with np.errstate(over="ignore"):
            return times_s, np.stack(values, axis=1).astype(np.float32)

    def _times(self, raw: Columns, header: _Header) -> Floats:
        rows = len(raw.cells[0])
        if rows and not header.time_known:
            names = [name.lower() for name in header.names]
            header.time_at = times_of(raw, names, self._path, t_is_time=True).at
            header.time_known = True
        if header.time_at is None:
            return np.arange(self._rows, self._rows + rows, dtype=np.float64)
        if not rows:
            return np.empty(0)
        column = Columns([header.names[header.time_at]], [raw.cells[header.time_at]])
        name = header.names[header.time_at].lower()
        times = times_of(column, [name if named_time(name) else "time"], self._path, t_is_time=True)
        if times.at is None:
            raise DataError(f"expected a time in the column {header.names[header.time_at]!r}, got other text")
        return times.seconds

    def _progress(self, points: Points) -> None:
        if len(points):
            self._stall.progress(self._clock.mono_s())
            self._refused = Refused()

    def _unreadable(self, line: int, why: str) -> Lost:
        self._refused.unreadable += 1
        return Lost(
            Ref(key=f"{self._run}:line{line}", group=self._run), Reason.UNREADABLE, f"line {line}: {printable(why)}"
        )


def _text(line: bytes | Oddity) -> str | None:
    if isinstance(line, Oddity):
        return None
    try:
        return line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        return None
