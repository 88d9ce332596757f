"""Sensor samples as JSON lines on standard input.

One object a line, with source time ``t`` in seconds::

    {"t": 12.3, "values": {"voltage": 48.1, "current": 9.7}}      by name; channels left out are not said to be missing
    {"t": 12.3, "values": [48.1, 9.7, 55.0]}                      all channels, in the model file's order; null is missing
    {"t": [12.3, 12.4], "values": [[48.1, 9.7, 55.0], [48.0, 9.8, 55.0]]}
    {"t": [12.3, 12.4], "values": {"voltage": [48.1, 48.0]}}

A fast source should send blocks: a line of one sample costs as much as a block of fifty. A line that cannot be read becomes
`Lost` (UNREADABLE); none stops the stream.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from andon.runtime.errors import InputError
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.runtime.settings import nearest
from andon.sources.clock import Clock
from andon.sources.grid import DEFAULT_GAP_PERIODS, DEFAULT_LATENESS_PERIODS, FUTURE_S, Grid, Values
from andon.sources.items import Item, Lost, Ref, Stream
from andon.sources.lines import MOST_BYTES, Oddity, read_lines
from andon.sources.source import Source, StreamOptions
from andon.sources.windows import Windows

RESTART_AFTER_ROWS = 10
"""So many rows in a row far behind, of all channels and with none in time between, are a sender that began anew."""
FAR_BEHIND_PERIODS = DEFAULT_LATENESS_PERIODS + DEFAULT_GAP_PERIODS
CLOCK_WRONG_AFTER_ROWS = 3
"""So many rows in a row stamped in the future are told as `Lost` (STALE): the sender's clock or ours is wrong."""
_MOST_COUNTED_NAMES = 100
_MOST_HELD_ROWS = 200
_DAY_S = 86_400.0

_log = logging.getLogger(__name__)

Row = list[float | None]


class Line(msgspec.Struct, frozen=True):
    """One line: a sample, or a block of them."""

    t: float | list[float]
    values: dict[str, float | Row | None] | list[float | Row | None]


@dataclass
class Counters:
    """What came since the start."""

    lines: int = 0
    unreadable: int = 0
    restarts: int = 0
    unknown: set[str] = field(default_factory=set)
    """Channels that the model file does not know; each is logged once."""


def stream(text: str, spec: InputSpec, options: StreamOptions, clock: Clock, stop: threading.Event) -> Stream:
    """Follow standard input to its end.

    Raises:
        InputError: the model file wants frames.
    """
    if not isinstance(spec, WindowSpec):
        raise InputError(f"{text}: this model file judges frames, and standard input gives sensor values.")
    return follow(sys.stdin.fileno(), spec, options, clock, stop)


def follow(
    fd: int,
    spec: WindowSpec,
    options: StreamOptions,
    clock: Clock,
    stop: threading.Event,
    *,
    counters: Counters | None = None,
) -> Iterator[Item | Lost]:
    """Windows from JSON lines on a file descriptor: windows as they fill, `Lost` for bad lines and for silence."""
    receiver = _Receiver(spec, clock, counters or Counters())
    for read in read_lines(fd, clock, stop, silent_after_s=options.stale_after_s):
        for item in receiver.take(read.lines, options.stale_after_s):
            if stop.is_set():
                return
            yield item
    if not stop.is_set():
        yield from receiver.end()


@dataclass
class _Block:
    """Samples of the same channels, waiting to go to the grid at once."""

    places: tuple[int, ...]
    times_s: list[NDArray[np.float64]]
    values: list[Values]


