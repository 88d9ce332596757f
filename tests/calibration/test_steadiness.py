"""The check against drift within the record of calibration windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kruskal

from andon.calibration.steadiness import LIMIT, SHORTEST, drift_p_values, is_steady, steadiness


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    noise, values = rng.standard_normal(n + 100), np.zeros(n + 100)
    for place in range(1, n + 100):
        values[place] = phi * values[place - 1] + np.sqrt(1 - phi * phi) * noise[place]
    return values[100:]


def refused(records: list["np.ndarray[tuple[int], np.dtype[np.float64]]"]) -> float:
    return float(np.mean([not is_steady(steadiness([record])) for record in records]))


def test_a_drift_by_half_a_standard_deviation_is_found_in_long_records() -> None:
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 0.5, 3000)

    assert refused([rng.standard_normal(3000) + ramp for _ in range(30)]) >= 0.9


def test_a_spread_that_grows_is_found() -> None:
    rng = np.random.default_rng(2)
    growing = np.linspace(1, 2, 2000)

    assert refused([rng.standard_normal(2000) * growing for _ in range(20)]) >= 0.9


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_steady_records_are_rarely_refused_however_their_windows_depend_on_each_other(phi: float) -> None:
    rng = np.random.default_rng(3)

    assert refused([autoregressive(rng, 1000, phi) for _ in range(60)]) <= 0.05


def test_independent_levels_are_compared_as_by_kruskal_and_wallis() -> None:
    scores = np.tile([3.0, 1.0, 4.0, 2.0], 30) + np.linspace(
        0, 0.5, 120
    )  # alternates, so its autocorrelation time is 1

    assert drift_p_values(scores, 2)[0] == pytest.approx(kruskal(scores[:60], scores[60:]).pvalue, rel=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_only_ranks_count(seed: int, scale: float, shift: float) -> None:
    scores = np.random.default_rng(seed).integers(0, 50, 100).astype(np.float64)

    assert drift_p_values(scale * scores + shift, 4)[0] == pytest.approx(drift_p_values(scores, 4)[0])


def test_several_runs_are_not_refused_more_often_than_one() -> None:
    rng = np.random.default_rng(5)
    found = [steadiness([rng.standard_normal(100) for _ in range(20)]) for _ in range(40)]

    assert np.mean([not is_steady(check) for check in found]) <= 0.1


def test_short_runs_are_not_checked_and_constant_scores_are_steady() -> None:
    assert steadiness([np.arange(SHORTEST - 1.0)]) is None
    assert steadiness([]) is None
    assert is_steady(None)
    constant = steadiness([np.ones(SHORTEST)])
    assert constant is not None
    assert (constant.p, constant.limit, constant.pieces) == (1.0, LIMIT, (2, 4))
