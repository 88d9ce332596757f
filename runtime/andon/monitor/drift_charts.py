"""Run the drift charts of a model file over the verdicts of a line."""

import math

import numpy as np
from numpy.typing import NDArray

from andon.monitor.event import Body, Drifted
from andon.monitor.status import ChartStatus
from andon.runtime.calibration_facts import DriftReference
from andon.runtime.detector import Detector
from andon.runtime.drift import DriftState, acknowledged, step
from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict


class DriftCharts:
    """The charts of one model file on one line, with their state.

    Args:
        digest: digest of the model file.
        reference: limits and reference scores, from the calibration in the model file.
        knots: ``[256]`` ascending scores of the tail in the model file.
    """

    def __init__(self, digest: str, reference: DriftReference, knots: NDArray[np.float32]) -> None:
        self._reference = reference
        self._knots = knots
        self.state = DriftState(digest=digest)

    def step(self, verdict: Verdict) -> tuple[Body, ...]:
        """Add one verdict. Return an event for each chart that crossed its limit with it. INVALID items do not count."""
        if verdict.status is Status.INVALID or not math.isfinite(verdict.score):
            return ()
        before = set(self.state.alarms)
        self.state = step(
            self.state,
            verdict.score,
            rejected=verdict.status is Status.REJECT,
            reference=self._reference,
            knots=self._knots,
        )
        crossed = [name for name in self.state.alarms if name not in before]
        return tuple(
            Drifted(chart=chart.name, value=chart.value, limit=chart.limit, crossed=True)
            for chart in self.charts()
            if chart.name in crossed
        )

    def acknowledge(self) -> tuple[Body, ...]:
        """Start each chart with an alarm again. Return an event for each."""
        held = set(self.state.alarms)
        self.state = acknowledged(self.state)
        return tuple(
            Drifted(chart=chart.name, value=chart.value, limit=chart.limit, crossed=False)
            for chart in self.charts()
            if chart.name in held
        )

    def charts(self) -> tuple[ChartStatus, ...]:
        """Return the value and the limit of each chart that has a limit."""
        charts, state, reference = [], self.state, self._reference
        if reference.cusum is not None:
            high = max(state.cusum.high, state.cusum.low)
            charts.append(ChartStatus(name="cusum", value=high, limit=reference.cusum.h))
        for name, window, limits in (("psi", state.psi, reference.psi), ("ks", state.ks, reference.ks)):
            if limits is not None:
                charts.append(ChartStatus(name=name, value=window.distance or 0.0, limit=limits.limit))
        if reference.budget is not None:
            charts.append(ChartStatus(name="budget", value=float(state.budget.sum), limit=float(reference.budget.h)))
        return tuple(charts)


def drift_charts(detector: Detector) -> DriftCharts | None:
    """Return the charts of a loaded model file. None if its calibration has no limits for them."""
    calibration = detector.card.calibration
    reference = calibration.drift if calibration is not None else None
    if reference is None:
        return None
    return DriftCharts(detector.model.digest, reference, np.asarray(detector.model.tail_x, np.float32))
