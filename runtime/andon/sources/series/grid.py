"""Resample sensor channels to rows at equal distances. Samples may arrive in any order within a lateness.

Points are at ``g_j = j * period`` in source time. The cell of ``g_j`` is ``(g_{j-1}, g_j]``. A stamp up to a thousandth of a
period after a point counts as on it, because senders round their stamps.

``mean``
    The mean of the samples in the cell. An empty cell is filled as by ``linear`` and marked.

``linear``
    The sample on the point. Without one, the value is interpolated between its neighbours, if they are at most ``max_gap_s``
    apart. The point is marked if they are more than half of ``max_gap_s`` apart.

``hold``
    The newest sample at or before the point, if it is at most ``max_hold_s`` old.

live
    A channel is live if its newest stamp is at most ``stale_after_s`` of source time behind the newest stamp of all channels.

seal
    The watermark is the lowest of the newest stamps of all live channels, minus the lateness. A point is sealed when the
    watermark has passed every sample that could still change it. Sealed points never change.

late
    A sample in a cell that the watermark has passed is dropped and counted. This holds even if the cell still waits for a
    neighbour, so that the result does not depend on how samples were grouped into blocks.

twice
    If the same channel and stamp arrive again, the last arrival wins and the duplicate is counted.

pause
    If no row arrives for longer than can be bridged, the missing points at the beginning of the pause stand for the whole pause.
    The other points of the pause are left out.

The sealed points therefore depend only on (channel, stamp, value) and the lateness. Every order of arrival gives the same points,
bit for bit and in blocks of any size, if no sample arrives after another one that is younger by `lateness_s`.

CPU time was measured with eight ``linear`` channels, on one thread of a 2-core machine. It was 5 us per row in blocks of 50,
0.6 us in blocks of 1 000, and 0.2 ms row by row. A source of 1 kHz must therefore send blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from andon.foundation.errors import InputError
from andon.runtime.schema import Channel, WindowSpec

Floats = NDArray[np.float64]
Values = NDArray[np.float32]

DEFAULT_GAP_PERIODS = 3.0
DEFAULT_LATENESS_PERIODS = 2.0
FUTURE_S = 1.0
"""Largest time in seconds that a stamp may be ahead of the present."""
FARTHEST_STEP = 2.0**53
"""Largest number of periods between a stamp and zero. Beyond it, float64 cannot distinguish two neighbouring points."""
ON_GRID = 1e-3
"""Largest distance in periods between a stamp and a point at which the stamp still counts as on the point."""
_MOST_PENDING_BLOCKS = 64
"""Number of blocks that may wait unsorted. Stamps that do not advance seal nothing, and their rows must not fill the memory."""


class Points(Struct, frozen=True):
    """Sealed points in ascending order. Numbers are left out where the source paused."""

    numbers: NDArray[np.int64]
    """``[n]``: the number j of each point ``g_j = j * period``."""
    values: Values
    """``[n, C]`` in sensor units; NaN where a hole could not be bridged."""
    marked: NDArray[np.bool_]
    """``[n]``: True where a channel was missing and was filled by its rule."""
    stamps: Floats | None = None
    """``[m]``: ascending times, in periods, of the samples that are now behind the sealed points. None: no samples."""
    samples: Values | None = None
    """``[m, C]``: these samples, in sensor units. NaN where a channel has none at that time."""

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass
class Counters:
    """Counts of the samples that the grid has accepted, refused or replaced."""

    samples: int = 0
    duplicate: int = 0
    future: int = 0
    late: list[int] = field(default_factory=list)
    """Late samples by channel, in the order of the spec."""


class Grid:
    """A state machine that turns samples into sealed points. It needs no clock, because samples have stamps.

    Args:
        spec: the specification with the period, and for each channel the rule with its longest gap and hold.
        lateness_s: largest time that a sample may be behind the newest stamp. Default: two periods.
        stale_after_s: source time after which a silent channel no longer delays the others. Default: the lateness plus three
            periods.
        future_s: largest time that a stamp may be ahead of the `now_s` of its block.
    """

    def __init__(
        self,
        spec: WindowSpec,
        *,
        lateness_s: float | None = None,
        stale_after_s: float | None = None,
        future_s: float = FUTURE_S,
    ) -> None:
        self._period_s = spec.period_s
        self._lateness = DEFAULT_LATENESS_PERIODS if lateness_s is None else lateness_s / spec.period_s
        stale = None if stale_after_s is None else stale_after_s / spec.period_s
        self._stale = self._lateness + DEFAULT_GAP_PERIODS if stale is None else max(stale, self._lateness)
        self._future_s = future_s
        self._rules = [Rule.of(channel, spec.period_s) for channel in spec.channels]
        self._reach = 1 + max(rule.reach for rule in self._rules)
        self.counters = Counters(late=[0] * len(self._rules))
        self.reset()

    def reset(self) -> None:
        """Reset all state except the counters, because the source has started again."""
        count = len(self._rules)
        self._seen = np.full(count, -np.inf)  # newest stamp by channel; all stamps here are in periods
        self._watermark = -math.inf
        self._sealed: int | None = None
        self._pending: list[tuple[Floats, Values]] = []
        self._carry_u = np.full(
            count, -np.inf
        )  # newest sealed sample by channel: the left neighbour of the next samples
        self._carry_v = np.full(count, np.nan, dtype=np.float32)
        self._row = -math.inf  # newest sealed row, with or without values

    @property
    def sealed_s(self) -> float:
        """Source time up to which points can no longer change; minus infinity before the first sealed point."""
        return -math.inf if self._sealed is None else (self._sealed + ON_GRID) * self._period_s

    def push(
        self,
        times_s: ArrayLike,
        values: ArrayLike,
        *,
        channels: Sequence[int] | None = None,
        now_s: float | None = None,
    ) -> Points:
        """Add a block of rows in the order of their arrival, and return the points that it seals.

        Args:
            times_s: ``[n]`` source times.
            values: ``[n, k]`` in sensor units, one column per channel. NaN means that the channel has no sample at that time.
            channels: places of the k columns in the spec. Default: all channels in the order of the spec.
            now_s: the present in source time. Rows whose stamp is ahead of it by more than `future_s` are dropped and counted.

        Raises:
            InputError: the shapes do not match, or a stamp is not finite or beyond `FARTHEST_STEP` periods.
        """
        stamps, block = self._checked(times_s, values, channels)
        if now_s is not None:
            ahead = stamps > now_s + self._future_s
            self.counters.future += int(ahead.sum())
            stamps, block = stamps[~ahead], block[~ahead]
        if len(stamps) == 0:
            return self._nothing()
        u = stamps / self._period_s
        late = self._advance(u, channels)
        if late.any():
            for channel, lost in enumerate(np.isfinite(block[late]).sum(axis=0)):
                self.counters.late[channel] += int(lost)
            u, block = u[~late], block[~late]
        self.counters.samples += int(np.isfinite(block).sum())
        if len(u):
            self._pending.append((u, block))
        return self._seal(self._watermark, final=False)

    def flush(self) -> Points:
        """Seal all points up to the newest stamp, because the source has ended or was silent for too long."""
        newest = float(self._seen.max())
        self._watermark = max(self._watermark, newest)
        return self._seal(newest, final=True)

    def _checked(self, times_s: ArrayLike, values: ArrayLike, channels: Sequence[int] | None) -> tuple[Floats, Values]:
        stamps = np.asarray(times_s, dtype=np.float64)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which counts as missing
            block = np.asarray(values).astype(np.float32)
        width = len(self._rules) if channels is None else len(channels)
        if stamps.ndim != 1 or block.shape != (len(stamps), width):
            raise InputError(f"expected times [n] and values [n, {width}], got {stamps.shape} and {block.shape}.")
        if not np.isfinite(stamps).all():
            raise InputError("expected finite times, got NaN or infinity. Drop such rows.")
        if not on_scale(stamps, self._period_s).all():
            raise InputError(
                f"expected times within {FARTHEST_STEP * self._period_s:.3g} s of zero, got {np.abs(stamps).max():.3g} s. "
                "Give times in seconds, not in nanoseconds, and drop rows with wrong stamps."
            )
        if channels is None:
            return stamps, block
        full = np.full((len(stamps), len(self._rules)), np.nan, dtype=np.float32)
        full[:, list(channels)] = block
        return stamps, full

    def _advance(self, u: Floats, channels: Sequence[int] | None) -> NDArray[np.bool_]:
        """Advance the watermark row by row, and return a mask of the rows whose cell it had already passed."""
        newest = np.maximum.accumulate(u)
        if not np.isfinite(self._seen).any():
            self._seen[:] = u[0]  # a channel without any sample yet delays the others until it is stale
        lowest = float(self._seen.min())
        if channels is None and lowest == self._seen.max():
            marks = np.maximum(newest, lowest)
            self._seen[:] = marks[-1]
        else:
            seen = np.repeat(self._seen[None], len(u), axis=0)
            pushed = list(range(len(self._rules))) if channels is None else list(channels)
            seen[:, pushed] = np.maximum(seen[:, pushed], newest[:, None])
            live = seen >= seen.max(axis=1, keepdims=True) - self._stale
            marks = np.where(live, seen, np.inf).min(axis=1)
            self._seen = seen[-1].copy()
        after = np.maximum(np.maximum.accumulate(marks - self._lateness), self._watermark)
        before = np.concatenate([[self._watermark], after[:-1]])
        self._watermark = float(after[-1])
        passed = np.floor(before - ON_GRID)
        if self._sealed is not None:
            passed = np.maximum(passed, self._sealed)
        return np.asarray(_cell(u) <= passed)

    def _seal(self, watermark: float, *, final: bool) -> Points:
        if not self._pending or not math.isfinite(watermark):
            return self._nothing()
        # a stamp just after a point belongs to it, so the watermark must have passed the tolerance, too; not at the end, where
        # no more samples arrive
        top = math.floor(watermark + (ON_GRID if final else -ON_GRID))
        if self._sealed is not None and top <= self._sealed:
            if len(self._pending) > _MOST_PENDING_BLOCKS:
                self._consolidate()
            return self._nothing()
        u, block = self._consolidate()
        if self._sealed is None:
            first = int(_cell(u[:1])[0])
            if first > top:
                return self._nothing()  # an earlier sample may still arrive
            self._sealed = first - 1
        finite = np.isfinite(block)
        last = top if final else min(top, self._determined(u, finite, watermark, top))
        if last <= self._sealed:
            return self._nothing()

        numbers = self._numbers(u, last)
        values, marked = self._resample(u, block, finite, numbers)

        self._sealed = last
        done = int(np.searchsorted(u, last + ON_GRID, side="right"))
        if done:
            self._row = max(self._row, float(u[done - 1]))
            newest = np.where(finite[:done], np.arange(done)[:, None], -1).max(axis=0)
            fresh = newest >= 0
            self._carry_u = np.where(fresh, u[newest], self._carry_u)
            self._carry_v = np.where(fresh, block[newest, np.arange(block.shape[1])], self._carry_v)
        self._pending = [(u[done:], block[done:])] if done < len(u) else []
        return Points(numbers, values, marked, u[:done], block[:done])

    def _consolidate(self) -> tuple[Floats, Values]:
        """Return all pending rows in ascending order, with one row per stamp."""
        u = np.concatenate([rows for rows, _ in self._pending])
        block = np.concatenate([rows for _, rows in self._pending])
        steps = np.diff(u)
        if (steps < 0).any():
            order = np.argsort(u, kind="stable")
            u, block = u[order], block[order]
            steps = np.diff(u)
        if (steps == 0).any():
            place = np.concatenate([[0], np.cumsum(steps > 0)])
            merged = np.full((place[-1] + 1, block.shape[1]), np.nan, dtype=np.float32)
            for channel in range(block.shape[1]):
                given = np.isfinite(block[:, channel])
                # rows of equal stamps are in order of arrival, so the last one stays
                merged[place[given], channel] = block[given, channel]
            self.counters.duplicate += int(np.isfinite(block).sum() - np.isfinite(merged).sum())
            u, block = u[np.concatenate([[True], steps > 0])], merged
        self._pending = [(u, block)]
        return u, block

    def _determined(self, u: Floats, finite: NDArray[np.bool_], watermark: float, top: int) -> int:
        """Return the highest point that no later sample can change."""
        known = int(np.searchsorted(u, watermark, side="right"))
        newest = np.where(finite[:known], u[:known, None], -np.inf).max(axis=0, initial=-np.inf)
        newest = np.maximum(newest, self._carry_u)
        lowest = top
        for rule, stamp in zip(self._rules, newest.tolist(), strict=True):
            if rule.kind == "hold" or watermark >= stamp + rule.gap + ON_GRID:
                continue  # a right neighbour that still arrives would be too far away
            reached = math.ceil(stamp - ON_GRID) if rule.kind == "mean" else math.floor(stamp + ON_GRID)
            lowest = min(lowest, reached)
        return lowest

    def _numbers(self, u: Floats, last: int) -> NDArray[np.int64]:
        """Return the points up to `last`, without those in a pause that is too long to bridge."""
        assert self._sealed is not None
        first = self._sealed + 1
        rows = u if math.isinf(self._row) else np.concatenate([[self._row], u])
        ends = np.append(rows[1:], max(float(last), float(rows[-1])))
        pauses = np.flatnonzero(ends - rows > self._reach)
        pieces = []
        for pause in pauses.tolist():
            stop = math.floor(rows[pause] + self._reach)
            pieces.append(np.arange(first, min(stop, last) + 1, dtype=np.int64))
            onward = math.ceil(ends[pause] - ON_GRID) if pause + 1 < len(rows) else last + 1
            first = max(first, stop + 1, onward)
        pieces.append(np.arange(first, last + 1, dtype=np.int64))
        return np.concatenate(pieces)

    def _resample(
        self, u: Floats, block: Values, finite: NDArray[np.bool_], numbers: NDArray[np.int64]
    ) -> tuple[Values, NDArray[np.bool_]]:
        values = np.empty((len(numbers), len(self._rules)), dtype=np.float32)
        marked = np.zeros(len(numbers), dtype=bool)
        together = bool(finite.all()) and self._carry_u.min() == self._carry_u.max()
        groups: dict[object, list[int]] = {}
        for channel, rule in enumerate(self._rules):
            groups.setdefault(rule if together else channel, []).append(channel)
        for channels in groups.values():
            lead = channels[0]
            mask = slice(None) if together else finite[:, lead]
            stamps, samples = u[mask], block[mask][:, channels]
            if math.isfinite(self._carry_u[lead]):
                stamps = np.concatenate([self._carry_u[lead : lead + 1], stamps])
                samples = np.concatenate([self._carry_v[channels][None], samples])
            filled, bridged = self._rules[lead].at(numbers, stamps, samples)
            values[:, channels] = filled
            marked |= bridged
        return values, marked

    def _nothing(self) -> Points:
        return Points(
            np.empty(0, dtype=np.int64), np.empty((0, len(self._rules)), dtype=np.float32), np.empty(0, dtype=bool)
        )


def on_scale(times_s: Floats, period_s: float) -> NDArray[np.bool_]:
    """Return for each stamp ``[n]`` whether a grid of this period can place it. It cannot place NaN and infinite stamps."""
    return np.abs(times_s) <= FARTHEST_STEP * period_s


@dataclass(frozen=True)
class Rule:
    """The resampling rule of one channel. Lengths are in periods."""

    kind: str
    gap: float
    hold: float

    @classmethod
    def of(cls, channel: Channel, period_s: float) -> "Rule":
        """Return the rule of a channel of a model file."""
        gap = DEFAULT_GAP_PERIODS if channel.max_gap_s is None else channel.max_gap_s / period_s
        hold = DEFAULT_GAP_PERIODS if channel.max_hold_s is None else channel.max_hold_s / period_s
        return cls(channel.resample, gap, hold)

    @property
    def reach(self) -> float:
        """The longest pause that the rule bridges."""
        return self.hold if self.kind == "hold" else self.gap

    def at(self, numbers: NDArray[np.int64], stamps: Floats, samples: Values) -> tuple[Values, NDArray[np.bool_]]:
        """Return values ``[m, k]`` and marks ``[m]`` at m points, from k channels with the same ascending stamps ``[n]``."""
        if len(stamps) == 0:
            return np.full((len(numbers), samples.shape[1]), np.nan, dtype=np.float32), np.zeros(
                len(numbers), dtype=bool
            )
        left = np.searchsorted(stamps, numbers + ON_GRID, side="right") - 1
        if self.kind == "hold":
            held = (left >= 0) & (numbers - stamps[left] <= self.hold + ON_GRID)
            return np.where(held[:, None], samples[left], np.float32(np.nan)), np.zeros(len(numbers), dtype=bool)
        values, marked = self._linear(numbers, stamps, samples, left)
        if self.kind == "mean":
            cells = _cell(stamps)
            start = np.searchsorted(cells, numbers, side="left")
            stop = np.searchsorted(cells, numbers, side="right")
            full = stop > start
            if full.any():
                # all rows outside the wanted cells are before the first one, because the cells that a pause leaves out are empty
                sums = np.add.reduceat(samples[: stop[full][-1]].astype(np.float64), start[full], axis=0)
                values[full] = sums / (stop - start)[full, None]
            marked = ~full & np.isfinite(values).all(axis=1)
        return values, marked

    def _linear(
        self, numbers: NDArray[np.int64], stamps: Floats, samples: Values, left: NDArray[np.intp]
    ) -> tuple[Values, NDArray[np.bool_]]:
        on_point = (left >= 0) & (stamps[left] >= numbers - ON_GRID)
        if on_point.all():
            return samples[left], np.zeros(len(numbers), dtype=bool)
        right = np.minimum(left + 1, len(stamps) - 1)
        hole = stamps[right] - stamps[left]
        between = (left >= 0) & (left + 1 < len(stamps)) & (hole <= self.gap + ON_GRID) & ~on_point
        share = np.where(between, (numbers - stamps[left]) / np.where(between, hole, 1.0), 0.0)[:, None]
        low, high = samples[left].astype(np.float64), samples[right].astype(np.float64)
        values = np.where(between[:, None], low + (high - low) * share, np.nan).astype(np.float32)
        values[on_point] = samples[left[on_point]]
        return values, between & (hole > self.gap / 2 + ON_GRID)


def _cell(u: Floats) -> Floats:
    """Return the number of the cell that contains a stamp, given in periods."""
    return np.ceil(u - ON_GRID)
