"""Formula 5: bounds on missed defects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from andon.calibration.miss import Counted, miss_bounds_by_kind, miss_upper
from andon.foundation.errors import ConfigError


@pytest.mark.parametrize(
    ("missed", "defects", "percent"),
    [
        (0, 10, 25.887), (0, 20, 13.911), (0, 30, 9.503), (0, 50, 5.816), (0, 59, 4.951), (0, 100, 2.951), (0, 299, 0.997),
        (1, 20, 21.611), (2, 50, 12.061), (1, 100, 4.656), (3, 100, 7.571),
    ],
)  # fmt: skip
def test_the_bound_agrees_with_the_worked_examples(missed: int, defects: int, percent: float) -> None:
    assert 100 * miss_upper(missed, defects) == pytest.approx(percent, abs=6e-4)


def test_one_of_20_is_the_solution_of_the_binomial_equation() -> None:
    upper = miss_upper(1, 20)

    assert (1 - upper) ** 20 + 20 * upper * (1 - upper) ** 19 == pytest.approx(0.05, abs=1e-12)


@given(defects=st.integers(1, 2000), missed=st.integers(0, 2000), confidence=st.floats(0.5, 0.999))
def test_the_bound_solves_the_binomial_equation(defects: int, missed: int, confidence: float) -> None:
    missed = min(missed, defects)
    upper = miss_upper(missed, defects, confidence)

    if missed < defects:
        assert float(binom.cdf(missed, defects, upper)) == pytest.approx(1 - confidence, abs=1e-9)
    else:
        assert upper == 1.0


@given(defects=st.integers(1, 500), missed=st.integers(0, 500))
def test_more_defects_lower_the_bound_and_more_misses_raise_it(defects: int, missed: int) -> None:
    missed = min(missed, defects)

    assert miss_upper(missed, defects + 1) <= miss_upper(missed, defects)
    if missed < defects:
        assert miss_upper(missed, defects) <= miss_upper(missed + 1, defects)


def test_the_bounds_by_kind_hold_together() -> None:
    kinds = {"crack": Counted(30, 0), "dent": Counted(30, 2), "scratch": Counted(9, 0)}
    bounds = miss_bounds_by_kind(kinds)

    assert sorted(bounds) == ["crack", "dent"]  # 9 scratches are too few for a bound of their own
    assert bounds["crack"].confidence == pytest.approx(0.975)
    assert bounds["crack"].beta == miss_upper(0, 30, bounds["crack"].confidence)

    rng, rates, repetitions = np.random.default_rng(2), {"crack": 0.06, "dent": 0.12}, 500
    broken = 0
    for _ in range(repetitions):
        drawn = {kind: Counted(30, int(rng.binomial(30, rate))) for kind, rate in rates.items()}
        broken += any(bound.beta < rates[kind] for kind, bound in miss_bounds_by_kind(drawn).items())
    assert broken <= binom.ppf(0.999, repetitions, 0.05)


def test_without_enough_defects_of_a_kind_there_is_no_bound_by_kind() -> None:
    assert miss_bounds_by_kind({"crack": Counted(9, 0)}) == {}


@pytest.mark.parametrize(("missed", "defects"), [(0, 0), (3, 2), (-1, 2)])
def test_counts_that_cannot_be_are_refused(missed: int, defects: int) -> None:
    with pytest.raises(ConfigError, match="missed defects: expected 0 <= missed <= defects"):
        miss_upper(missed, defects)
