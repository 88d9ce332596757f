"""Outliers among the scores of good parts: named only if they are far above the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.calibration.outliers import LEAST, SMALLEST_SPREAD, outlying

usual = st.lists(st.floats(0.01, 100.0), min_size=LEAST, max_size=40)


@given(scores=usual, unit=st.sampled_from([0.25, 8.0, 1024.0]))
def test_outliers_do_not_depend_on_the_unit_of_the_score(scores: list[float], unit: float) -> None:
    far, scaled = outlying(scores), outlying(np.array(scores) * unit)

    near_the_limit = far != scaled
    assert near_the_limit.sum() <= 1  # rounding may decide a score that is exactly at the limit


@given(scores=usual, seed=st.integers(0, 99))
def test_outliers_do_not_depend_on_the_order(scores: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(scores))

    assert outlying(np.array(scores)[order]).tolist() == outlying(scores)[order].tolist()


@given(scores=usual)
def test_a_score_below_the_median_is_never_an_outlier(scores: list[float]) -> None:
    assert not outlying(scores)[np.array(scores) <= np.median(scores)].any()


def test_scores_far_above_the_others_are_outliers_even_if_a_fifth_of_them_are() -> None:
    usual_scores = np.exp(np.random.default_rng(0).normal(0, 0.04, 80))

    assert outlying([*usual_scores, *[1.5] * 20]).nonzero()[0].tolist() == list(range(80, 100))


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.5])
def test_among_normal_logarithms_outliers_are_rare(spread: float) -> None:
    scores = np.exp(np.random.default_rng(1).normal(3, spread, 100_000))

    assert outlying(scores).mean() < 1e-4


def test_equal_scores_have_no_outliers_and_a_tiny_difference_makes_none() -> None:
    assert not outlying([2.0] * 20).any()
    assert not outlying([2.0] * 20 + [2.0 * np.exp(SMALLEST_SPREAD)]).any()


@pytest.mark.parametrize(
    "scores",
    [[1.0] * (LEAST - 2) + [50.0], [-1.0] + [1.0] * 20 + [50.0], [0.0] + [1.0] * 20 + [50.0], []],
    ids=["too few", "a negative score", "a score of zero", "none"],
)
def test_scores_without_a_reliable_spread_have_no_outliers(scores: list[float]) -> None:
    assert not outlying(scores).any()


def test_infinite_scores_are_not_outliers_and_do_not_count() -> None:
    assert outlying([1.0] * 20 + [np.inf, 50.0]).nonzero()[0].tolist() == [21]
