"""Limits for windows that lie far outside everything that the good windows showed, and the channel that exceeds one.

A detector cannot know how bad a state is that no good window resembles. It may even call it good: a network saturates, and a
channel that never moved has no scale. So the graph of a model file for windows has a check that does not depend on the
detector. It compares the highest and the lowest value of each channel with limits. It does the same with the standard deviation
within the window (spread), and with the largest change from one step to the next (rate).

A window beyond a limit is REJECT with the reason ``outside_training``, and not INVALID. Its values can be judged, and they show
the surest fault there is. INVALID means that there is nothing to judge. That is right for a sensor that fails: a value that it
cannot measure is found by the monitor's check of channels (`andon.monitor.channel_health`).

The limits follow from the ranges in training and calibration windows. So no calibration window is beyond a limit, the promise
holds as before, and a calibration on another machine moves the limits with the threshold.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.calibration_facts import ChannelHealth, Range
from andon.runtime.schema import Channel, OutsideCheck, WindowSpec

Floats = NDArray[np.float64]

STATISTICS = 4
"""Number of limits of a channel: of the highest value, the lowest value with reversed sign, the spread and the rate."""
NO_LIMIT = float(np.finfo(np.float32).max)
"""A limit that no finite number exceeds. It stands for a channel without a known range."""
CONSTANT = 1e-5
"""Largest range, as a share of the level, of a channel that counts as constant."""
CONSTANT_WIDTH = 1e-3
"""Change of a constant channel that is outside, as a share of its level: about two steps of a 12-bit converter at mid-scale."""
LEAST_WIDTH = 1e-6
"""Smallest width of a limit, as a share of the level and in the channel's unit. Smaller differences are float32 rounding."""

Kind = Literal["value", "spread", "rate"]


class Statistics(Struct, frozen=True):
    """Statistics of n windows. Each array is ``[n, C]``, in the units of the channels."""

    high: Floats
    low: Floats
    spread: Floats
    rate: Floats


class Outside(Struct, frozen=True, kw_only=True):
    """One limit that a window exceeds."""

    channel: str
    kind: Kind
    detail: str
    """The channel, what is outside, the measured number and the limit, as readable text."""
    times: float
    """Distance from the middle of the good range, in multiples of the distance of the limit."""


def statistics(windows: NDArray[np.float32]) -> Statistics:
    """Return the statistics of windows ``[n, T, C]``. A window of one row has a spread and a rate of 0."""
    values = windows.astype(np.float64)
    steps = np.abs(np.diff(values, axis=1))
    return Statistics(
        high=values.max(axis=1),
        low=values.min(axis=1),
        spread=values.std(axis=1),
        rate=steps.max(axis=1, initial=0.0),
    )


def ranges(values: Floats) -> list[Range]:
    """Return the lowest and highest number of each column of ``[n, C]``."""
    return [
        Range(low=float(low), high=float(high))
        for low, high in zip(values.min(axis=0), values.max(axis=0), strict=True)
    ]


def limits(spec: WindowSpec, seen: Sequence[ChannelHealth] = ()) -> NDArray[np.float32]:
    """Return the limits of all channels, ``[4 * C]``, as the graph compares them with its statistics.

    With the defaults of `OutsideCheck`, the range of values is widened by its own width on each side, and spread and rate may
    be three times the highest good ones. A channel that never moved may move by a thousandth of its level. Limits of values are
    relative to `Channel.center`.

    Args:
        spec: the specification, with the ranges of the training set and the rule of the limits.
        seen: the ranges of the calibration windows, by name of the channel.
    """
    known = {one.name: one for one in seen}
    check = spec.outside or OutsideCheck()
    columns = [
        # a context is not judged: a recipe may change in a window, even if it never did in the good logs
        (NO_LIMIT,) * STATISTICS
        if spec.context is not None and channel.name == spec.context.channel
        else _limits(channel, known.get(channel.name), check)
        for channel in spec.channels
    ]
    return np.array(columns, dtype=np.float64).T.reshape(-1).astype(np.float32)


def outside(window: NDArray[np.float32], spec: WindowSpec, limits: NDArray[np.float32]) -> list[Outside]:
    """Return what is outside in a window ``[T, C]``, the farthest first. Empty for a window within all limits."""
    found = statistics(window[np.newaxis])
    bounds = limits.astype(np.float64).reshape(STATISTICS, len(spec.channels))
    exceeded: list[Outside] = []
    for place, channel in enumerate(spec.channels):
        high, low, spread, rate = bounds[:, place]
        middle, half = channel.center + (high - low) / 2, (high + low) / 2
        unit = f" {channel.unit}" if channel.unit else ""
        top, bottom = found.high[0, place], found.low[0, place]
        value = top if top - middle > middle - bottom else bottom
        if top - channel.center > high or channel.center - bottom > low:
            text = f"{value:.6g}{unit} (limits {channel.center - low:.6g} and {channel.center + high:.6g}{unit})"
            exceeded.append(_outside(channel, "value", text, abs(value - middle) / max(half, 1e-300)))
        for kind, number, limit in (("spread", found.spread[0, place], spread), ("rate", found.rate[0, place], rate)):
            if number > limit:
                text = f"{kind} {number:.4g}{unit} (limit {limit:.4g}{unit})"
                exceeded.append(_outside(channel, kind, text, number / max(limit, 1e-300)))
    return sorted(exceeded, key=lambda one: -one.times)


def _outside(channel: Channel, kind: str, text: str, times: float) -> Outside:
    named: Kind = "spread" if kind == "spread" else "rate" if kind == "rate" else "value"
    return Outside(channel=channel.name, kind=named, detail=f"{channel.name}: {text}", times=float(times))


def _limits(channel: Channel, seen: ChannelHealth | None, check: OutsideCheck) -> tuple[float, float, float, float]:
    if channel.low is None or channel.high is None or channel.spread is None or channel.rate is None:
        return NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT
    low, high, spread, rate = channel.low, channel.high, channel.spread.high, channel.rate.high
    if seen is not None:
        low, high = min(low, seen.low), max(high, seen.high)
        spread = max(spread, seen.spread.high if seen.spread else 0.0)
        rate = max(rate, seen.rate.high if seen.rate else 0.0)
    level = max(abs(low), abs(high))
    constant = high - low <= CONSTANT * level
    least = max(CONSTANT_WIDTH if constant else LEAST_WIDTH, LEAST_WIDTH) * level or LEAST_WIDTH
    width = max(check.values * (high - low), least)
    return (
        min(high + width - channel.center, NO_LIMIT),
        min(channel.center - low + width, NO_LIMIT),
        min(max(check.spread * spread, least), NO_LIMIT),
        min(max(check.rate * rate, least), NO_LIMIT),
    )
