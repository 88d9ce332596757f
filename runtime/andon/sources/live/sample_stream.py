"""Turn JSON lines of sensor samples into windows, as they arrive on standard input or from a broker.

`sample_lines` describes the format of a line. A line that cannot be read becomes `Lost` (UNREADABLE). No line stops the stream.

The stream must not be silent while nothing can be judged. It yields `Lost` (STALE) for every `stale_after_s` in which nothing
arrives. It also does so while lines arrive that fill no point of the grid. Causes are frozen time stamps, channels that the model
file does not have, or a clock that is ahead. The detail of the item names the cause.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.printable import printable
from andon.foundation.settings import nearest
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason, WindowSpec
from andon.sources.clock import Clock
from andon.sources.live.stall import Refused, StallWatch
from andon.sources.series.grid import (
    DEFAULT_GAP_PERIODS,
    DEFAULT_LATENESS_PERIODS,
    FUTURE_S,
    Grid,
    Points,
)
from andon.sources.series.line_reader import Oddity, Read
from andon.sources.series.sample_lines import Block, NoSample, UnreadableError, decode
from andon.sources.series.windows import Windows

RESTART_AFTER_ROWS = 10
"""Number of consecutive rows far behind, from all channels, after which the sender counts as restarted."""
FAR_BEHIND_PERIODS = DEFAULT_LATENESS_PERIODS + DEFAULT_GAP_PERIODS
CLOCK_WRONG_AFTER_ROWS = 3
"""Number of consecutive rows with stamps in the future after which a `Lost` (STALE) reports a wrong clock."""
PATIENCE_PERIODS = FAR_BEHIND_PERIODS + 1.0
"""Periods in which a correct sender may fill no point: a gap that can be bridged, the lateness, and the next row."""
REFUSED_AT_END_ROWS = RESTART_AFTER_ROWS
"""If at least this number of rows just before the end had no effect, the rows are reported, even if all arrived at once."""
_MOST_COUNTED_NAMES = 100
_MOST_HELD_ROWS = 200
_DAY_S = 86_400.0

_log = logging.getLogger(__name__)


class Sender(Struct, frozen=True):
    """The names of the origin of the lines."""

    key: str
    """Name of the runs, and begin of the keys: ``stdin``."""
    shown: str
    """Name in messages, without secrets: ``standard input``."""


@dataclass
class Counters:
    """Counts of the lines since the start."""

    lines: int = 0
    unreadable: int = 0
    restarts: int = 0
    unknown: set[str] = field(default_factory=set)
    """Names of channels that the model file does not have; each is logged once."""


def receive(
    reads: Iterable[Read],
    spec: WindowSpec,
    sender: Sender,
    clock: Clock,
    stop: threading.Event,
    *,
    stale_after_s: float,
    counters: Counters | None = None,
) -> Iterator[Item | Lost]:
    """Yield windows as soon as they are full, and `Lost` for unreadable lines, stalls and silence.

    A stream that would end without any item ends with one `Lost` (STALE) that states the reason.
    """
    receiver = _Receiver(spec, sender, clock, counters or Counters(), stale_after_s)
    items = 0
    for read in reads:
        for item in receiver.take(read):
            if stop.is_set():
                return
            items += 1
            yield item
    if not stop.is_set():
        for item in receiver.end():
            items += 1
            yield item
        if items == 0:
            yield receiver.nothing_judged()


class _Receiver:
    def __init__(
        self, spec: WindowSpec, sender: Sender, clock: Clock, counters: Counters, stale_after_s: float
    ) -> None:
        self._spec = spec
        self._sender = sender
        self._places = {channel.name: place for place, channel in enumerate(spec.channels)}
        self._clock = clock
        self._counters = counters
        self._grid = Grid(spec)
        self._windows = Windows(spec, sender.key)
        self._stall = StallWatch(
            silent_s=stale_after_s,
            patience_s=max(stale_after_s, PATIENCE_PERIODS * spec.period_s),
            now_s=clock.mono_s(),
        )
        self._refused = Refused()
        self._by_wall: bool | None = None
        self._wall_ahead_s = clock.wall_s() - clock.mono_s()
        self._stalls = 0
        self._newest_s = -np.inf
        self._newest_by_channel = np.full(len(spec.channels), -np.inf)
        self._behind: list[Block] = []  # rows far behind, until it is known whether the sender started again
        self._ahead_rows = 0
        self._clock_faults = 0

    def take(self, read: Read) -> Iterator[Item | Lost]:
        now_s = self._clock.mono_s()
        if read.bytes:
            self._stall.bytes_arrived(now_s)
        yield from self._lines(read.lines)
        if self._stall.due(now_s):
            # yield windows that wait for a later sample now, because that sample may never arrive
            yield from self._windows.push(self._grid.flush())
            yield self._stalled(self._stall.why(now_s, self._refused))

    def _lines(self, lines: tuple[bytes | Oddity, ...]) -> Iterator[Item | Lost]:
        waiting: Block | None = None
        for line in lines:
            self._counters.lines += 1
            self._refused.lines += 1
            if isinstance(line, bytes) and not line.strip():
                self._refused.blank += 1
                continue
            try:
                block = decode(line, self._places, self._spec.period_s, self._known)
            except UnreadableError as error:
                self._counters.unreadable += 1
                self._refused.unreadable += 1
                number = self._counters.lines
                ref = Ref(key=f"{self._sender.key}:line{number}", group=self._sender.key)
                yield Lost(ref, Reason.UNREADABLE, f"line {number}: {error}")
                continue
            if isinstance(block, NoSample):
                self._refused.count_without_sample(block.names, self._places)
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
        refused = self._refused
        yield from self._windows.push(self._grid.flush())
        late, future = sum(self._grid.counters.late), self._grid.counters.future
        if late or future:
            _log.warning(
                "%s: %d samples arrived too late, %d rows had stamps in the future; they were not used",
                self._sender.shown,
                late,
                future,
            )
        if refused.without_effect >= REFUSED_AT_END_ROWS and refused.without_effect > refused.useful:
            yield self._stalled(
                f"{self._sender.shown} ended, and its last part contained nothing that could be judged: {refused.causes()}"
            )

    def nothing_judged(self) -> Lost:
        return self._stalled(
            f"{self._sender.shown} ended without a window: {self._refused.causes() or 'no line arrived'}. "
            f"A window needs {self._spec.steps} points, {self._spec.period_s:g} s apart"
        )

    def _stalled(self, detail: str) -> Lost:
        self._stalls += 1
        return Lost(Ref(key=f"{self._sender.key}:silence{self._stalls}", group=self._sender.key), Reason.STALE, detail)

    def _known(self, name: str) -> bool:
        if name in self._places:
            return True
        if name not in self._counters.unknown and len(self._counters.unknown) < _MOST_COUNTED_NAMES:
            self._counters.unknown.add(name)
            hint = nearest(name, self._places)
            _log.warning("%s: the model file has no channel '%s'%s", self._sender.shown, printable(name), hint)
        return False

    def _push(self, block: Block) -> Iterator[Item | Lost]:
        times_s, values = np.concatenate(block.times_s), np.concatenate(block.values)
        wall_s = self._present_s()
        if self._by_wall is None:
            # stamps near the wall clock are wall time, so a stamp ahead of it is wrong; a recording has its own time
            self._by_wall = abs(float(times_s[0]) - wall_s) < _DAY_S
        if self._by_wall:
            yield from self._ahead(times_s, wall_s)
        usable = np.where(times_s > wall_s + FUTURE_S, -np.inf, times_s) if self._by_wall else times_s
        before = self._refused
        far_s = FAR_BEHIND_PERIODS * self._spec.period_s
        begin = 0
        while begin < len(times_s):
            newest = np.maximum.accumulate(np.concatenate([[self._newest_s], usable[begin:]]))
            behind = newest[:-1] - times_s[begin:] > far_s
            in_time = int(np.argmax(behind)) if behind.any() else len(behind)
            if in_time:
                yield from self._give_up_behind()
                rows = slice(begin, begin + in_time)
                yield from self._to_grid(Block(block.places, [times_s[rows]], [values[rows]]))
                self._newest_s = float(newest[in_time])
            else:
                in_time = 1
                self._behind.append(Block(block.places, [times_s[begin : begin + 1]], [values[begin : begin + 1]]))
                yield from self._judge_behind()
            begin += in_time
        self._count_without_effect(block.places, times_s, usable, wall_s, progressed=self._refused is not before)

    def _present_s(self) -> float:
        """Return the time after which a stamp is in the future: the wall clock, but never behind the time since the start.

        If a person or a time server sets this machine's clock back, the samples stay valid. If the clock was behind at the start
        and is then set right, they become valid.
        """
        return max(self._clock.wall_s(), self._clock.mono_s() + self._wall_ahead_s)

    def _count_without_effect(
        self,
        places: tuple[int, ...],
        times_s: NDArray[np.float64],
        usable: NDArray[np.float64],
        wall_s: float,
        *,
        progressed: bool,
    ) -> None:
        """Count the rows that change no point: future stamps, repeated newest stamps, stamps in sealed cells."""
        channels = list(places)
        newest = np.maximum.accumulate(np.concatenate([[self._newest_by_channel[channels].min()], usable]))
        self._newest_by_channel[channels] = np.maximum(self._newest_by_channel[channels], newest[-1])
        advancing = usable > newest[:-1]
        # if the block itself made progress, only the rows after its last step can be stuck
        begin = int(np.flatnonzero(advancing)[-1]) if progressed and advancing.any() else 0
        ahead = np.isneginf(usable[begin:])
        self._refused.rows += len(times_s) - begin
        self._refused.stuck += int(((times_s == newest[:-1]) | (times_s <= self._grid.sealed_s))[begin:].sum())
        self._refused.future += int(ahead.sum())
        self._refused.newest_s = float(times_s[-1])
        if ahead.any():
            self._refused.ahead_s = float(times_s[begin:][ahead][-1]) - wall_s

    def _ahead(self, times_s: NDArray[np.float64], wall_s: float) -> Iterator[Lost]:
        for time_s in times_s.tolist():
            self._ahead_rows = self._ahead_rows + 1 if time_s > wall_s + FUTURE_S else 0
            if self._ahead_rows == CLOCK_WRONG_AFTER_ROWS:
                self._clock_faults += 1
                ref = Ref(key=f"{self._sender.key}:clock{self._clock_faults}", group=self._sender.key)
                yield Lost(
                    ref, Reason.STALE, f"the time stamp is {time_s - wall_s:.1f} s ahead of this machine's clock"
                )

    def _to_grid(self, block: Block) -> list[Item | Lost]:
        points = self._grid.push(
            block.times_s[0],
            block.values[0],
            channels=None if block.places == tuple(range(len(self._places))) else block.places,
            now_s=self._present_s() if self._by_wall else None,
        )
        self._progress(points)
        return self._windows.push(points)

    def _progress(self, points: Points) -> None:
        """Record progress if points were sealed. A sealed point leads to an item after at most one hop."""
        if len(points):
            self._stall.progress(self._clock.mono_s())
            self._refused = Refused()

    def _give_up_behind(self) -> Iterator[Item | Lost]:
        """Pass the rows that are far behind to the grid, so that the grid drops and counts them as late."""
        behind, self._behind = self._behind, []
        for block in behind:
            yield from self._to_grid(block)

    def _judge_behind(self) -> Iterator[Item | Lost]:
        places = {place for block in self._behind for place in block.places}
        if len(self._behind) >= RESTART_AFTER_ROWS and len(places) == len(self._places):
            self._counters.restarts += 1
            behind, self._behind = self._behind, []
            _log.warning(
                "%s: source time went back to %g s; a new run begins because the sender seems to have restarted",
                self._sender.shown,
                behind[0].times_s[0][0],
            )
            yield from self._windows.push(self._grid.flush())
            self._grid.reset()
            self._windows = Windows(self._spec, f"{self._sender.key}-{self._counters.restarts + 1}")
            for block in behind:
                yield from self._to_grid(block)
            self._newest_s = max(float(block.times_s[0].max()) for block in behind)
            self._newest_by_channel[:] = self._newest_s
        elif len(self._behind) >= _MOST_HELD_ROWS:  # one slow channel alone is only late
            yield from self._give_up_behind()
