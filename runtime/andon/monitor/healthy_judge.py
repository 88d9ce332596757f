"""Check the health of each frame, or of each channel of a window, before a judge sees it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.monitor import channel_health
from andon.monitor.channel_health import FAULTY_WIDTHS, limits_of_channel, samples_of
from andon.monitor.frame_health import HealthLimits, HealthState, limits_of, live_limits, step
from andon.runtime.frame_statistics import Sample, measure
from andon.runtime.grey_levels import grey_levels
from andon.runtime.items import Item, Lost
from andon.runtime.judge import MOST_LISTED, Judge, UnhealthyError
from andon.runtime.schema import Card, FrameSpec, Reason, WindowSpec
from andon.runtime.verdict import Verdict
from andon.sources.clock import Clock


def healthy_judge(judge: Judge, card: Card, clock: Clock, *, live: bool, stale_after_s: float = 2.0) -> Judge:
    """Return a judge that refuses unhealthy items. For frames, it remembers earlier ones: use it for one source, in one thread.

    Args:
        judge: the judge for healthy items. It also gets arrays that are neither frames nor windows, and refuses them itself.
        card: the card of the model file. Its calibration may hold statistics of good parts.
        clock: for the duration of repeated frames.
        live: check also what needs a live source: frozen, partly frozen and resized frames.
        stale_after_s: longest time without a sample of a channel, at least.
    """
    if isinstance(card.input, WindowSpec):
        return judge._replace(check=_ChannelCheck(card.input, card, stale_after_s))
    health = card.calibration.health if card.calibration is not None else None
    limits = limits_of(health)
    if live:
        limits = live_limits(limits, health)
    return judge._replace(call=_HealthyCall(judge, card.input, limits, clock))


class _ChannelCheck:
    """The check of windows. A window that is lost because of a gap gets the reason of the channel that caused it."""

    def __init__(self, spec: WindowSpec, card: Card, stale_after_s: float) -> None:
        self._spec = spec
        known = {one.name: one for one in card.calibration.channel_health} if card.calibration is not None else {}
        # a file without the check in its graph judges such a window by its score only, so the monitor has to refuse it
        widths = FAULTY_WIDTHS if spec.outside is not None else 1.0
        self._limits = [
            limits_of_channel(channel, known.get(channel.name), stale_after_s=stale_after_s, widths=widths)
            for channel in spec.channels
        ]

    def __call__(self, item: Item | Lost) -> None:
        samples = item.samples
        if isinstance(item, Lost):
            if item.reason is not Reason.GAP:  # a stream that warms up or is silent as a whole has its own reason
                return
        elif samples is None and item.data.ndim == 2 and item.data.shape[1] == len(self._spec.channels):
            samples = samples_of(np.asarray(item.data, np.float32), self._spec.period_s)
        if samples is None:
            return
        found = channel_health.findings(samples, self._spec.channels, self._limits)
        if found:
            details = [one.detail for one in found[:MOST_LISTED]]
            if len(found) > MOST_LISTED:
                details.append(f"and {len(found) - MOST_LISTED} more problems")
            raise UnhealthyError(found[0].reason, "; ".join(details), found[0].channel)


class _HealthyCall:
    def __init__(self, judge: Judge, spec: FrameSpec, limits: HealthLimits, clock: Clock) -> None:
        self._judge = judge
        self._spec = spec
        self._limits = limits
        self._clock = clock
        self._state = HealthState()
        self._before: Sample | None = None

    def __call__(self, data: NDArray[Any]) -> Verdict:
        # a frame of another type has other levels. The judge refuses it, and the next frame must not be compared with it.
        if data.dtype == self._spec.dtype and data.ndim == 3 and data.size:
            sharp = self._limits.sharpness is not None
            statistics, self._before = measure(grey_levels(data, self._spec), self._before, sharpness=sharp)
            self._state, findings = step(self._state, statistics, self._clock.mono_s(), self._limits)
            if findings:
                raise UnhealthyError(findings[0].reason, "; ".join(finding.detail for finding in findings))
        return self._judge.call(data)
