"""Watch whether scores and rejects stay as they were in the calibration. Each chart is a rule from state and part to new state.

Three kinds of charts see three kinds of change. Their limits come from the calibration (`andon.calibration.drift_limits`).

* CUSUM on z (Page, Biometrika 41, 1954) finds a slow or small shift of all scores, up or down.
* The distances PSI and KS compare the last window of scores with the calibration scores. They find any change of shape, but
  not one of the tail. Windows are disjoint, because overlapping ones raise false alarms.
* The reject budget, a CUSUM on rejects (Reynolds and Stoumbos, Journal of Quality Technology 31, 1999), finds a growing share of
  rejects. It needs many parts: a doubling from 1 % takes about 1000.

The state is plain data for JSON. A chart that raised an alarm holds it until a person acknowledges it. INVALID parts are
skipped, because they have no score.
"""

import math
from typing import Literal

import numpy as np
from msgspec import Struct, structs
from numpy.typing import ArrayLike, NDArray

from andon.runtime.calibration_facts import BudgetChart, Cusum, Distance, DriftReference


class CusumState(Struct, frozen=True, kw_only=True):
    """State of the two-sided CUSUM on z."""

    high: float = 0.0
    """Evidence that scores became higher, in standard deviations of z."""
    low: float = 0.0
    """Evidence that scores became lower."""
    parts: int = 0
    alarm: Literal["", "high", "low"] = ""


class WindowState(Struct, frozen=True, kw_only=True):
    """State of a distance chart: the scores of the current window by cell, and the distance of the last full window."""

    counts: tuple[int, ...] = ()
    distance: float | None = None
    alarm: bool = False


class BudgetState(Struct, frozen=True, kw_only=True):
    """State of the reject-budget chart."""

    sum: int = 0
    parts: int = 0
    rejects: int = 0
    alarm: bool = False


