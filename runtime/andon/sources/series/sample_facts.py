"""Measure the samples behind each window: their newest times, constant times, distances and range, by channel.

The grid gives the samples in the order of their source times, after those that arrived late or twice. The facts therefore depend
on (channel, stamp, value) and the lateness only, as the windows do.
"""

import numpy as np
from numpy.typing import NDArray

from andon.runtime.channel_samples import ChannelSamples, Floats
from andon.runtime.schema import WindowSpec
from andon.sources.series.grid import ON_GRID, Points, Rule

PERIODS = 20
"""Number of the last distances between samples over which a rate is measured."""
_PAUSE = 5.0
"""A distance above this multiple of the median is a pause and does not count for the mean."""


class SampleFacts:
    """A state machine over the samples of one run.

    Args:
        spec: the specification of the windows.
    """

    def __init__(self, spec: WindowSpec) -> None:
        count = len(spec.channels)
        self._steps = spec.steps
        self._period_s = spec.period_s
        self._reach = np.array([Rule.of(channel, spec.period_s).reach for channel in spec.channels])
        self._begin: int | None = None
        # samples of the last window, then those that are not counted yet; stamps are in periods
        self._stamps = np.empty(0)
        self._samples = np.empty((0, count), dtype=np.float32)
        self._counted = 0
        self._seen = np.full(count, -np.inf)
        self._value = np.full(count, np.nan, dtype=np.float32)
        self._since = np.full(count, np.nan)
        self._recent = np.full((PERIODS + 1, count), np.nan)

    def push(self, points: Points) -> None:
        """Add the samples behind some points."""
        if self._begin is None and len(points):
            self._begin = int(points.numbers[0])
        if points.stamps is not None and points.samples is not None and len(points.stamps):
            self._stamps = np.concatenate([self._stamps, points.stamps])
            self._samples = np.concatenate([self._samples, points.samples])

    def until(self, number: int) -> ChannelSamples:
        """Return the facts at a point. Points must ascend."""
        stop = int(np.searchsorted(self._stamps, number + ON_GRID, side="right"))
        if stop > self._counted:
            self._count(self._stamps[self._counted : stop], self._samples[self._counted : stop])
        start = int(np.searchsorted(self._stamps, number - self._steps + ON_GRID, side="right"))
        window = self._samples[start:stop]
        finite = np.where(np.isfinite(window), window, np.float32(np.nan))
        self._stamps, self._samples, self._counted = self._stamps[start:], self._samples[start:], stop - start
        mean, median = self._distances()
        begin = number if self._begin is None else self._begin
        return ChannelSamples(
            begin_s=begin * self._period_s,
            end_s=number * self._period_s,
            seen_s=self._seen * self._period_s,
            constant_s=(self._seen - self._since) * self._period_s,
            mean_period_s=mean * self._period_s,
            median_period_s=median * self._period_s,
            low=np.fmin.reduce(finite, axis=0, initial=np.nan).astype(np.float64),
            high=np.fmax.reduce(finite, axis=0, initial=np.nan).astype(np.float64),
            not_finite=np.asarray(np.isinf(window).any(axis=0)),
        )

    def _count(self, stamps: Floats, samples: NDArray[np.float32]) -> None:
        """Count samples in the order of their times."""
        finite = np.isfinite(samples)
        if finite.all():
            self._count_rows(stamps, samples)
            return
        for channel in np.flatnonzero(finite.any(axis=0)).tolist():
            given = finite[:, channel]
            self._count_rows(stamps[given], samples[given, channel, None], slice(channel, channel + 1))

    def _count_rows(self, stamps: Floats, samples: NDArray[np.float32], place: slice = slice(None)) -> None:
        """Count samples ``[m, k]`` of the k channels at a place. All are finite."""
        values = np.concatenate([self._value[None, place], samples])
        times = np.concatenate([self._seen[None, place], np.repeat(stamps[:, None], samples.shape[1], axis=1)])
        changed = (values[1:] != values[:-1]) | (times[1:] - times[:-1] > self._reach[place])
        last = len(stamps) - 1 - changed[::-1].argmax(axis=0)
        self._since[place] = np.where(changed.any(axis=0), stamps[last], self._since[place])
        self._seen[place], self._value[place] = stamps[-1], values[-1]
        recent = self._recent[:, place]
        recent[:] = np.concatenate([recent, times[1:]])[-PERIODS - 1 :]

    def _distances(self) -> tuple[Floats, Floats]:
        """Return the mean and the median of the last distances by channel, in periods. NaN until there are enough."""
        distances = np.sort(np.diff(self._recent, axis=0), axis=0)
        distances[:, np.isnan(self._recent[0])] = np.nan  # too few samples
        median = (distances[(PERIODS - 1) // 2] + distances[PERIODS // 2]) / 2
        usual = distances <= _PAUSE * median
        with np.errstate(invalid="ignore"):
            return np.where(usual, distances, 0.0).sum(axis=0) / usual.sum(axis=0), median
