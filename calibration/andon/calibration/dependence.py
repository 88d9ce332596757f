"""How many independent scores a stream of dependent ones is worth.

Neighbouring windows of a log resemble each other, so n of them say less than n parts would; a promise that ignores this
breaks in up to half of all calibrations. What counts is how long exceedances cluster: the integrated autocorrelation
time tau, by Geyer's initial monotone positive sequence (Statistical Science 7, 1992). ``n_eff = floor(n / tau)``.

Neither tau alone is safe: the tau of ranks misses clusters of volatility, the tau of the exceedances is too small where
there are few of them. The rule takes the larger one. It sees dependence *within* runs; whole runs that lie higher than
others are seen by `design_effect`.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from andon.foundation.errors import CalibrationError, NotEnoughParts

LEAST_TAUS = 50
"""In a series shorter than this many tau, the estimate of tau is biased low."""


def autocorrelation_time(series: ArrayLike) -> float:
    """Integrated autocorrelation time of one contiguous run, in samples; 1 for independent values, never less.

    Args:
        series: ``[n]`` finite values in the order of time. A constant series, or one of a single value, has 1.

    Raises:
        CalibrationError: empty, or values that are not finite.

    >>> round(autocorrelation_time([0, 1, 2, 3, 4, 5, 4, 3, 2, 1] * 3), 6)
    2.444444
    """
    values = _checked(series)
    n = len(values)
    centred = values - values.mean()
    # Scaled by the largest deviation so that squares neither overflow nor vanish; r does not depend on it.
    largest = float(np.abs(centred).max())
    if n < 2 or largest == 0.0:
        return 1.0
    spectrum = np.fft.rfft(centred / largest, 1 << (2 * n - 1).bit_length())
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    pairs = covariance[0 : n - 1 : 2] + covariance[1:n:2]
    pairs /= covariance[0]
    ends = np.flatnonzero(pairs <= 0)
    positive = pairs[: ends[0]] if len(ends) else pairs
    return max(1.0, 2.0 * float(np.minimum.accumulate(positive).sum()) - 1.0) if len(positive) else 1.0


def tau_of_ranks(series: ArrayLike) -> float:
    """`autocorrelation_time` of the ranks of one run (ties share their mean rank): heavy tails cannot hide it."""
    return autocorrelation_time(rankdata(_checked(series)))


def tau_of_indicator(series: ArrayLike, level: float) -> float:
    """`autocorrelation_time` of the exceedances ``series > level`` of one run; 1 where all or none exceed."""
    return autocorrelation_time(_checked(series) > level)


def dependence_time(runs: Sequence[ArrayLike], alpha: float) -> float:
    """The tau to calibrate with: the larger of ranks' and exceedances', the largest over runs.

    Args:
        runs: one ``[n]`` array of scores a contiguous run, each in the order of time. Runs are never joined: the seam
            of two runs is no neighbourhood.
        alpha: promised false-reject rate; exceedances are of the (1 - alpha) quantile of all scores.

    Raises:
        CalibrationError: no scores, or values that are not finite.
    """
    checked = [_checked(run) for run in runs]
    if not checked:
        raise CalibrationError("expected the scores of at least one run of good windows, got none.")
    level = float(np.quantile(np.concatenate(checked), 1 - alpha))
    return max(max(tau_of_ranks(run), tau_of_indicator(run, level)) for run in checked)


def effective_number(n: int, tau: float, *, strict: bool = False) -> int:
    """How many independent scores n dependent ones are worth: ``floor(n / tau)``.

    Args:
        n: scores.
        tau: from `dependence_time` (or `design_effect`), >= 1.
        strict: refuse n < 50 tau, where tau itself cannot be known. A promise of at most 5 % implies as much.

    Raises:
        NotEnoughParts: `strict`, and too few scores to know tau.
        ValueError: tau below 1 or not finite.

    >>> effective_number(600, 19.0)
    31
    """
    if not (math.isfinite(tau) and tau >= 1.0):
        raise ValueError(f"tau is at least 1, got {tau!r}")
    if strict and n < LEAST_TAUS * tau:
        raise NotEnoughParts(
            f"scores that depend on each other over tau = {tau:.3g} windows need at least "
            f"{math.ceil(LEAST_TAUS * tau)} windows (50 tau) before tau can be trusted, got {n}. Record longer."
        )
    return math.floor(n / tau)


def design_effect(runs: Sequence[ArrayLike], alpha: float) -> float:
    """By how much n shrinks because scores of one run (lot, day) resemble each other: ``1 + (m - 1) rho``, at least 1.

    rho is the intra-class correlation by one-way analysis of variance, the larger of the scores' and the exceedances';
    m is the size of the run of an average score (Kish, Survey Sampling, 1965). One run alone cannot show it: then 1.

    Args:
        runs: one ``[n]`` array of scores a run, lot or day; order within it does not matter.
        alpha: promised false-reject rate; exceedances are of the (1 - alpha) quantile of all scores.

    Raises:
        CalibrationError: no scores, or values that are not finite.
    """
    checked = [_checked(run) for run in runs]
    if not checked:
        raise CalibrationError("expected the scores of at least one run, got none.")
    level = float(np.quantile(np.concatenate(checked), 1 - alpha))
    rho = max(
        _intra_class_correlation(checked),
        _intra_class_correlation([(run > level).astype(np.float64) for run in checked]),
    )
    sizes = np.array([len(run) for run in checked])
    return 1.0 + (float((sizes**2).sum() / sizes.sum()) - 1.0) * rho


def _intra_class_correlation(runs: Sequence[NDArray[np.float64]]) -> float:
    """Within 0 .. 1; a negative estimate counts as 0."""
    sizes = np.array([len(run) for run in runs])
    n, k = int(sizes.sum()), len(runs)
    if k < 2 or n == k:
        return 0.0
    means = np.array([run.mean() for run in runs])
    grand = float((sizes * means).sum() / n)
    between = float((sizes * (means - grand) ** 2).sum() / (k - 1))
    within = sum(float(((run - mean) ** 2).sum()) for run, mean in zip(runs, means, strict=True)) / (n - k)
    typical = (n - float((sizes**2).sum()) / n) / (k - 1)
    total = between + (typical - 1) * within
    return max(0.0, (between - within) / total) if total > 0 else 0.0


def _checked(series: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise CalibrationError(f"expected a run of scores, shape [n] with n >= 1, got shape {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise CalibrationError(
            f"expected finite scores, got {int((~np.isfinite(values)).sum())} of {values.size} that are not; "
            "leave out parts that are INVALID."
        )
    return values