class DriftState(Struct, frozen=True, kw_only=True):
    """State of all charts of one model file on one line."""

    digest: str
    """Digest of the model file. The state of another file must not be continued."""
    cusum: CusumState = CusumState()
    psi: WindowState = WindowState()
    ks: WindowState = WindowState()
    budget: BudgetState = BudgetState()

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the charts that hold an alarm."""
        named = (("cusum", self.cusum), ("psi", self.psi), ("ks", self.ks), ("budget", self.budget))
        return tuple(name for name, state in named if state.alarm)


def step(
    state: DriftState, score: float, *, rejected: bool, reference: DriftReference, knots: NDArray[np.float32]
) -> DriftState:
    """Return the state of all charts after one more valid part.

    Args:
        state: the state before.
        score: finite score of the part. Do not call this for an INVALID part.
        rejected: whether the verdict was REJECT.
        reference: limits and table of z of the model file. A chart without limits stays as it is.
        knots: ``[256]`` ascending scores of the file's tail (`andon.tail_x`), padded with +inf.
    """
    cell = int(np.searchsorted(knots, np.float32(score), side="right"))
    changes: dict[str, object] = {}
    if reference.cusum is not None:
        changes["cusum"] = step_cusum(state.cusum, reference.z[cell], reference.cusum)
    for name, limits, distance in (
        ("psi", reference.psi, population_stability),
        ("ks", reference.ks, kolmogorov_smirnov),
    ):
        if limits is not None:
            window = add_to_window(state.psi if name == "psi" else state.ks, cell, len(reference.z))
            if sum(window.counts) >= limits.window:
                window = close_window(window, distance(window.counts, reference, limits), limits)
            changes[name] = window
    if reference.budget is not None:
        changes["budget"] = step_budget(state.budget, rejected=rejected, limits=reference.budget)
    return structs.replace(state, **changes)


def acknowledged(state: DriftState) -> DriftState:
    """Return the state after a person has acknowledged all alarms: each chart that raised one starts again."""
    return structs.replace(
        state,
        cusum=CusumState(parts=state.cusum.parts) if state.cusum.alarm else state.cusum,
        psi=WindowState() if state.psi.alarm else state.psi,
        ks=WindowState() if state.ks.alarm else state.ks,
        budget=structs.replace(state.budget, sum=0, alarm=False) if state.budget.alarm else state.budget,
    )


def step_cusum(state: CusumState, z: float, limits: Cusum) -> CusumState:
    """Return the state after one more z: ``S = max(0, S + z - k)`` upwards, the same with -z downwards, alarm above h.

    >>> limits = Cusum(k=0.5, h=2.0, run_length=1000, confidence=0.9)
    >>> step_cusum(CusumState(high=1.75), 1.0, limits)
    CusumState(high=2.25, low=0.0, parts=1, alarm='high')
    """
    high = max(0.0, state.high + z - limits.k)
    low = max(0.0, state.low - z - limits.k)
    alarm = state.alarm or ("high" if high > limits.h else "low" if low > limits.h else "")
    return CusumState(high=high, low=low, parts=state.parts + 1, alarm=alarm)


def step_budget(state: BudgetState, *, rejected: bool, limits: BudgetChart) -> BudgetState:
    """Return the state after one more part: the sum falls by 1, and a reject raises it by `step`. The alarm comes at h.

    >>> limits = BudgetChart(expected=0.01, raised=0.02, step=69, h=100, quiet_parts=200)
    >>> step_budget(BudgetState(sum=40), rejected=True, limits=limits)
    BudgetState(sum=108, parts=1, rejects=1, alarm=True)
    """
    total = state.sum + limits.step - 1 if rejected else max(0, state.sum - 1)
    return BudgetState(
        sum=total,
        parts=state.parts + 1,
        rejects=state.rejects + rejected,
        alarm=state.alarm or total >= limits.h,
    )


def add_to_window(state: WindowState, cell: int, cells: int) -> WindowState:
    """Return the state with one more score in a cell of the table of z."""
    counts = list(state.counts) or [0] * cells
    counts[cell] += 1
    return structs.replace(state, counts=tuple(counts))


def close_window(state: WindowState, distance: float, limits: Distance) -> WindowState:
    """Return the state after a full window: its distance, an alarm above the limit, and an empty window."""
    return WindowState(distance=distance, alarm=state.alarm or distance > limits.limit)


def population_stability(counts: ArrayLike, reference: DriftReference, limits: Distance) -> float:
    """Return the population stability index of a window: ``sum (q - p) log(q / p)`` over bins of about equal mass.

    Half a part is added to each bin, so that empty bins stay finite.

    Args:
        counts: ``[cells]`` scores of the window by cell of the table of z.
        reference: holds the table of z, from which the shares of the calibration scores follow.
        limits: holds the number of bins.
    """
    bins = limits.bins or 10
    below, share = _cells(reference)
    # a cell belongs to the bin that contains the middle of its mass
    belongs = np.minimum(bins - 1, ((below + share / 2) * bins).astype(np.int64))
    seen = np.bincount(belongs, np.asarray(counts, np.float64), bins)
    expected = np.bincount(belongs, share, bins)
    used = expected > 0
    q = (seen[used] + 0.5) / (seen.sum() + 0.5 * used.sum())
    p = expected[used]
    return float(((q - p) * np.log(q / p)).sum())


def kolmogorov_smirnov(counts: ArrayLike, reference: DriftReference, _limits: Distance) -> float:
    """Return the largest difference of the shares of scores below a value, between the window and the calibration scores.

    It is compared at the ends of the cells only, so it is at most the exact distance.
    """
    below, share = _cells(reference)
    seen = np.cumsum(np.asarray(counts, np.float64))
    return float(np.abs(seen / seen[-1] - (below + share)).max())


def _cells(reference: DriftReference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the calibration scores below each cell, and within it.

    The deviate of a cell is that of ``p = (above + 0.5) / (n + 1)``, where `above` scores are in this cell or in higher ones.
    """
    p = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in reference.z])
    above = np.clip(p * (reference.n + 1) - 0.5, 0, reference.n) / reference.n
    return 1.0 - above, above - np.append(above[1:], 0.0)
