"""Check whether a sensor channel delivers what it should: present, fresh, changing, within its range, and at its rate.

The functions have no clock and no timers. `step` takes each sample, and `silence` is asked from time to time, because an absent
sample cannot call anything. Times are seconds on one monotonic axis. The state is plain data for JSON.
"""

import math
from typing import Annotated

from msgspec import Meta, Struct, structs

from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import ChannelHealth
from andon.runtime.schema import Channel, Reason

STUCK_FACTOR = 20.0
"""A channel is stuck after this multiple of its longest constant time in good data."""

Positive = Annotated[float, Meta(gt=0.0)]


class ChannelLimits(Struct, frozen=True, kw_only=True):
    """Limits of one channel. None switches a check off.

    Raises:
        ConfigError: a number is out of range.
    """

    stale_after_s: Positive = 2.0
    """Longest time without a sample."""
    low: float | None = None
    """Lowest plausible value."""
    high: float | None = None
    """Highest plausible value."""
    stuck_after_s: Positive | None = None
    """Longest time with one value. `limits_of_channel` takes 20 times the longest such time in good data."""
    period_s: Positive | None = None
    """Expected time between two samples."""
    rate_tolerance: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.1
    """Largest relative difference of the rate from the expected one."""
    rate_samples: Annotated[int, Meta(ge=2)] = 20
    """Number of periods over which the rate is measured."""

    def __post_init__(self) -> None:
        for name in ("stale_after_s", "stuck_after_s", "period_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 0.0 < seconds < math.inf:
                raise ConfigError(f"channel: expected {name} above 0 seconds, got {seconds:g}.")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ConfigError(f"channel: expected low <= high, got low = {self.low:g}, high = {self.high:g}.")
        if not 0.0 < self.rate_tolerance < 1.0 or self.rate_samples < 2:
            raise ConfigError(
                "channel: expected 0 < rate_tolerance < 1 and rate_samples of at least 2, got "
                f"{self.rate_tolerance:g} and {self.rate_samples}."
            )


class ChannelState(Struct, frozen=True, kw_only=True):
    """State of the checks of a channel."""

    started_s: float
    """Time from which samples are expected."""
    seen_s: float | None = None
    """Time of the latest sample."""
    value: float | None = None
    """The last finite value."""
    value_since_s: float = 0.0
    """Time since which the channel has this value."""
    measured_from_s: float = 0.0
    """Time of the first sample of the current measurement of the rate."""
    periods: int = 0
    """Number of periods since then."""
    rate: float | None = None
    """Last measured rate, relative to the expected one. Infinite rates are stored as the largest float."""


def limits_of_channel(
    channel: Channel,
    health: ChannelHealth | None = None,
    *,
    stale_after_s: float = 2.0,
    stuck_after_s: float | None = None,
    period_s: float | None = None,
) -> ChannelLimits:
    """Return the limits for a channel of a model file.

    The range is that of the training and calibration parts, widened by its own width on each side. A channel that did not change
    has no range. By default, a channel is stuck after 20 times its longest constant time in the calibration part, and its period
    is that of the rows there. A channel that never changed there is never stuck. A channel of states (`Channel.resample` is
    ``hold``) may keep one value and has no rate.

    >>> limits_of_channel(Channel(name="t", low=10.0, high=30.0)).high
    50.0
    """
    low, high = channel.low, channel.high
    if health is not None:
        low = health.low if low is None else min(low, health.low)
        high = health.high if high is None else max(high, health.high)
        if stuck_after_s is None and health.constant_s is not None:
            stuck_after_s = STUCK_FACTOR * health.constant_s
        period_s = health.period_s if period_s is None else period_s
    if low is not None and high is not None:
        width = high - low
        low, high = (low - width, high + width) if width > 0.0 else (None, None)
    states = channel.resample == "hold"
    return ChannelLimits(
        stale_after_s=stale_after_s,
        low=low,
        high=high,
        stuck_after_s=None if states else stuck_after_s,
        period_s=None if states else period_s,
    )


def step(
    state: ChannelState, value: float, time_s: float, limits: ChannelLimits
) -> tuple[ChannelState, tuple[Reason, ...]]:
    """Return the state after one sample, and its problems in the order of their importance.

    Args:
        state: the state before.
        value: the sample.
        time_s: time of the sample. A sample out of order is checked for its value only.
        limits: see `ChannelLimits`.

    Returns:
        State and reasons: not finite, out of range, stuck, wrong rate. The rate stays wrong until the next measurement.
    """
    problems = []
    finite = math.isfinite(value)
    if not finite:
        problems.append(Reason.NOT_FINITE)
    elif (limits.low is not None and value < limits.low) or (limits.high is not None and value > limits.high):
        problems.append(Reason.OUT_OF_RANGE)
    if state.seen_s is None or time_s >= state.seen_s:
        state = _rated(state, time_s, limits)
        if finite and value != state.value:
            state = structs.replace(state, value=float(value), value_since_s=time_s)
        state = structs.replace(state, seen_s=time_s)
    if finite and value == state.value and _exceeds(time_s - state.value_since_s, limits.stuck_after_s):
        problems.append(Reason.STUCK)
    if limits.period_s is not None and state.rate is not None and abs(state.rate - 1.0) > limits.rate_tolerance:
        problems.append(Reason.WRONG_RATE)
    return state, tuple(problems)


def silence(state: ChannelState, now_s: float, limits: ChannelLimits) -> Reason:
    """Return the problem of a channel without samples.

    Returns:
        `Reason.MISSING_CHANNEL` if there was no sample since the start, `Reason.STALE` if there was none lately, else
        `Reason.NONE`.
    """
    if state.seen_s is None:
        return Reason.MISSING_CHANNEL if now_s - state.started_s > limits.stale_after_s else Reason.NONE
    return Reason.STALE if now_s - state.seen_s > limits.stale_after_s else Reason.NONE


def _rated(state: ChannelState, time_s: float, limits: ChannelLimits) -> ChannelState:
    """Return the state after the time of one more sample. A silence starts the measurement again."""
    if limits.period_s is None:
        return state
    if state.seen_s is None or time_s - state.seen_s > limits.stale_after_s:
        return structs.replace(state, measured_from_s=time_s, periods=0)
    periods = state.periods + 1
    if periods < limits.rate_samples:
        return structs.replace(state, periods=periods)
    duration_s = time_s - state.measured_from_s
    rate = min(limits.period_s * periods / duration_s, _LARGEST) if duration_s > 0.0 else _LARGEST
    return structs.replace(state, measured_from_s=time_s, periods=0, rate=rate)


def _exceeds(duration_s: float, limit_s: float | None) -> bool:
    return limit_s is not None and duration_s > limit_s


_LARGEST = 1.7e308
