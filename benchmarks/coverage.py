"""Measure how often promises are broken, and how often drift charts raise false alarms. One JSON line per question.

    python -m benchmarks.coverage                      # all questions, 2000 calibrations each, one process
    python -m benchmarks.coverage shift --calibrations 200
    python -m benchmarks.coverage records lots --calibrations 1000

Scores are simulated from distributions whose true false-reject rate is known, so that no test set adds noise. A promise with 95 %
confidence may be broken by 5 % of the calibrations. `exact` is the share that the formula states for continuous scores.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, lognorm, norm, poisson
from scipy.stats import t as student

from andon.calibration.audit import log_e_violated
from andon.calibration.dependence import dependence_time, design_effect, effective_number
from andon.calibration.drift_limits import (
    MOST_RUN_LENGTH,
    RUN_LENGTH,
    SLACK,
    conditional_run_length,
    simulated_cusum_limit,
)
from andon.calibration.miss import miss_upper
from andon.calibration.promise import allowance, parts_needed
from andon.calibration.review import joint_confidence, review_ranks
from andon.calibration.shift import every_shift_rate, shift_allowance, shift_confidence
from andon.calibration.steadiness import is_steady, steadiness

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Scores]

DISTRIBUTIONS: dict[str, tuple[Draw, Callable[[Scores], Scores]]] = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), norm.sf),
    "log-normal": (lambda rng, shape: rng.lognormal(0, 1, shape), lambda x: lognorm.sf(x, 1)),
    "t, 3 df": (lambda rng, shape: rng.standard_t(3, shape), lambda x: student.sf(x, 3)),
    "Poisson(3)": (lambda rng, shape: rng.poisson(3, shape).astype(np.float64), lambda x: poisson.sf(x, 3)),
}

RECORDS = {
    "independent": (0.0, 0.0),
    "AR(1), .5": (0.5, 0.0),
    "AR(1), .9": (0.9, 0.0),
    "independent, drift by .5 sd": (0.0, 0.5),
    "independent, drift by 1 sd": (0.0, 1.0),
    "AR(1), .5, drift by 1 sd": (0.5, 1.0),
}
"""Records of windows: coefficient of the autoregression, and drift over the record in standard deviations."""


class Process(NamedTuple):
    """A process that windows come from."""

    record: Callable[[np.random.Generator, int], Scores]
    """Draws a record of n windows, ``[n]``."""
    future: Callable[[float], float]
    """Long-run share of later windows that score above a threshold."""
    steady: bool = True
    """False if the record differs from the future, so that a refusal is correct."""


def _regimes(windows: int) -> Process:
    """Return a machine that changes between two states, 1 sd apart, after a random time of `windows` on average."""

    def record(rng: np.random.Generator, n: int) -> Scores:
        state = (np.cumsum(rng.random(n) < 1 / windows) + rng.integers(2)) % 2
        return rng.standard_normal(n) + state

    return Process(record, lambda t: float((norm.sf(t) + norm.sf(t - 1)) / 2))


def _clusters(rng: np.random.Generator, n: int) -> Scores:
    return np.exp(_autoregressive(rng, n, 0.98) / 2) * rng.standard_normal(n)


def _cluster_tail(threshold: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights * norm.sf(threshold / np.exp(nodes / 2))).sum() / weights.sum())


def _ar(phi: float) -> Process:
    return Process(lambda rng, n: _autoregressive(rng, n, phi), lambda t: float(norm.sf(t)))


PROCESSES = {
    "independent": _ar(0.0),
    **{f"AR(1), {phi:g}".replace("0.", "."): _ar(phi) for phi in (0.5, 0.8, 0.9, 0.95, 0.98)},
    "volatility clusters": Process(_clusters, _cluster_tail),
    "drift by .5 sd, then constant": Process(
        lambda rng, n: rng.standard_normal(n) + np.linspace(0, 0.5, n), lambda t: float(norm.sf(t - 0.5)), steady=False
    ),
    "regimes of 50 windows": _regimes(50),
    "regimes of 1000 windows": _regimes(1000),
    "a regime of which the record has none": Process(
        lambda rng, n: rng.standard_normal(n), lambda t: float((norm.sf(t) + norm.sf(t - 1)) / 2), steady=False
    ),
}
"""Processes by name. Scores are normal with standard deviation 1 within each state, except the clusters. Their log-variance is
an AR(1) with coefficient .98 and standard deviation 1."""


def thresholds(rng: np.random.Generator, draw: Draw, calibrations: int, n: int, *aboves: int) -> list[Scores]:
    """Return one threshold for each calibration and each number of parts above it."""
    scores = np.sort(draw(rng, (calibrations, n)), axis=1)
    return [scores[:, n - 1 - above] for above in aboves]


def shift(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of calibrations whose next shift has more rejects than promised, and of those with bad shifts often."""
    for n, parts, rejects in ((342, 200, 2), (323, 500, 5), (767, 5000, 20), (1000, 1000, 20)):
        above = shift_allowance(n, parts, rejects)
        for name, (draw, survival) in DISTRIBUTIONS.items():
            rates = survival(thresholds(rng, draw, calibrations, n, above)[0])
            broken = float((rng.binomial(parts, rates) > rejects).mean())
            often = float((binom.sf(rejects, parts, rates) > 0.05).mean())
            yield {
                "n": n, "parts": parts, "rejects": rejects, "scores": name, "broken": broken,
                "exact": 1 - shift_confidence(n, above, parts, rejects), "more_than_5_percent_of_shifts_broken": often,
            }  # fmt: skip


