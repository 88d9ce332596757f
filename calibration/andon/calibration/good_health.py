"""Summarise how healthy frames and channels look, from the good parts of a calibration.

A monitor takes its limits from these numbers (`andon.monitor.frame_health`, `andon.monitor.channel_health`).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.calibration_facts import ChannelHealth, FrameHealth, Quantiles
from andon.runtime.frame_statistics import FrameStatistics
from andon.runtime.items import Ref
from andon.runtime.outside_training import ranges, statistics
from andon.runtime.schema import WindowSpec

FRAMES = 1000
"""Upper limit of frames that are measured, evenly spread over the parts. A 1080p frame takes about 2 ms of CPU."""
LEAST_FRAMES = 30
"""Fewest frames for limits of their own.

With limits from 14, 30 and 60 pictures of magnetic tiles, 2.4, .6 and .2 % of the others were false alarms.
"""

_MEASURED = ("low", "high", "overexposed", "contrast", "sharpness", "row_jump", "repeated_rows")


def measured_places(count: int) -> NDArray[np.intp]:
    """Return the places of the frames to measure: all of them, or `FRAMES` evenly spread ones."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, FRAMES)).round().astype(np.intp))


def frame_health(measured: Sequence[FrameStatistics]) -> FrameHealth | None:
    """Return the quantiles of the statistics over good frames, or None for too few frames.

    The difference from the frame before is left out: calibration parts are not the neighbouring frames of a camera.
    """
    if len(measured) < LEAST_FRAMES:
        return None
    found = {}
    for name in _MEASURED:
        values = [value for one in measured if (value := getattr(one, name)) is not None]
        if len(values) == len(measured):
            low, middle, high = np.quantile(values, (0.01, 0.5, 0.99)).tolist()
            found[name] = Quantiles(q01=low, q50=middle, q99=high)
    return FrameHealth(n=len(measured), **found)


class GoodWindow(Struct, frozen=True):
    """A window that was judged, and its identity."""

    ref: Ref
    values: NDArray[np.float32]
    """``[steps, C]``."""


def channel_health(
    windows: Iterable[GoodWindow], spec: WindowSpec, periods_s: Mapping[str, float | None]
) -> tuple[ChannelHealth, ...]:
    """Return the ranges and the longest constant time of each channel over good windows.

    Args:
        windows: disjoint windows, by run and in time order. Windows without a gap between them form one stretch.
        spec: the specification of the windows.
        periods_s: time between two samples in the logs, by name of the channel. Unknown ones are None or left out.
    """
    windows = list(windows)
    stretches = _stretches(windows, spec)
    if not stretches:
        return ()
    seen = statistics(np.stack([window.values for window in windows]))
    spreads, rates = ranges(seen.spread), ranges(seen.rate)
    found = []
    for place, channel in enumerate(spec.channels):
        columns = [stretch[:, place] for stretch in stretches]
        longest, changes = 0, False
        for column in columns:
            ends = np.concatenate(([-1], np.flatnonzero(column[1:] != column[:-1]), [len(column) - 1]))
            longest = max(longest, int(np.diff(ends).max()))
            changes = changes or len(ends) > 2
        found.append(
            ChannelHealth(
                name=channel.name,
                low=float(min(column.min() for column in columns)),
                high=float(max(column.max() for column in columns)),
                constant_s=longest * spec.period_s if changes else None,
                period_s=periods_s.get(channel.name),
                spread=spreads[place],
                rate=rates[place],
            )
        )
    return tuple(found)


def _stretches(windows: Iterable[GoodWindow], spec: WindowSpec) -> list[NDArray[np.float32]]:
    """Join windows that follow each other without a gap."""
    pieces: list[list[NDArray[np.float32]]] = []
    last: Ref | None = None
    for window in windows:
        follows = (
            last is not None
            and last.group == window.ref.group
            and abs((window.ref.time_s or 0.0) - (last.time_s or 0.0) - spec.steps * spec.period_s) < spec.period_s / 2
        )
        if not follows:
            pieces.append([])
        pieces[-1].append(window.values)
        last = window.ref
    return [np.concatenate(piece) for piece in pieces]
