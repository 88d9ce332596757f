"""Find the dominant cycle of a log: the lag at which its channels repeat themselves.

Each channel votes for the first high peak of its autocorrelation. Votes for about the same lag are added, and the lag with the
most votes wins. Random noise and slow trends have no such peak.

Benchmarks for time series usually take the highest peak of the first channel. Here all channels vote. A peak must be significant
by Bartlett's formula, and it must come again after two cycles. The first of several nearly equal peaks is taken, because the
others are multiples of it.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_HEIGHT = 0.3
"""Smallest autocorrelation at the peak. Below it, less than a tenth of the variance repeats."""
LEAST_CYCLES = 4
"""Number of cycles that a stretch must hold, at least."""
SIGMAS = 5.0
"""Height of a peak in standard deviations of the autocorrelation of a series without a cycle (Bartlett)."""
NEARLY = 0.8
"""An earlier peak counts as the cycle if it has this share of the height of the highest one."""
AGAIN = 0.5
"""Smallest height of the peak after two cycles, as a share of that after one. A chance peak does not come again."""
SAME = 0.15
"""Largest relative difference of two votes for one cycle."""
LEAST_SHARE = 0.25
"""Smallest share of the moving channels that must repeat themselves after the same time. Chance peaks are in few channels."""
MOST_ROWS = 20_000
"""Number of rows per stretch that are looked at. A cycle of which this holds fewer than four is too long for a window."""


class Cycle(Struct, frozen=True, kw_only=True):
    """The dominant cycle of a log."""

    rows: int
    """Rows of one cycle."""
    channels: int
    """Number of channels that repeat themselves at this distance."""
    height: float
    """Mean autocorrelation of these channels at this lag."""


def dominant_cycle(stretches: Sequence[NDArray[np.float32]]) -> Cycle | None:
    """Return the dominant cycle, or None if fewer than a quarter of the channels that move share one.

    Args:
        stretches: ``[n, C]`` each, finite, with rows at equal distances.
    """
    votes: list[tuple[int, float]] = []
    moving = 0
    for channel in range(stretches[0].shape[1] if stretches else 0):
        columns = [stretch[:MOST_ROWS, channel].astype(np.float64) for stretch in stretches]
        if not _moves(columns):
            continue
        moving += 1
        vote = _vote(columns)
        if vote is not None:
            votes.append(vote)
    if not votes:
        return None

    def supporters(lag: int) -> list[tuple[int, float]]:
        return [vote for vote in votes if abs(vote[0] - lag) <= max(1.0, SAME * lag)]

    best = max(votes, key=lambda vote: (sum(height for _, height in supporters(vote[0])), -vote[0]))
    chosen = supporters(best[0])
    if len(chosen) < LEAST_SHARE * moving:
        return None
    weights = np.array([height for _, height in chosen])
    lag = float(np.average([lag for lag, _ in chosen], weights=weights))
    return Cycle(rows=max(2, round(lag)), channels=len(chosen), height=float(weights.mean()))


def autocorrelation(stretches: Sequence[Floats]) -> Floats:
    """Return the autocorrelation of one channel by lag, over all stretches that are long enough, without their linear trends.

    The lags go up to half of the longest stretch. A constant channel gives an empty array.
    """
    longest = max((len(stretch) for stretch in stretches), default=0)
    lags = longest // 2 + 1
    if lags < 3:
        return np.empty(0)
    total, power = np.zeros(lags), 0.0
    for stretch in stretches:
        if len(stretch) < 4:
            continue
        left = _without_trend(stretch)
        spectrum = np.fft.rfft(left, 1 << (2 * len(left) - 1).bit_length())
        covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: min(lags, len(left))]
        # the sum over n - k products: divided by their number, so that a far peak is as high as a near one
        counts = len(left) / (len(left) - np.arange(len(covariance)))
        total[: len(covariance)] += covariance * counts
        power += covariance[0]
    return np.asarray(total / power) if power > 0 else np.empty(0)


def _vote(stretches: list[Floats]) -> tuple[int, float] | None:
    """Return the cycle of one channel in rows, and the height of its peak."""
    found = autocorrelation(stretches)
    if len(found) < 3:
        return None
    low = np.flatnonzero(found < 0)
    if not len(low):
        return None  # a trend
    farthest = max(len(stretch) for stretch in stretches) // LEAST_CYCLES
    inner = found[1 : farthest + 1]
    peaks = np.flatnonzero((inner >= found[:farthest]) & (inner > found[2 : farthest + 2])) + 1
    peaks = peaks[peaks > low[0]]
    if not len(peaks):
        return None
    samples = sum(len(stretch) for stretch in stretches)
    # Bartlett: beyond the memory of the series, its autocorrelation varies as much as this
    error = np.sqrt((1.0 + 2.0 * float((found[1 : low[0]] ** 2).sum())) / samples)
    highest = float(found[peaks].max())
    if highest < max(LEAST_HEIGHT, SIGMAS * error):
        return None
    first = int(peaks[found[peaks] >= NEARLY * highest][0])
    again = found[round(2 * first * (1 - SAME)) : round(2 * first * (1 + SAME)) + 1]
    if float(again.max()) < AGAIN * found[first]:
        return None
    return first, float(found[first])


def _moves(stretches: list[Floats]) -> bool:
    """Return whether a channel does more than follow a straight line. Smaller remainders are float32 rounding."""
    scale = max((float(np.abs(stretch).max(initial=0.0)) for stretch in stretches), default=0.0)
    return scale > 0.0 and any(
        np.ptp(_without_trend(stretch)) > 1e-5 * scale for stretch in stretches if len(stretch) > 1
    )


def _without_trend(values: Floats) -> Floats:
    place = np.linspace(-1.0, 1.0, len(values))
    centred = values - values.mean()
    slope = float((place * centred).sum() / (place**2).sum())
    return np.asarray(centred - place * slope)
