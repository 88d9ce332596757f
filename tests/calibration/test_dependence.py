"""Formula 7: tau compared with worked examples, a slow reference and processes with a known tau."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from andon.calibration.dependence import (
    autocorrelation_time,
    dependence_time,
    design_effect,
    effective_number,
    tau_of_indicator,
    tau_of_ranks,
)
from andon.foundation.errors import CalibrationError, NotEnoughParts

series = arrays(np.float64, st.integers(1, 80), elements=st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))


def slow_tau(x: NDArray[np.float64]) -> float:
    n = len(x)
    z = x - x.mean()
    r = [float((z[: n - t] * z[t:]).sum() / (z * z).sum()) for t in range(n)]
    total, least = 0.0, np.inf
    for j in range(n // 2):
        pair = r[2 * j] + r[2 * j + 1]
        if pair <= 0:
            break
        least = min(least, pair)
        total += least
    return max(1.0, 2 * total - 1)


def ar1(phi: float, n: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    x = np.empty(n)
    x[0] = rng.normal() / np.sqrt(1 - phi**2)
    for i, noise in enumerate(rng.normal(size=n - 1), start=1):
        x[i] = phi * x[i - 1] + noise
    return x


def test_tau_of_three_triangles_agrees_with_the_worked_example() -> None:
    assert autocorrelation_time([0, 1, 2, 3, 4, 5, 4, 3, 2, 1] * 3) == pytest.approx(2.444444, abs=1e-6)


def test_tau_of_a_filtered_logistic_map_agrees_with_the_worked_example() -> None:
    v, w, filtered = 0.3, 0.0, []
    for _ in range(200):
        w = 0.8 * w + v
        filtered.append(w)
        v = 3.9 * v * (1 - v)

    assert filtered[199] == pytest.approx(2.469285, abs=1e-6)
    assert autocorrelation_time(filtered) == pytest.approx(5.554401, abs=1e-6)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 120), phi=st.floats(-0.9, 0.95))
def test_tau_agrees_with_a_slow_reference(seed: int, n: int, phi: float) -> None:
    x = ar1(phi, n, seed)

    assert autocorrelation_time(x) == pytest.approx(slow_tau(x), rel=1e-9)


@given(x=series)
def test_tau_is_at_least_one_and_finite(x: NDArray[np.float64]) -> None:
    assert 1.0 <= autocorrelation_time(x) < np.inf
    assert 1.0 <= dependence_time([x], 0.05) < np.inf


@given(x=series)
def test_the_tau_of_ranks_ignores_any_change_of_scale_that_keeps_the_order(x: NDArray[np.float64]) -> None:
    assert tau_of_ranks(np.arcsinh(x)) == tau_of_ranks(x)


def test_tau_does_not_depend_on_the_unit_of_scores_however_small_or_large() -> None:
    x = ar1(0.8, 500, seed=1)

    assert autocorrelation_time(x * 1e-200) == pytest.approx(autocorrelation_time(x))
    assert autocorrelation_time(x * 1e200) == pytest.approx(autocorrelation_time(x))


@pytest.mark.parametrize("x", [[3.0], [2.0, 2.0, 2.0], [1.0, 2.0]])
def test_a_series_that_shows_no_dependence_has_tau_one(x: list[float]) -> None:
    assert autocorrelation_time(x) == 1.0


@pytest.mark.parametrize(("phi", "true"), [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)])
def test_tau_of_an_autoregression_is_near_its_true_value(phi: float, true: float) -> None:
    estimates = [autocorrelation_time(ar1(phi, 4000, seed)) for seed in range(9)]

    assert float(np.median(estimates)) == pytest.approx(true, rel=0.15)


def test_volatility_clusters_are_seen_by_the_exceedances_and_not_by_the_ranks() -> None:
    rng = np.random.default_rng(4)
    x = np.exp(0.5 * ar1(0.98, 6000, seed=5) * 0.6) * rng.normal(size=6000)
    level = float(np.quantile(x, 0.95))

    assert tau_of_ranks(x) < 2
    assert tau_of_indicator(x, level) > 3
    assert dependence_time([x], 0.05) == tau_of_indicator(x, level)


def test_the_rule_takes_the_ranks_where_they_say_more() -> None:
    x = ar1(0.9, 2000, seed=3)

    assert dependence_time([x], 0.05) == tau_of_ranks(x) > tau_of_indicator(x, float(np.quantile(x, 0.95)))


def test_the_most_dependent_run_decides() -> None:
    smooth, rough = ar1(0.9, 2000, seed=3), ar1(0.0, 2000, seed=4)

    assert dependence_time([rough, smooth], 0.05) >= tau_of_ranks(smooth)


def test_runs_are_not_joined_at_the_seam() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=300), rng.normal(size=300) + 100

    assert dependence_time([low, high], 0.05) < 3 < tau_of_ranks(np.concatenate([low, high]))


@pytest.mark.parametrize(("n", "tau", "worth"), [(600, 1.0, 600), (600, 19.0, 31), (10, 11.0, 0)])
def test_the_effective_number_is_rounded_down(n: int, tau: float, worth: int) -> None:
    assert effective_number(n, tau) == worth


def test_a_tau_that_the_series_is_too_short_to_know_is_refused_where_told() -> None:
    with pytest.raises(NotEnoughParts, match=r"at least 950 windows .* got 949"):
        effective_number(949, 19.0, strict=True)

    assert effective_number(950, 19.0, strict=True) == 50


def test_a_tau_below_one_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        effective_number(100, 0.5)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [[1.0, 2.0]]])
def test_what_is_no_run_of_finite_scores_is_refused(bad: list[float]) -> None:
    with pytest.raises(CalibrationError, match="expected"):
        dependence_time([np.array(bad)], 0.05)


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(CalibrationError, match="at least one run"):
        dependence_time([], 0.05)


def test_the_design_effect_of_lots_is_near_that_of_their_true_correlation() -> None:
    rng = np.random.default_rng(0)
    lots = [np.sqrt(0.5) * rng.normal() + np.sqrt(0.5) * rng.normal(size=20) for _ in range(200)]

    assert design_effect(lots, 0.05) == pytest.approx(1 + 19 * 0.5, rel=0.15)


def test_lots_that_do_not_differ_cost_nothing_much() -> None:
    rng = np.random.default_rng(1)

    assert 1.0 <= design_effect(list(rng.normal(size=(100, 20))), 0.05) < 1.5


@pytest.mark.parametrize("runs", [[[1.0, 2.0, 3.0]], [[1.0], [2.0], [5.0]], [[1.0, 1.0], [1.0]]])
def test_one_lot_or_lots_of_one_or_equal_scores_show_no_design_effect(runs: list[list[float]]) -> None:
    assert design_effect(runs, 0.05) == 1.0


def test_lots_of_identical_scores_are_worth_one_part_each() -> None:
    runs = [[float(lot)] * 5 for lot in range(10)]

    assert design_effect(runs, 0.05) == pytest.approx(5.0)
