"""Check whether each sensor channel delivers what it should: present, fresh, changing, within its range, and at its rate.

`findings` compares the facts about the samples of a window (`andon.runtime.channel_samples`) with limits. It has no clock and no
state, because the source measures the samples of one run without a gap between windows. Times are source times. A step of a
clock of this machine therefore changes nothing, and a recording gives the same findings at every speed.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import ChannelHealth
from andon.runtime.channel_samples import ChannelSamples
from andon.runtime.schema import Channel, Reason

STUCK_FACTOR = 20.0
"""A channel is stuck after this multiple of its longest constant time in good data."""
FAULTY_WIDTHS = 100.0
"""Widths of the good range by which a value may leave it before the sensor counts as faulty.

A process that leaves its range is REJECT (`andon.runtime.outside_training`), because its values can be judged. Industrial
transmitters measure at most about 100 times the span that a process uses (their turndown). A value beyond that is a broken
wire or a code for an error, such as -9999, and there is nothing to judge.
"""
STALE_PERIODS = 5.0
"""A channel is stale not before this number of its periods."""

Positive = Annotated[float, Meta(gt=0.0)]
Note = Callable[[Reason, str], None]

_ORDER = (
    Reason.MISSING_CHANNEL,
    Reason.STALE,
    Reason.NOT_FINITE,
    Reason.OUT_OF_RANGE,
    Reason.STUCK,
    Reason.WRONG_RATE,
)
_SMALLEST = 1e-300


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

    def __post_init__(self) -> None:
        for name in ("stale_after_s", "stuck_after_s", "period_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 0.0 < seconds < math.inf:
                raise ConfigError(f"channel: expected {name} above 0 seconds, got {seconds:g}.")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ConfigError(f"channel: expected low <= high, got low = {self.low:g}, high = {self.high:g}.")
        if not 0.0 < self.rate_tolerance < 1.0:
            raise ConfigError(f"channel: expected 0 < rate_tolerance < 1, got {self.rate_tolerance:g}.")


class ChannelFinding(Struct, frozen=True, kw_only=True):
    """One problem of a channel."""

    channel: str
    reason: Reason
    detail: str
    """The channel, the problem, the measured value and the limit, as readable text."""


def limits_of_channel(
    channel: Channel,
    health: ChannelHealth | None = None,
    *,
    stale_after_s: float = 2.0,
    stuck_after_s: float | None = None,
    period_s: float | None = None,
    widths: float = FAULTY_WIDTHS,
) -> ChannelLimits:
    """Return the limits for a channel of a model file.

    The range is that of the training and calibration parts, widened by `widths` times its own width on each side. A channel that
    did not change has no range. By default, a channel is stuck after 20 times its longest constant time in the calibration
    part, and its period is that of its samples there. A channel that never changed there is never stuck. A channel of states
    (`Channel.resample` is ``hold``) may keep one value and has no rate. No channel is stale before five of its periods, or
    before the longest pause that the file lets it have.

    >>> limits_of_channel(Channel(name="t", low=10.0, high=30.0)).high
    2030.0
    """
    low, high = channel.low, channel.high
    if health is not None:
        low = health.low if low is None else min(low, health.low)
        high = health.high if high is None else max(high, health.high)
        if stuck_after_s is None and health.constant_s is not None:
            stuck_after_s = STUCK_FACTOR * health.constant_s
        period_s = health.period_s if period_s is None else period_s
    if low is not None and high is not None:
        width = widths * (high - low)
        low, high = (low - width, high + width) if width > 0.0 else (None, None)
    states = channel.resample == "hold"
    bridged_s = channel.max_hold_s if states else channel.max_gap_s
    return ChannelLimits(
        stale_after_s=max(stale_after_s, STALE_PERIODS * (period_s or 0.0), bridged_s or 0.0),
        low=low,
        high=high,
        stuck_after_s=None if states else stuck_after_s,
        period_s=None if states else period_s,
    )


def findings(
    samples: ChannelSamples, channels: Sequence[Channel], limits: Sequence[ChannelLimits]
) -> tuple[ChannelFinding, ...]:
    """Return the problems of the channels of one window.

    Args:
        samples: the facts about the samples.
        channels: the channels of the model file, in their order.
        limits: the limits of each.

    Returns:
        The problems, the most important first: missing, stale, not finite, out of range, stuck, wrong rate.
    """
    facts = zip(
        samples.seen_s.tolist(),
        samples.not_finite.tolist(),
        samples.low.tolist(),
        samples.high.tolist(),
        samples.constant_s.tolist(),
        samples.mean_period_s.tolist(),
        samples.median_period_s.tolist(),
        strict=True,
    )
    found: list[ChannelFinding] = []
    for channel, limit, (seen_s, not_finite, low, high, constant_s, mean_s, median_s) in zip(
        channels, limits, facts, strict=True
    ):

        def note(reason: Reason, text: str, channel: Channel = channel) -> None:
            what = reason.text.partition(":")[0]
            found.append(ChannelFinding(channel=channel.name, reason=reason, detail=f"{channel.name}: {what}: {text}"))

        unit = f" {channel.unit}" if channel.unit else ""
        if _silent(note, seen_s, samples, limit):
            continue  # its other facts are old
        if not_finite:
            note(Reason.NOT_FINITE, "a sample is infinite or not a number")
        for value, wrong in ((low, _below(low, limit.low)), (high, _below(limit.high, high))):
            if wrong:
                note(
                    Reason.OUT_OF_RANGE,
                    f"{value:.6g}{unit} (limits {_shown(limit.low)} and {_shown(limit.high)}{unit})",
                )
                break
        if limit.stuck_after_s is not None and constant_s > limit.stuck_after_s:
            note(Reason.STUCK, f"one value for {constant_s:.3g} s (limit {limit.stuck_after_s:.3g} s)")
        if limit.period_s is not None and _off(mean_s, limit) and _off(median_s, limit):
            note(Reason.WRONG_RATE, f"one sample each {mean_s:.4g} s (expected {limit.period_s:.4g} s)")
    return tuple(sorted(found, key=lambda one: _ORDER.index(one.reason)))


def samples_of(data: NDArray[np.float32], period_s: float) -> ChannelSamples:
    """Return the facts about a window ``[T, C]`` that did not come from samples. Only its values are known."""
    count = data.shape[1]
    finite = np.where(np.isfinite(data), data, np.float32(np.nan))
    unknown = np.full(count, np.nan)
    return ChannelSamples(
        begin_s=0.0,
        end_s=(len(data) - 1) * period_s,
        seen_s=np.full(count, (len(data) - 1) * period_s),
        constant_s=unknown,
        mean_period_s=unknown,
        median_period_s=unknown,
        low=np.fmin.reduce(finite, axis=0, initial=np.nan).astype(np.float64),
        high=np.fmax.reduce(finite, axis=0, initial=np.nan).astype(np.float64),
        not_finite=np.asarray(~np.isfinite(data).all(axis=0)),
    )


def _silent(note: Note, seen_s: float, samples: ChannelSamples, limit: ChannelLimits) -> bool:
    missing = math.isinf(seen_s)
    silent_s = samples.end_s - (samples.begin_s if missing else seen_s)
    if silent_s <= limit.stale_after_s:
        return missing
    note(
        Reason.MISSING_CHANNEL if missing else Reason.STALE,
        f"no sample for {silent_s:.3g} s (limit {limit.stale_after_s:.3g} s)",
    )
    return True


def _below(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value < limit


def _off(period_s: float, limit: ChannelLimits) -> bool:
    """Return whether a measured period gives a wrong rate. An unknown one, NaN, does not."""
    assert limit.period_s is not None
    return math.isfinite(period_s) and abs(limit.period_s / max(period_s, _SMALLEST) - 1.0) > limit.rate_tolerance


def _shown(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:.6g}"
