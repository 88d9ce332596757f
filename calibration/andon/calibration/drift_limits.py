"""Compute the limits of the drift charts of `andon.runtime.drift` from the number of calibration parts.

A limit is set by the run length: the number of clean parts between two false alarms. The calibration is itself a sample. The
mean of the deviates z of future parts is off by about ``1 / sqrt(n)``, and a chart that ignores this raises too many false
alarms. The limit of the CUSUM is therefore simulated over calibrations of this size. 90 % of them reach the run length (Gandy and
Kvaloy, Scandinavian Journal of Statistics 40, 2013). The deviates come from ranks, so one limit is valid for every
continuous distribution of scores.

Dependent windows make the CUSUM slower: ``h = sqrt(tau) * h(k / sqrt(tau))``.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, kstwobign, norm

from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import BudgetChart, Cusum, Distance, DriftReference

SLACK = 0.25
"""k of the CUSUM: half of the shift, in standard deviations of z, that it finds fastest."""
RUN_LENGTH = 10_000
"""Clean parts between two false alarms of a chart, on average."""
MOST_RUN_LENGTH = 20
"""Longest run length as a multiple of n. With fewer calibration parts the limit for a longer one is so high that the chart sees
nothing: from 60 parts it would be 43 for 100 n."""
LEAST_FOR_CUSUM = 30
"""Fewest independent scores for a CUSUM. With fewer, its limit is so high that it finds no shift."""
CONFIDENCE = 0.9
"""Share of calibrations of this size that reach the run length."""
WINDOW = 200
"""Scores of a window that the distances compare with the calibration."""
BINS = 10
QUIET = 0.95
"""Probability that the reject budget raises no alarm in a clean shift."""

_NODES = 80
_LONGEST = 1e12
"""Run lengths above this are not computed exactly."""
_STATES = (64, 128)
"""Smallest and largest number of cells of the chain. Up to a limit of 25, a cell is about a fifth of a standard
deviation wide."""
_ROUNDS = 6
"""Upper limit of the rounds in which the deciding calibration is looked for. Two to four are used."""


def run_length(k: float, h: float, *, shift: float = 0.0) -> float:
    """Return the mean number of parts until a one-sided CUSUM on independent normal z exceeds h, from a sum of 0.

    The two-sided chart has half of it in clean data. Solved as an integral equation (Page, Biometrika 41, 1954) with 80
    Gauss-Legendre nodes.

    Args:
        k: slack, > 0.
        h: limit, > 0.
        shift: mean of z, in standard deviations.

    >>> round(run_length(0.5, 5.0) / 2, 1), round(run_length(0.5, 5.0, shift=1.0), 2)
    (465.4, 10.38)
    """
    places, weights = np.polynomial.legendre.leggauss(_NODES)
    sums, weights = h * (places + 1) / 2, weights * h / 2
    drift = k - shift
    inner = weights * norm.pdf(sums[None, :] - sums[:, None] + drift)
    # unknowns: the run length from a sum of 0, then from each node
    matrix = np.zeros((_NODES + 1, _NODES + 1))
    matrix[0, 0] = norm.cdf(drift)
    matrix[0, 1:] = weights * norm.pdf(sums + drift)
    matrix[1:, 0] = norm.cdf(drift - sums)
    matrix[1:, 1:] = inner
    return float(np.linalg.solve(np.eye(_NODES + 1) - matrix, np.ones(_NODES + 1))[0])


def cusum_limit(k: float, length: float) -> float:
    """Return the limit h at which a two-sided CUSUM on independent normal z has this run length.

    >>> round(cusum_limit(0.5, 10_000), 3), round(cusum_limit(0.25, 10_000), 3)
    (8.053, 14.492)
    """
    high = 1.0
    while run_length(k, high) / 2 < length:
        high *= 1.3
    return float(brentq(lambda h: math.log(run_length(k, h) / 2 / length), 1e-3, high, xtol=1e-6))


@lru_cache(maxsize=64)
def simulated_cusum_limit(
    n: int, k: float, length: int, confidence: float = CONFIDENCE, *, draws: int = 300, seed: int = 0
) -> float:
    """Return the limit at which a share `confidence` of calibrations of n parts reaches the run length.

    Args:
        n: number of independent calibration parts, >= 2.
        k: slack, > 0.
        length: clean parts between two false alarms of the two-sided chart.
        confidence: share of calibrations, 0 < confidence < 1.
        draws: number of simulated calibrations.
        seed: seed of the simulation.
    """
    generator = np.random.default_rng(seed)
    # exponential gaps make sorted uniform scores: the share of future parts between neighbouring calibration scores
    gaps = generator.exponential(size=(draws, n + 1))
    gaps /= gaps.sum(axis=1, keepdims=True)
    z = -norm.ppf((np.arange(n, -1, -1) + 0.5) / (n + 1))
    limit = cusum_limit(k, length)
    for _ in range(_ROUNDS):
        # the calibration that decides is the one at the wanted quantile; which one it is depends on the limit
        lengths = np.array([conditional_run_length(z, gap, k, limit) for gap in gaps])
        place = int(np.argsort(lengths)[math.floor((1 - confidence) * draws)])
        before, limit = limit, _limit_of(z, gaps[place], k, length, limit)
        if abs(limit - before) < 0.01 * limit:
            break
    return limit


def _limit_of(z: NDArray[np.float64], shares: NDArray[np.float64], k: float, length: int, near: float) -> float:
    """Return the limit at which one calibration has this run length."""
    low = high = near
    while conditional_run_length(z, shares, k, high) < length:
        high *= 1.3
    while conditional_run_length(z, shares, k, low) > length:
        low /= 1.3
    if low == high:
        return near
    return float(
        brentq(lambda h: math.log(conditional_run_length(z, shares, k, h) / length), low, high, xtol=1e-3 * near)
    )


def conditional_run_length(z: NDArray[np.float64], shares: NDArray[np.float64], k: float, h: float) -> float:
    """Return the run length of a two-sided CUSUM for one calibration (Brook and Evans, Biometrika 59, 1972).

    Args:
        z: ``[n + 1]`` ascending deviates that future parts can have.
        shares: ``[n + 1]`` share of future parts with each of them.
        k: slack.
        h: limit.
    """
    below = np.concatenate([[0.0], np.cumsum(shares)])
    upwards = _one_sided(z, below, k, h)
    downwards = _one_sided(-z[::-1], np.concatenate([[0.0], np.cumsum(shares[::-1])]), k, h)
    return 1.0 / (1.0 / upwards + 1.0 / downwards)


def psi_limit(n: int, window: int, bins: int, share: float) -> float:
    """Return the population stability index that a share of clean windows exceeds.

    >>> round(psi_limit(600, 200, 10, 0.001), 6)
    0.185848
    """
    return float(chi2.isf(share, bins - 1)) * (1 / n + 1 / window)


def ks_limit(n: int, window: int, share: float) -> float:
    """Return the distance of Kolmogorov and Smirnov that a share of clean windows exceeds, slightly cautious.

    >>> round(ks_limit(600, 200, 0.001), 6)
    0.159174
    """
    return float(kstwobign.isf(share)) * math.sqrt(1 / n + 1 / window)


def budget_step(expected: float, raised: float) -> int:
    """Return by how much a reject raises the reject budget, so that the sum follows the likelihood ratio.

    >>> budget_step(0.01, 0.02), budget_step(0.15, 0.3)
    (69, 5)
    """
    per_pass = -math.log((1 - raised) / (1 - expected))
    return round(math.log(raised * (1 - expected) / (expected * (1 - raised))) / per_pass)


def quiet_probability(rate: float, rejected: int, h: int, parts: int) -> float:
    """Return the probability that the reject budget raises no alarm in this number of parts.

    Args:
        rate: share of rejects.
        rejected: `BudgetChart.step`.
        h: limit.
        parts: number of parts.

    >>> round(quiet_probability(0.01, 69, 525, 5000), 6)
    0.950406
    """
    alive = np.zeros(h)
    alive[0] = 1.0
    up = rejected - 1
    for _ in range(parts):
        moved = np.empty(h)
        moved[:-1] = alive[1:]
        moved[-1] = 0.0
        moved[0] += alive[0]
        moved *= 1 - rate
        if up < h:
            moved[up:] += rate * alive[: h - up]
        alive = moved
    return float(alive.sum())


def budget_run_length(rate: float, rejected: int, h: int) -> float:
    """Return the mean number of parts until the reject budget raises an alarm.

    >>> round(budget_run_length(0.01, 69, 525), 1), round(budget_run_length(0.02, 69, 525), 2)
    (86140.6, 1184.45)
    """
    places = np.arange(h)
    matrix = np.zeros((h, h))
    matrix[places, np.maximum(places - 1, 0)] = 1 - rate
    up = places + rejected - 1
    inside = up < h
    matrix[places[inside], up[inside]] += rate
    return float(np.linalg.solve(np.eye(h) - matrix, np.ones(h))[0])


@lru_cache(maxsize=64)
def budget_chart(expected: float, raised: float, parts: int = 1000) -> BudgetChart:
    """Return the reject budget that is quiet in 95 % of clean shifts of this number of parts.

    Args:
        expected: expected share of rejects, > 0.
        raised: share of rejects that the chart is designed to find, expected < raised < 1.
        parts: number of parts of a shift.

    Raises:
        ConfigError: the shares are out of order.
    """
    if not 0 < expected < raised < 1:
        raise ConfigError(f"shares of rejects: expected 0 < expected < raised < 1, got {expected} and {raised}.")
    rejected = max(2, budget_step(expected, raised))
    low, high = 1, 2 * rejected
    while quiet_probability(expected, rejected, high, parts) < QUIET:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if quiet_probability(expected, rejected, middle, parts) >= QUIET:
            high = middle
        else:
            low = middle
    return BudgetChart(expected=expected, raised=raised, step=rejected, h=high, quiet_parts=parts)


def deviates(scores: NDArray[np.float64], knots: NDArray[np.float32]) -> tuple[float, ...]:
    """Return the table of z by cell: ``z[number of knots <= score]``, from the mid form of the p-value.

    Args:
        scores: ``[n]`` the finite scores behind the knots of `tail.tail`.
        knots: ``[256]`` knots, padded with +inf.
    """
    ascending = np.sort(scores)
    used = knots[np.isfinite(knots)].astype(np.float64)
    # of a part in cell j: the calibration scores at or above the lower end of the cell
    above = len(ascending) - np.concatenate([[0], np.searchsorted(ascending, used, side="left")])
    return tuple((-norm.ppf((above + 0.5) / (len(ascending) + 1))).tolist())


def drift_reference(
    scores: NDArray[np.float64], knots: NDArray[np.float32], *, n_eff: int, tau: float, above: int, alpha: float
) -> DriftReference:
    """Return the reference and the limits of all charts for a calibration.

    Args:
        scores: ``[n]`` finite scores behind the knots.
        knots: ``[256]`` knots of the tail.
        n_eff: effective number of independent scores, >= 2.
        tau: autocorrelation time, >= 1.
        above: number of scores above the threshold.
        alpha: promised share of rejects.
    """
    n = len(scores)
    root = math.sqrt(tau)
    expected = (above + 1) / (n + 1)
    window = math.ceil(WINDOW * tau)
    share = min(0.01, WINDOW / RUN_LENGTH)
    return DriftReference(
        n=n,
        tau=tau,
        z=deviates(scores, knots),
        cusum=_cusum(n_eff, root) if n_eff >= LEAST_FOR_CUSUM else None,
        budget=budget_chart(expected, max(2 * expected, alpha)) if max(2 * expected, alpha) < 1 else None,
        psi=Distance(window=window, limit=psi_limit(n_eff, WINDOW, BINS, share), bins=BINS),
        ks=Distance(window=window, limit=ks_limit(n_eff, WINDOW, share)),
    )


def _cusum(n_eff: int, root: float) -> Cusum:
    length = min(RUN_LENGTH, MOST_RUN_LENGTH * n_eff)
    limit = root * simulated_cusum_limit(n_eff, SLACK / root, length)
    return Cusum(k=SLACK, h=limit, run_length=length, confidence=CONFIDENCE)


def _one_sided(z: NDArray[np.float64], below: NDArray[np.float64], k: float, h: float) -> float:
    """Return the run length of an upper CUSUM by a Markov chain of equal cells of the sum, from a sum of 0."""
    cells = min(max(_STATES[0], math.ceil(5 * h)), _STATES[1])
    width = h / (cells - 0.5)
    sums = width * np.arange(cells)  # the first cell is half as wide and holds the sum 0
    edges = sums + width / 2
    reached = below[np.searchsorted(z, edges[None, :] - sums[:, None] + k, side="right")]
    matrix = np.diff(reached, axis=1, prepend=0.0)
    try:
        length = float(np.linalg.solve(np.eye(cells) - matrix, np.ones(cells))[0])
    except np.linalg.LinAlgError:  # the limit is practically never reached
        return _LONGEST
    return length if 0 < length < _LONGEST else _LONGEST