def every_shift(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of calibrations of which fewer shifts than promised keep the number of rejects."""
    for n, parts, rejects, share in ((1063, 5000, 20, 0.95), (1265, 5000, 20, 0.99), (700, 500, 5, 0.9)):
        rate = every_shift_rate(parts, rejects, share)
        above = allowance(n, rate)
        for name, (draw, survival) in DISTRIBUTIONS.items():
            rates = survival(thresholds(rng, draw, calibrations, n, above)[0])
            broken = float((binom.cdf(rejects, parts, rates) < share).mean())
            yield {
                "n": n, "parts": parts, "rejects": rejects, "share": share, "scores": name, "broken": broken,
                "exact": float(binom.cdf(above, n, rate)),
            }  # fmt: skip


def review(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of calibrations that break one of the two promises of a review band."""
    for n in (311, 600, 1000, 3000):
        wide, narrow = (0.02, 0.01) if n == 311 else (0.05, 0.01)
        ranks = review_ranks(n, wide, narrow)
        single = joint_confidence(n, allowance(n, wide), allowance(n, narrow), wide, narrow) if n > 311 else None
        for name, (draw, survival) in DISTRIBUTIONS.items():
            low, high = thresholds(rng, draw, calibrations, n, ranks.review, ranks.reject)
            kept = (survival(low) <= wide) & (survival(high) <= narrow)
            yield {
                "n": n, "review": wide, "reject": narrow, "scores": name, "broken": float((~kept).mean()),
                "exact": 1 - ranks.confidence, "exact_of_two_single_promises": None if single is None else 1 - single,
            }  # fmt: skip


def miss(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of samples of defects whose bound is below the true miss rate."""
    for defects in (20, 59, 200):
        for rate in (0.02, 0.05, 0.2):
            missed = rng.binomial(defects, rate, calibrations)
            bounds = np.array([miss_upper(count, defects) for count in range(defects + 1)])
            exact = float(binom.cdf(int((bounds < rate).sum()) - 1, defects, rate))
            yield {
                "defects": defects,
                "miss_rate": rate,
                "broken": float((bounds[missed] < rate).mean()),
                "exact": exact,
            }


def audit(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of counts with a false alarm, if each part is looked at, at a true rate equal to the promise."""
    parts, alpha = 5000, 0.01
    limits, rejects = [], 0
    for n in range(1, parts + 1):
        while rejects <= n and log_e_violated(rejects, n, alpha) < np.log(20):
            rejects += 1
        limits.append(rejects)
    looks = np.arange(1, parts + 1)
    counts = [np.cumsum(rng.random(parts) < alpha) for _ in range(calibrations)]
    e_value = np.mean([(one >= limits).any() for one in counts])
    one_look = np.mean([(binom.sf(one - 1, looks, alpha) < 0.05).any() for one in counts])
    yield {"parts": parts, "alpha": alpha, "false_alarms_of_e_values": e_value, "of_one_look_bounds": one_look}


def steady(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of records that the check against drift refuses."""
    for n in (600, 3000):
        for name, (phi, drift) in RECORDS.items():
            ramp = np.linspace(0, drift, n)
            refused = float(
                np.mean([not is_steady(steadiness([_autoregressive(rng, n, phi) + ramp])) for _ in range(calibrations)])
            )
            yield {"n": n, "scores": name, "refused": refused}


def records(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield how often promises from records of windows are broken, before and after the check against drift.

    All values are shares of all records, except `drifting`. `naive`: broken if each window counts as independent. `too_few`:
    refused, because the windows count as too few independent ones. `drifting`: share that the check refuses, of the records
    with enough windows. `broken_before` and `broken_after`: broken without and with the check.
    """
    long = ("AR(1), .95", "AR(1), .98", "volatility clusters")
    sizes = [(n, alpha, PROCESSES) for n, alpha in ((600, 0.05), (3000, 0.05), (3000, 0.01))]
    for n, alpha, processes in (*sizes, (20_000, 0.05, {name: PROCESSES[name] for name in long})):
        for name, process in processes.items():
            naive = too_few = drifting = before = after = 0
            for _ in range(calibrations):
                scores = process.record(rng, n)
                ordered = np.sort(scores)
                naive += process.future(ordered[n - 1 - allowance(n, alpha)]) > alpha
                n_eff = effective_number(n, dependence_time([scores], alpha))
                if n_eff < parts_needed(alpha):
                    too_few += 1
                    continue
                broken = process.future(ordered[n - 1 - allowance(n, alpha, n_eff=n_eff)]) > alpha
                refused = not is_steady(steadiness([scores]))
                before += broken
                drifting += refused
                after += broken and not refused
            enough = calibrations - too_few
            yield {
                "n": n, "alpha": alpha, "scores": name, "steady": process.steady, "naive": naive / calibrations,
                "too_few": too_few / calibrations, "drifting": drifting / enough if enough else None,
                "broken_before": before / calibrations, "broken_after": after / calibrations,
                "promised": (enough - drifting) / calibrations,
            }  # fmt: skip


def lots(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield how often promises from parts in lots are broken: all parts counted, one part per lot, and by the design effect.

    `design_broken` and `design_refused` are shares of all calibrations. The exact share is that of one part per lot.
    """
    size = 20
    for count, alpha in ((30, 0.1), (100, 0.05)):
        n = count * size
        for rho in (0.2, 0.5, 0.8):
            naive = drawn = refused = designed = 0
            for _ in range(calibrations):
                level = np.sqrt(rho) * rng.standard_normal((count, 1))
                scores = level + np.sqrt(1 - rho) * rng.standard_normal((count, size))
                ordered = np.sort(scores, axis=None)
                naive += norm.sf(ordered[n - 1 - allowance(n, alpha)]) > alpha
                one = np.sort(scores[:, 0])
                drawn += norm.sf(one[count - 1 - allowance(count, alpha)]) > alpha
                n_eff = effective_number(n, design_effect(list(scores), alpha))
                if n_eff < parts_needed(alpha):
                    refused += 1
                else:
                    designed += norm.sf(ordered[n - 1 - allowance(n, alpha, n_eff=n_eff)]) > alpha
            yield {
                "lots": count, "parts_per_lot": size, "alpha": alpha, "rho": rho, "naive": naive / calibrations,
                "one_per_lot": drawn / calibrations, "exact": float(binom.cdf(allowance(count, alpha), count, alpha)),
                "design_broken": designed / calibrations, "design_refused": refused / calibrations,
            }  # fmt: skip


def traps(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield how often promises are broken by common mistakes: choosing after looking, several promises, frames as parts."""
    n, alpha = 600, 0.01
    above = allowance(n, alpha)
    exact = float(binom.cdf(above, n, alpha))
    for detectors in (1, 2, 5, 10):
        lowest = np.min(
            [thresholds(rng, DISTRIBUTIONS["normal"][0], calibrations, n, above)[0] for _ in range(detectors)], axis=0
        )
        yield {
            "trap": "lowest threshold of several detectors", "detectors": detectors, "n": n, "alpha": alpha,
            "broken": float((norm.sf(lowest) > alpha).mean()), "exact": 1 - (1 - exact) ** detectors,
        }  # fmt: skip
    alphas = (0.05, 0.02, 0.01, 0.005)
    several = thresholds(rng, DISTRIBUTIONS["normal"][0], calibrations, 1000, *(allowance(1000, one) for one in alphas))
    broken = [norm.sf(one) > rate for one, rate in zip(several, alphas, strict=True)]
    yield {"trap": "one of four promises", "n": 1000, "alphas": alphas, "broken": float(np.any(broken, axis=0).mean())}
    frames, rho = 5, 0.7
    later = _frames(rng, 200_000, frames, rho).max(axis=1)
    for kind in ("frames counted as parts", "highest score of each part"):
        counted = 0
        for _ in range(calibrations):
            scores = _frames(rng, n, frames, rho)
            one = np.sort(scores, axis=None) if kind.startswith("frames") else np.sort(scores.max(axis=1))
            counted += (later > one[len(one) - 1 - allowance(len(one), alpha)]).mean() > alpha
        yield {"trap": kind, "n": n, "frames": frames, "rho": rho, "alpha": alpha, "broken": counted / calibrations}


def _frames(rng: np.random.Generator, parts: int, frames: int, rho: float) -> Scores:
    """Return normal scores ``[parts, frames]`` with the correlation rho between the frames of a part."""
    own = rng.standard_normal((parts, frames))
    scores: Scores = np.sqrt(rho) * rng.standard_normal((parts, 1)) + np.sqrt(1 - rho) * own
    return scores


def cusum(rng: np.random.Generator, calibrations: int) -> Iterator[dict[str, Any]]:
    """Yield the share of calibrations whose CUSUM reaches the run length, at the simulated limit."""
    for n in (30, 60, 300, 600, 3000):
        length = min(RUN_LENGTH, MOST_RUN_LENGTH * n)
        limit = simulated_cusum_limit(n, SLACK, length)
        z = -norm.ppf((np.arange(n, -1, -1) + 0.5) / (n + 1))
        lengths = []
        for _ in range(calibrations):
            gaps = rng.exponential(size=n + 1)
            lengths.append(conditional_run_length(z, gaps / gaps.sum(), SLACK, limit))
        reached = float(np.mean(np.array(lengths) >= length))
        yield {"n": n, "run_length": length, "h": limit, "reached": reached, "median": float(np.median(lengths))}


def _autoregressive(rng: np.random.Generator, n: int, phi: float) -> Scores:
    noise = rng.standard_normal(n + 200) * np.sqrt(1 - phi * phi)
    values: Scores = lfilter([1.0], [1.0, -phi], noise)[200:]
    return values


QUESTIONS = {
    one.__name__: one for one in (shift, every_shift, review, miss, audit, steady, records, lots, traps, cusum)
}


def main() -> None:
    """Answer the questions and print one JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("question", nargs="*", choices=[*QUESTIONS, []], help="default: all")
    parser.add_argument("--calibrations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in args.question or QUESTIONS:
        start = time.perf_counter()
        for row in QUESTIONS[name](np.random.default_rng(args.seed), args.calibrations):
            print(
                json.dumps({"question": name, **row, "calibrations": args.calibrations, "seed": args.seed}), flush=True
            )
        print(json.dumps({"question": name, "seconds": round(time.perf_counter() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
