"""Replay a log at its recorded speed, or as fast as the consumer takes the windows."""

import threading
from collections.abc import Iterator

import numpy as np

from andon.runtime.items import Item, Lost
from andon.runtime.schema import WindowSpec
from andon.sources.clock import Clock
from andon.sources.collection import Stream
from andon.sources.series.grid import Grid
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import Windows, columns
from andon.sources.stream_settings import Speed

_NAP_S = 0.1
"""Longest sleep. It limits the delay until a stop is noticed."""
_BLOCK_ROWS = 1024


def replay_log(log: Log, spec: WindowSpec, clock: Clock, speed: Speed, stop: threading.Event) -> Stream:
    """Yield the windows of a log as from a live line: row by row through the grid, including WARMING and GAP items.

    The windows are the same as from `windows.cut`, at any speed.

    Raises:
        DataError: the log does not have a channel of the specification.
    """
    places = columns(log.found, spec)
    return _windows(log, places, spec, clock=clock, speed=speed, stop=stop)


def _windows(
    log: Log, places: list[int], spec: WindowSpec, *, clock: Clock, speed: Speed, stop: threading.Event
) -> Iterator[Item | Lost]:
    for run in log.runs:
        grid, windows = Grid(spec), Windows(spec, run.name)
        for rows in _blocks(run, clock, speed, stop):
            for item in windows.push(grid.push(run.times_s[rows], run.values[rows][:, places])):
                if stop.is_set():
                    return
                yield item
        if stop.is_set():
            return
        yield from windows.push(grid.flush())


def _blocks(run: Run, clock: Clock, speed: Speed, stop: threading.Event) -> Iterator[slice]:
    """Yield the rows of a run in blocks, each when its first row is due."""
    pace = _Pace(clock, stop)
    if len(run.times_s):
        pace.start(float(run.times_s[0]))
    begin = 0
    while begin < len(run.times_s) and not stop.is_set():
        end = begin + _BLOCK_ROWS
        if speed == "recorded":
            pace.wait_for(float(run.times_s[begin]))
            due = int(np.searchsorted(run.times_s, pace.source_s(), side="right"))
            end = min(end, max(due, begin + 1))
        yield slice(begin, end)
        begin = end


class _Pace:
    """The relation between the time of the recording and the clock."""

    def __init__(self, clock: Clock, stop: threading.Event) -> None:
        self._clock = clock
        self._stop = stop
        self._offset_s = 0.0

    def start(self, time_s: float) -> None:
        self._offset_s = self._clock.mono_s() - time_s

    def source_s(self) -> float:
        return self._clock.mono_s() - self._offset_s

    def wait_for(self, time_s: float) -> None:
        while not self._stop.is_set():
            left_s = time_s - self.source_s()
            if left_s <= 1e-6:  # because of rounding, a shorter sleep might not advance the clock at all
                return
            self._clock.sleep(min(left_s, _NAP_S))