class _Receiver:
    def __init__(self, spec: WindowSpec, clock: Clock, counters: Counters) -> None:
        self._spec = spec
        self._places = {channel.name: place for place, channel in enumerate(spec.channels)}
        self._clock = clock
        self._counters = counters
        self._grid = Grid(spec)
        self._windows = Windows(spec, "stdin")
        self._by_wall: bool | None = None
        self._silences = 0
        self._newest_s = -np.inf
        self._behind: list[_Block] = []  # rows far behind, until it is known whether the sender began anew
        self._ahead_rows = 0
        self._clock_faults = 0

    def take(self, lines: tuple[bytes | Oddity, ...], stale_after_s: float) -> Iterator[Item | Lost]:
        waiting: _Block | None = None
        for line in lines:
            if line is Oddity.SILENCE:
                self._silences += 1
                yield from self._windows.push(self._grid.flush())
                ref = Ref(key=f"stdin:silence{self._silences}", group="stdin")
                yield Lost(ref, Reason.STALE, f"nothing came for {stale_after_s:g} s")
                continue
            self._counters.lines += 1
            if isinstance(line, bytes) and not line.strip():
                continue
            try:
                block = self._decode(line)
            except _UnreadableError as error:
                self._counters.unreadable += 1
                number = self._counters.lines
                ref = Ref(key=f"stdin:line{number}", group="stdin")
                yield Lost(ref, Reason.UNREADABLE, f"line {number}: {error}")
                continue
            if block is None:
                continue
            if waiting is not None and waiting.places == block.places:
                waiting.times_s += block.times_s
                waiting.values += block.values
                continue
            if waiting is not None:
                yield from self._push(waiting)
            waiting = block
        if waiting is not None:
            yield from self._push(waiting)

    def end(self) -> Iterator[Item | Lost]:
        yield from self._give_up_behind()
        yield from self._windows.push(self._grid.flush())
        late, future = sum(self._grid.counters.late), self._grid.counters.future
        if late or future:
            _log.warning("standard input: %d samples came too late, %d rows were stamped in the future", late, future)

    def _decode(self, line: bytes | Oddity) -> _Block | None:
        if isinstance(line, Oddity):
            raise _UnreadableError(f"more than {MOST_BYTES} bytes")
        try:
            sample = _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            raise _UnreadableError(str(error)) from error
        times_s = np.atleast_1d(np.asarray(sample.t, dtype=np.float64))
        if not np.isfinite(times_s).all():
            raise _UnreadableError("expected finite times")
        if isinstance(sample.values, dict):
            known = sorted((name for name in sample.values if self._known(name)), key=self._places.__getitem__)
            named = {name: sample.values[name] for name in known}
            places = tuple(self._places[name] for name in named)
            columns = [_numbers(value, f"values.{name}") for name, value in named.items()]
            if any(column.shape != times_s.shape for column in columns):
                raise _UnreadableError(f"expected one value a channel for each of {len(times_s)} times")
            if not columns:
                return None
            return _Block(places, [times_s], [np.stack(columns, axis=1)])
        rows = sample.values
        if isinstance(sample.t, list):
            values = [_numbers(row, f"values[{at}]") for at, row in enumerate(rows)]
        else:
            values = [_numbers(rows, "values")]
        if len(values) != len(times_s) or any(row.shape != (len(self._places),) for row in values):
            raise _UnreadableError(
                f"expected {len(times_s)} rows of {len(self._places)} values, one a channel of the model file"
            )
        if not values:
            return None
        return _Block(tuple(range(len(self._places))), [times_s], [np.stack(values)])

    def _known(self, name: str) -> bool:
        if name in self._places:
            return True
        if name not in self._counters.unknown and len(self._counters.unknown) < _MOST_COUNTED_NAMES:
            self._counters.unknown.add(name)
            _log.warning("standard input: the model file has no channel %r%s", name, nearest(name, self._places))
        return False

    def _push(self, block: _Block) -> Iterator[Item | Lost]:
        times_s, values = np.concatenate(block.times_s), np.concatenate(block.values)
        wall_s = self._clock.wall_s()
        if self._by_wall is None:
            # stamps near the wall clock are wall time, and one ahead of it is wrong; a record piped in has a time of its own
            self._by_wall = abs(float(times_s[0]) - wall_s) < _DAY_S
        if self._by_wall:
            yield from self._ahead(times_s, wall_s)
        usable = np.where(times_s > wall_s + FUTURE_S, -np.inf, times_s) if self._by_wall else times_s
        far_s = FAR_BEHIND_PERIODS * self._spec.period_s
        begin = 0
        while begin < len(times_s):
            newest = np.maximum.accumulate(np.concatenate([[self._newest_s], usable[begin:]]))
            behind = newest[:-1] - times_s[begin:] > far_s
            in_time = int(np.argmax(behind)) if behind.any() else len(behind)
            if in_time:
                yield from self._give_up_behind()
                rows = slice(begin, begin + in_time)
                yield from self._to_grid(_Block(block.places, [times_s[rows]], [values[rows]]))
                self._newest_s = float(newest[in_time])
            else:
                in_time = 1
                self._behind.append(_Block(block.places, [times_s[begin : begin + 1]], [values[begin : begin + 1]]))
                yield from self._judge_behind()
            begin += in_time

    def _ahead(self, times_s: NDArray[np.float64], wall_s: float) -> Iterator[Lost]:
        for time_s in times_s.tolist():
            self._ahead_rows = self._ahead_rows + 1 if time_s > wall_s + FUTURE_S else 0
            if self._ahead_rows == CLOCK_WRONG_AFTER_ROWS:
                self._clock_faults += 1
                ref = Ref(key=f"stdin:clock{self._clock_faults}", group="stdin")
                yield Lost(ref, Reason.STALE, f"stamped {time_s - wall_s:.1f} s ahead of this machine's clock")

    def _to_grid(self, block: _Block) -> list[Item | Lost]:
        points = self._grid.push(
            block.times_s[0],
            block.values[0],
            channels=None if block.places == tuple(range(len(self._places))) else block.places,
            now_s=self._clock.wall_s() if self._by_wall else None,
        )
        return self._windows.push(points)

    def _give_up_behind(self) -> Iterator[Item | Lost]:
        """The grid drops the rows held and counts them as late."""
        behind, self._behind = self._behind, []
        for block in behind:
            yield from self._to_grid(block)

    def _judge_behind(self) -> Iterator[Item | Lost]:
        places = {place for block in self._behind for place in block.places}
        if len(self._behind) >= RESTART_AFTER_ROWS and len(places) == len(self._places):
            self._counters.restarts += 1
            behind, self._behind = self._behind, []
            _log.warning("standard input: source time went back to %g s and stays there", behind[0].times_s[0][0])
            yield from self._windows.push(self._grid.flush())
            self._grid.reset()
            self._windows = Windows(self._spec, f"stdin-{self._counters.restarts + 1}")
            for block in behind:
                yield from self._to_grid(block)
            self._newest_s = max(float(block.times_s[0].max()) for block in behind)
        elif len(self._behind) >= _MOST_HELD_ROWS:  # one slow channel alone is merely late
            yield from self._give_up_behind()


class _UnreadableError(Exception):
    """A line that says nothing usable; caught here and told as `Lost`."""


def _numbers(values: float | list[float | Row | None] | Row | None, where: str) -> Values:
    """``[n]``, null as NaN."""
    flat = values if isinstance(values, list) else [values]
    if any(isinstance(value, list) for value in flat):
        raise _UnreadableError(f"expected numbers or null at {where}, got a list within a list")
    with np.errstate(over="ignore"):
        return np.array(flat, dtype=np.float64).astype(np.float32)


_DECODER = msgspec.json.Decoder(Line)

SOURCE = Source(
    name="stdin",
    summary="- : sensor samples as JSON lines on standard input",
    accepts=lambda text: text == "-",
    stream=stream,
)
