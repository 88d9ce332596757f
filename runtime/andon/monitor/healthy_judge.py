"""Check the health of each frame before a judge sees it."""

from typing import Any

from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.monitor.frame_health import HealthLimits, HealthState, limits_of, live_limits, step
from andon.runtime.frame_statistics import Sample, measure
from andon.runtime.judge import Judge, UnhealthyError
from andon.runtime.schema import Card, FrameSpec
from andon.runtime.verdict import Verdict
from andon.sources.clock import Clock


def healthy_judge(judge: Judge, card: Card, clock: Clock, *, live: bool) -> Judge:
    """Return a judge that refuses unhealthy frames. It remembers earlier frames: use it for one source, in one thread.

    Args:
        judge: the judge for healthy frames. It also gets arrays that are not frames, and refuses them itself.
        card: the card of the model file. Its calibration may hold statistics of good parts.
        clock: for the duration of repeated frames.
        live: check also what needs a live source: frozen, partly frozen and resized frames.

    Raises:
        ConfigError: the model file judges windows.
    """
    if not isinstance(card.input, FrameSpec):
        raise ConfigError("health: expected a model file for frames, got one for windows of sensor data. Leave it out.")
    health = card.calibration.health if card.calibration is not None else None
    limits = limits_of(health)
    if live:
        limits = live_limits(limits, health)
    return judge._replace(call=_HealthyCall(judge, limits, clock))


class _HealthyCall:
    def __init__(self, judge: Judge, limits: HealthLimits, clock: Clock) -> None:
        self._judge = judge
        self._limits = limits
        self._clock = clock
        self._state = HealthState()
        self._before: Sample | None = None

    def __call__(self, data: NDArray[Any]) -> Verdict:
        if data.dtype == "uint8" and data.ndim == 3 and data.size:
            sharp = self._limits.sharpness is not None
            statistics, self._before = measure(data, self._before, sharpness=sharp)
            self._state, findings = step(self._state, statistics, self._clock.mono_s(), self._limits)
            if findings:
                raise UnhealthyError(findings[0].reason, "; ".join(finding.detail for finding in findings))
        return self._judge.call(data)
