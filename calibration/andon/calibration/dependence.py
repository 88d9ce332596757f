"""Estimate the number of independent scores that a series of dependent scores corresponds to.

Neighbouring windows of a log resemble each other, so n windows contain less information than n parts. A promise that ignores
this is broken in up to half of all calibrations. The measure is how long exceedances cluster: the integrated autocorrelation
time tau, by Geyer's initial monotone positive sequence (Statistical Science 7, 1992). ``n_eff = floor(n / tau)``.

Neither of the two estimates of tau is safe alone. The tau of ranks does not detect periods in which scores vary more. The tau
of exceedances is too small if there are few exceedances. The rule takes the larger one. Tau measures dependence *within* runs.
`design_effect` measures differences between whole runs.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from andon.foundation.errors import CalibrationError, NotEnoughParts

LEAST_TAUS = 50
"""Shortest series, as a multiple of tau, for which tau is reliable. In shorter series the estimate of tau is too low."""


def autocorrelation_time(series: ArrayLike) -> float:
    """Return the integrated autocorrelation time of one contiguous run, in samples: at least 1, which means independent values.

    Args:
        series: ``[n]`` finite values in time order. A constant series, or a single value, gives 1.

    Raises:
        CalibrationError: the series is empty, or some values are not finite.

    >>> round(autocorrelation_time([0, 1, 2, 3, 4, 5, 4, 3, 2, 1] * 3), 6)
    2.444444
    """
    values = _checked(series)
    n = len(values)
    centred = values - values.mean()
    # Scale by the largest deviation, so that squares neither overflow nor underflow. The correlation does not change.
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
    """Return the `autocorrelation_time` of the ranks of one run (mean ranks for ties).

    Ranks are not affected by a few extreme scores.
    """
    return autocorrelation_time(rankdata(_checked(series)))


def tau_of_indicator(series: ArrayLike, level: float) -> float:
    """Return the `autocorrelation_time` of the exceedances ``series > level`` of one run: 1 if all values or none exceed."""
    return autocorrelation_time(_checked(series) > level)


def dependence_time(runs: Sequence[ArrayLike], alpha: float) -> float:
    """Return the tau for the calibration: the larger one of ranks and exceedances, and the largest over all runs.

    Args:
        runs: one ``[n]`` array of scores per contiguous run, in time order. Runs are never joined, because the end of one
            run and the begin of the next are not neighbours in time.
        alpha: promised false-reject rate. Exceedances are scores above the (1 - alpha) quantile of all scores.

    Raises:
        CalibrationError: there are no scores, or some are not finite.
    """
    checked = [_checked(run) for run in runs]
    if not checked:
        raise CalibrationError("expected the scores of at least one run of good windows, got none.")
    level = float(np.quantile(np.concatenate(checked), 1 - alpha))
    return max(max(tau_of_ranks(run), tau_of_indicator(run, level)) for run in checked)


def effective_number(n: int, tau: float, *, strict: bool = False) -> int:
    """Return the number of independent scores that n dependent scores correspond to: ``floor(n / tau)``.

    Args:
        n: number of scores.
        tau: from `dependence_time` (or `design_effect`), >= 1.
        strict: refuse n < 50 tau, where the estimate of tau is not reliable. A promise of at most 5 % needs more scores
            than that in any case.

    Raises:
        NotEnoughParts: `strict` is set and there are too few scores to estimate tau.
        ValueError: tau is below 1 or not finite.

    >>> effective_number(600, 19.0)
    31
    """
    if not (math.isfinite(tau) and tau >= 1.0):
        raise ValueError(f"tau: expected a finite number of at least 1, got {tau!r}")
    if strict and n < LEAST_TAUS * tau:
        raise NotEnoughParts(
            f"neighbouring windows depend on each other over tau = {tau:.3g} windows: expected at least "
            f"{math.ceil(LEAST_TAUS * tau)} windows (50 tau), so that tau is reliable, got {n}. Record longer."
        )
    return math.floor(n / tau)


def design_effect(runs: Sequence[ArrayLike], alpha: float) -> float:
    """Return the divisor of n for scores that resemble each other within a run (lot, day): ``1 + (m - 1) rho``, at least 1.

    rho is the intra-class correlation by one-way analysis of variance: the larger one of scores and exceedances. m is the mean
    size of a run, weighted by its scores (Kish, Survey Sampling, 1965). A single run cannot show the effect and gives 1.

    Args:
        runs: one ``[n]`` array of scores per run, lot or day, in any order.
        alpha: promised false-reject rate. Exceedances are scores above the (1 - alpha) quantile of all scores.

    Raises:
        CalibrationError: there are no scores, or some are not finite.
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
    """Return the intra-class correlation, 0 .. 1. A negative estimate counts as 0."""
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
        raise CalibrationError(
            f"expected a one-dimensional array of scores, shape [n] with n >= 1, got shape {list(values.shape)}."
        )
    if not np.isfinite(values).all():
        raise CalibrationError(
            f"expected finite scores, got {int((~np.isfinite(values)).sum())} of {values.size} that are not finite. "
            "Leave out INVALID parts."
        )
    return values
