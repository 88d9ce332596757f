"""Formula 10: limits of the drift charts, compared with worked examples and simulation."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from andon.calibration.drift_limits import (
    budget_chart,
    budget_run_length,
    budget_step,
    conditional_run_length,
    cusum_limit,
    deviates,
    drift_reference,
    ks_limit,
    psi_limit,
    quiet_probability,
    run_length,
    simulated_cusum_limit,
)
from andon.calibration.tail import tail
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import BudgetChart, DriftReference
from andon.runtime.drift import BudgetState, DriftState, step, step_budget


def test_run_lengths_agree_with_the_worked_examples() -> None:
    assert run_length(0.25, 14.4917) / 2 == pytest.approx(10_000.1, abs=0.05)
    assert run_length(0.5, 8.053) / 2 == pytest.approx(9999.5, abs=0.05)
    assert run_length(0.5, 8.053) == pytest.approx(19_999.0, abs=0.05)


@pytest.mark.parametrize(
    ("k", "limits"),
    [
        (0.125, (13.150, 15.697, 21.899, 24.634, 33.803)),
        (0.25, (8.585, 9.931, 13.111, 14.492, 19.091)),
        (0.5, (5.071, 5.757, 7.361, 8.053, 10.355)),
        (1.0, (2.665, 3.009, 3.814, 4.160, 5.312)),
    ],
)
def test_the_limits_of_the_cusum_agree_with_the_table(k: float, limits: tuple[float, ...]) -> None:
    found = [cusum_limit(k, length) for length in (500, 1000, 5000, 10_000, 100_000)]

    assert found == pytest.approx(limits, abs=6e-4)


def test_without_uncertainty_of_the_calibration_the_chain_agrees_with_the_integral_equation() -> None:
    n = 20_000
    z = -norm.ppf((np.arange(n, -1, -1) + 0.5) / (n + 1))

    assert conditional_run_length(z, np.full(n + 1, 1 / (n + 1)), 0.5, 8.053) == pytest.approx(10_000, rel=0.02)


@pytest.mark.parametrize("n", [100, 600])
def test_nine_of_ten_calibrations_reach_the_run_length_at_the_simulated_limit(n: int) -> None:
    length = 5000
    limit = simulated_cusum_limit(n, 0.25, length)
    gaps = np.random.default_rng(99).exponential(size=(150, n + 1))
    gaps /= gaps.sum(axis=1, keepdims=True)
    z = -norm.ppf((np.arange(n, -1, -1) + 0.5) / (n + 1))

    reached = sum(conditional_run_length(z, gap, 0.25, limit) >= length for gap in gaps)

    assert limit > cusum_limit(0.25, length)
    assert binom.ppf(0.001, 150, 0.86) <= reached  # 0.86: the limit itself is from 200 simulated calibrations


def test_more_calibration_parts_lower_the_limit_towards_that_of_a_known_distribution() -> None:
    limits = [simulated_cusum_limit(n, 0.25, 5000) for n in (60, 300, 3000)]

    assert limits == sorted(limits, reverse=True)
    assert cusum_limit(0.25, 5000) < limits[-1] < 1.1 * cusum_limit(0.25, 5000)


def test_the_limits_of_the_distances_agree_with_the_worked_examples() -> None:
    assert psi_limit(600, 200, 10, 0.001) == pytest.approx(0.185848, abs=1e-6)
    assert ks_limit(600, 200, 0.001) == pytest.approx(0.159174, abs=1e-6)


def test_the_reject_budget_agrees_with_the_worked_examples() -> None:
    assert budget_run_length(0.01, 69, 525) == pytest.approx(86_140.6, abs=0.05)
    assert budget_run_length(0.02, 69, 525) == pytest.approx(1184.45, abs=0.005)
    assert quiet_probability(0.01, 69, 525, 5000) == pytest.approx(0.950406, abs=1e-6)


@pytest.mark.parametrize(
    ("expected", "rejected", "h"), [(0.01, 69, 525), (0.02, 35, 307), (0.05, 14, 137), (0.10, 7, 71), (0.15, 5, 59)]
)
def test_the_reject_budget_of_a_doubling_agrees_with_the_table(expected: float, rejected: int, h: int) -> None:
    chart = budget_chart(expected, 2 * expected, 5000)

    assert (chart.step, chart.h) == (rejected, h)
    assert quiet_probability(expected, rejected, h - 1, 5000) < 0.95


def test_the_reject_budget_is_quiet_in_as_many_simulated_shifts_as_stated() -> None:
    parts, shifts = 1000, 200
    chart = budget_chart(0.05, 0.10, parts)
    rejects = np.random.default_rng(3).random((shifts, parts)) < 0.05
    quiet = sum(not _raised(chart, shift.tolist()) for shift in rejects)

    exact = quiet_probability(0.05, chart.step, chart.h, parts)
    assert binom.ppf(0.001, shifts, exact) <= quiet <= binom.ppf(0.999, shifts, exact)


def _raised(chart: BudgetChart, rejects: list[bool]) -> bool:
    state = BudgetState()
    for rejected in rejects:
        state = step_budget(state, rejected=rejected, limits=chart)
    return state.alarm


def test_shares_of_rejects_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 0 < expected < raised < 1"):
        budget_chart(0.02, 0.01)
    assert budget_step(0.15, 0.3) == 5


def test_the_deviate_of_a_score_between_two_calibration_scores_agrees_with_the_worked_example() -> None:
    scores = np.arange(600.0)
    knots = tail(scores).x

    z = deviates(scores, knots)[int((knots <= np.float32(597.5)).sum())]  # two scores above, no tie

    assert z == pytest.approx(2.638822, abs=1e-6)


def test_the_table_of_deviates_ascends_and_fits_the_knots() -> None:
    for n in (20, 256, 3000):
        scores = np.random.default_rng(n).gamma(2.0, 1.0, n)
        knots = tail(scores).x
        z = np.array(deviates(scores, knots))

        assert len(z) == int(np.isfinite(knots).sum()) + 1
        assert (np.diff(z) > 0).all()
        assert z[0] == pytest.approx(-norm.ppf((n + 0.5) / (n + 1)))


def test_the_charts_of_a_calibration_are_quiet_on_clean_parts_and_raise_an_alarm_after_a_shift() -> None:
    rng = np.random.default_rng(8)
    scores = rng.normal(0, 1, 1000)
    knots = tail(scores).x
    reference = drift_reference(scores, knots, n_eff=1000, tau=1.0, above=4, alpha=0.01)
    threshold = np.sort(scores)[-5]

    def watched(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> DriftState:
        state = DriftState(digest="a")
        for value in values.tolist():
            state = step(state, value, rejected=value > threshold, reference=reference, knots=knots)
        return state

    assert watched(rng.normal(0, 1, 1000)).alarms == ()
    assert {"cusum", "psi", "ks"} <= set(watched(rng.normal(1, 1, 400)).alarms)
    assert "budget" in watched(rng.normal(2.5, 1, 100)).alarms


def test_dependent_scores_get_wider_limits() -> None:
    scores = np.random.default_rng(9).normal(0, 1, 1000)
    knots = tail(scores).x
    free = drift_reference(scores, knots, n_eff=1000, tau=1.0, above=4, alpha=0.01)
    dependent = drift_reference(scores, knots, n_eff=250, tau=4.0, above=4, alpha=0.01)

    assert free.cusum is not None
    assert dependent.cusum is not None
    assert free.ks is not None
    assert dependent.ks is not None
    assert dependent.cusum.h > 2 * free.cusum.h
    assert (dependent.ks.window, free.ks.window) == (800, 200)
    assert dependent.ks.limit > free.ks.limit
    assert math.isclose(dependent.tau, 4.0)


def test_few_scores_get_no_cusum_but_the_other_charts() -> None:
    scores = np.random.default_rng(10).normal(0, 1, 29)

    reference = drift_reference(scores, tail(scores).x, n_eff=29, tau=1.0, above=0, alpha=0.1)

    assert reference.cusum is None
    assert reference.sentence == "limits of drift charts from 29 scores, without a CUSUM"
    assert reference.budget is not None


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 120), tau=st.floats(1, 8), above=st.integers(0, 60), alpha=st.floats(0.0001, 1), ties=st.booleans()
)
def test_every_calibration_gets_finite_limits(n: int, tau: float, above: int, alpha: float, ties: bool) -> None:
    scores = np.ones(n) if ties else np.random.default_rng(n).normal(0, 1, n)
    n_eff = max(2, int(n / tau))

    reference = drift_reference(scores, tail(scores).x, n_eff=n_eff, tau=tau, above=min(above, n - 1), alpha=alpha)

    assert msgspec.json.decode(msgspec.json.encode(reference), type=DriftReference) == reference
    assert np.isfinite(reference.z).all()
    if reference.cusum is not None:
        assert 0 < reference.cusum.h < 1000
