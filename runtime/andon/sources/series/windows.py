"""Cut sealed points into windows. A stream and a log in memory give the same windows.

A window ends at the point number ``steps - 1 + i * hop``, counted from the first complete point after the start or after the
last hole. A point at which any channel is NaN is a hole and restarts the count. The first point of a hole gives `Lost` (GAP), and
so does every hop while the hole lasts. After the hole, a stream gives `Lost` (WARMING) at every hop until `steps` points are
complete again. A collection leaves out WARMING items, because they describe the present state of a line, not the recording.
A window with more than 5 % marked points is `Lost` (GAP).
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.settings import nearest
from andon.runtime.channel_samples import ChannelSamples
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.grid import DEFAULT_GAP_PERIODS, Grid, Points, Values
from andon.sources.series.log import Log
from andon.sources.series.sample_facts import SampleFacts

MOST_MARKED = 0.05
"""Largest share of marked points in a window that can be judged."""

Indices = NDArray[np.intp]


def window_spec(found: FoundLogs, steps: int, hop: int, *, period_s: float | None = None) -> WindowSpec:
    """Return the specification of windows of `steps` points over logs like these.

    Points are `period_s` apart; None means `FoundLogs.grid_period_s`, or else the period of the rows. All channels of the logs
    are used and resampled ``linear``. If the period is at least 1.5 times the distance of the rows, they are averaged instead
    (``mean``).

    Raises:
        ConfigError: steps or hop is below 1, or the period is not positive.
    """
    period = (found.grid_period_s or found.period_s) if period_s is None else period_s
    if steps < 1 or hop < 1 or not period > 0:
        raise ConfigError(
            f"windows: expected steps >= 1, hop >= 1 and period > 0 s, got {steps}, {hop} and {period:g} s."
        )
    channels = found.channels
    if period >= 1.5 * found.period_s:
        # a gap estimated from the distance of rows is useless if it is shorter than the gap that a coarser grid bridges anyway
        bridged_s = DEFAULT_GAP_PERIODS * period
        channels = tuple(
            structs.replace(
                channel, resample="mean", max_gap_s=gap_s if (gap_s := channel.max_gap_s or 0) > bridged_s else None
            )
            for channel in channels
        )
    return WindowSpec(steps=steps, hop=hop, period_s=period, channels=channels)


def columns(found: FoundLogs, spec: WindowSpec) -> list[int]:
    """Return the column of the log for each channel of a specification. Other channels of the log are ignored.

    Raises:
        DataError: the log does not have a channel of the specification.
    """
    names = [channel.name for channel in found.channels]
    for channel in spec.channels:
        if channel.name not in names:
            raise DataError(
                f"the log has no channel {channel.name!r}{nearest(channel.name, names)}. It has: {', '.join(names)}."
            )
    return [names.index(channel.name) for channel in spec.channels]


class Windows:
    """A state machine that cuts the sealed points of one run into items.

    Args:
        spec: the specification with steps, hop and channels.
        run: the name of the run. It is the group of the items; their keys are ``run#point``, counted from the run's first point.
        hop: distance of window ends. Default: the hop of the specification.
    """

    def __init__(self, spec: WindowSpec, run: str, *, hop: int | None = None) -> None:
        self._spec = spec
        self._run = run
        self._hop = spec.hop if hop is None else hop
        self._values = np.empty((0, len(spec.channels)), dtype=np.float32)  # the last steps - 1 points
        self._marked = np.empty(0, dtype=bool)
        self._count = _Count(0, 0)
        self._first: int | None = None
        self._facts = SampleFacts(spec)

    def push(self, points: Points) -> list[Item | Lost]:
        """Return the items that end at these points, in order. The data of a window are float32 ``[steps, C]``."""
        if len(points) == 0:
            return []
        if self._first is None:
            self._first = int(points.numbers[0])
        self._facts.push(points)
        steps, kept = self._spec.steps, len(self._values)
        values = np.concatenate([self._values, points.values])
        marked = np.concatenate([self._marked, points.marked])
        plan = _plan(points.values, marked, steps, self._hop, self._count)
        self._count = plan.count
        first = max(0, len(values) - (steps - 1))  # for windows of one row, no point is kept
        self._values, self._marked = values[first:].copy(), marked[first:].copy()

        out: list[Item | Lost] = []
        for at, reason in zip(plan.at.tolist(), plan.reasons.tolist(), strict=True):
            number = int(points.numbers[at])
            ref = window_ref(self._run, number - self._first, number * self._spec.period_s)
            facts = self._facts.until(number)
            if reason == Reason.NONE:
                end = kept + at + 1
                out.append(Item(ref, values[end - steps : end], facts))
            else:
                out.append(_lost(ref, Reason(reason), points.values[at], self._spec, facts))
        return out


def window_ref(run: str, point: int, time_s: float) -> Ref:
    """Return the ref of a window, from its run and the number and source time of its last point."""
    return Ref(key=f"{run}#{point}", group=run, time_s=time_s)


def cut(log: Log, spec: WindowSpec, *, hop: int | None = None) -> "WindowCollection":
    """Cut a log into windows.

    Args:
        log: the log. Its channels may have another order than in the specification, and it may have more channels.
        spec: the specification with period, steps, hop, and the rules of the channels.
        hop: another hop, for example `spec.steps` for the disjoint windows that calibration needs.

    Raises:
        DataError: the log does not have a channel of the specification.
    """
    places = columns(log.found, spec)
    pieces = []
    for run in log.runs:
        grid = Grid(spec, lateness_s=float("inf"))  # seals nothing before the end, so one vectorised pass is enough
        grid.push(run.times_s, run.values[:, places])
        points = structs.replace(grid.flush(), stamps=None, samples=None)  # a collection does not need them
        plan = _plan(points.values, points.marked, spec.steps, spec.hop if hop is None else hop, _Count(0, 0))
        wanted = plan.reasons != Reason.WARMING
        pieces.append(_Piece(run.name, points, plan.at[wanted], plan.reasons[wanted]))
    return WindowCollection(log.found, spec, pieces)


class WindowCollection:
    """A log cut into windows: a `Collection` that slices the points when a window is read."""

    def __init__(self, found: FoundLogs, spec: WindowSpec, pieces: Sequence["_Piece"]) -> None:
        self._found = found
        self._pieces = pieces
        self.spec = spec

    @property
    def found(self) -> FoundLogs:
        """A description of the log."""
        return self._found

    @cached_property
    def refs(self) -> Sequence[Ref]:
        """All windows, run by run, ascending in time, including GAP ones."""
        return [
            window_ref(piece.run, number - first, number * self.spec.period_s)
            for piece in self._pieces
            if len(piece.at)
            for first in [int(piece.points.numbers[0])]
            for number in piece.points.numbers[piece.at].tolist()
        ]

    def read(self, ref: Ref) -> Item | Lost:
        """Return one window, float32 ``[steps, C]``, as a view into the points of its run.

        Raises:
            DataError: the ref belongs to another log.
        """
        if ref.key not in self._places:
            raise DataError(f"expected a ref of this log, got {ref.key!r}. Take refs from its attribute `refs`.")
        piece, at, reason = self._places[ref.key]
        if reason == Reason.NONE:
            return Item(ref, piece.points.values[at + 1 - self.spec.steps : at + 1])
        return _lost(ref, reason, piece.points.values[at], self.spec)

    def __iter__(self) -> Iterator[Item | Lost]:
        """Return an iterator over all windows, in the order of `refs`."""
        return (self.read(ref) for ref in self.refs)

    def __len__(self) -> int:
        """Return the number of windows, including GAP ones."""
        return sum(len(piece.at) for piece in self._pieces)

    @cached_property
    def _places(self) -> dict[str, tuple["_Piece", int, Reason]]:
        ends = (
            (piece, at, Reason(reason))
            for piece in self._pieces
            for at, reason in zip(piece.at.tolist(), piece.reasons.tolist(), strict=True)
        )
        return {ref.key: end for ref, end in zip(self.refs, ends, strict=True)}


class _Piece(Struct, frozen=True):
    run: str
    points: Points
    at: Indices
    reasons: NDArray[np.uint8]


class _Count(Struct, frozen=True):
    """The length of the current sequence of complete or broken points. The other of the two numbers is 0."""

    complete: int
    broken: int


class _Plan(Struct, frozen=True):
    at: Indices
    """Indices of the points at which an item ends."""
    reasons: NDArray[np.uint8]
    """`Reason.NONE` for a window, otherwise the reason why it is lost."""
    count: _Count


def _plan(values: Values, marked: NDArray[np.bool_], steps: int, hop: int, count: _Count) -> _Plan:
    """Plan the items that end at n points, given their values ``[n, C]``.

    `marked` is ``[k + n]``: the marks of the k points before them, then the marks of the n points.
    """
    size = len(values)
    if size == 0:
        return _Plan(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.uint8), count)
    place = np.arange(size)
    complete: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    last_broken = np.maximum.accumulate(np.where(complete, -1, place))
    last_complete = np.maximum.accumulate(np.where(complete, place, -1))
    since_broken = place - last_broken + np.where(last_broken < 0, count.complete, 0)
    since_complete = place - last_complete + np.where(last_complete < 0, count.broken, 0)

    full = complete & (since_broken >= steps)
    window = full & ((since_broken - steps) % hop == 0)
    warming = complete & ~full & (since_broken % hop == 0)
    gap = ~complete & ((since_complete - 1) % hop == 0)

    running = np.zeros(len(marked) + 1, dtype=np.int64)
    np.cumsum(marked, out=running[1:])
    end = len(marked) - size + place + 1
    recent: NDArray[np.int64] = running[end] - running[np.maximum(end - steps, 0)]
    too_many = np.greater(recent, MOST_MARKED * steps)

    reasons = np.full(size, Reason.NONE, dtype=np.uint8)
    reasons[gap | (window & too_many)] = Reason.GAP
    reasons[warming] = Reason.WARMING
    at = np.flatnonzero(window | warming | gap)
    now = _Count(int(since_broken[-1]), 0) if complete[-1] else _Count(0, int(since_complete[-1]))
    return _Plan(at, reasons[at], now)


def _lost(ref: Ref, reason: Reason, row: Values, spec: WindowSpec, facts: ChannelSamples | None = None) -> Lost:
    missing = [channel.name for channel, value in zip(spec.channels, row.tolist(), strict=True) if math.isnan(value)]
    detail, channel = "", ""
    if missing:
        detail = f"the gap between samples is too long, in the channels {', '.join(missing)}"
        channel = missing[0] if len(missing) < len(spec.channels) else ""  # a gap in all of them has another cause
    elif reason is Reason.GAP:
        detail = f"more than {MOST_MARKED:.0%} of the points in the window were missing and had to be filled"
    return Lost(ref, reason, detail, channel, facts)
