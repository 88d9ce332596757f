"""A record told as if it happened now: at its own speed, or as fast as it is asked for."""

import threading
from collections.abc import Iterator
from typing import Literal

import numpy as np

from andon.runtime.schema import WindowSpec
from andon.sources.clock import Clock
from andon.sources.items import Collection, Item, Lost, Stream
from andon.sources.series.grid import Grid
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import Windows, columns

Speed = Literal["recorded", "max"]

_NAP_S = 0.1
"""Longest sleep: how soon a stop is noticed."""
_BLOCK_ROWS = 1024


def replay(collection: Collection, clock: Clock, speed: Speed, stop: threading.Event | None = None) -> Stream:
    """All items of a collection, once.

    Args:
        collection: anything finite.
        clock: at ``recorded`` speed an item is given when as much time has passed on it since the group's first item as in
            the record; one whose time goes back, and the first of each group, are given at once.
        speed: ``max`` waits for nothing.
        stop: ends the stream early.
    """
    stop = stop or threading.Event()
    pace = _Pace(clock, stop)
    group, last_s = "", -np.inf
    for ref in collection.refs:
        if speed == "recorded" and ref.time_s is not None:
            if ref.group != group or ref.time_s < last_s:
                pace.start(ref.time_s)
            group, last_s = ref.group, ref.time_s
            pace.wait_for(ref.time_s)
        if stop.is_set():
            return
        yield collection.read(ref)


def replay_log(log: Log, spec: WindowSpec, clock: Clock, speed: Speed, stop: threading.Event) -> Stream:
    """The windows of a log as the line would have seen them: through the grid, row by row, WARMING and GAP included.

    The windows are those of `windows.cut`, whatever the speed.

    Raises:
        DataError: a channel of the specification that the log does not have.
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
    """The rows of a run, in blocks: those that are due by now."""
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
    """Ties source time to the clock."""

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
            if left_s <= 1e-6:  # rounding: a shorter sleep might not turn the clock at all
                return
            self._clock.sleep(min(left_s, _NAP_S))
