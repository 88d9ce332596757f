"""Formula 3: two thresholds whose promises hold together."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from andon.calibration.promise import allowance, parts_needed
from andon.calibration.review import (
    defects_below,
    joint_confidence,
    pass_limit,
    review_parts_needed,
    review_ranks,
)
from andon.foundation.errors import CalibrationError, ConfigError, NotEnoughParts


@pytest.mark.parametrize(
    ("n", "ranks", "joint"),
    [(600, (580, 599), 0.954000), (1000, (964, 996), 0.953586), (3000, (2875, 2980), 0.950969)],
)
def test_the_ranks_agree_with_the_worked_examples(n: int, ranks: tuple[int, int], joint: float) -> None:
    review, reject, confidence = review_ranks(n, 0.05, 0.01)

    assert (n - review, n - reject) == ranks
    assert confidence == pytest.approx(joint, abs=1e-6)


def test_two_single_promises_are_jointly_worth_less_than_95_percent() -> None:
    assert joint_confidence(1000, 1000 - 962, 1000 - 996, 0.05, 0.01) == pytest.approx(0.933707, abs=1e-6)
    assert joint_confidence(1000, 1000 - 964, 1000 - 997, 0.05, 0.01) == pytest.approx(0.970273, abs=1e-6)


@pytest.mark.parametrize(("n", "review", "reject"), [(60, 3, 1), (100, 8, 2), (200, 12, 0)])
def test_the_joint_confidence_agrees_with_exact_fractions(n: int, review: int, reject: int) -> None:
    wide, narrow = Fraction(1, 10), Fraction(1, 50)
    between = (wide - narrow) / (1 - narrow)
    broken = Fraction(0)
    for beyond in range(review + 1):
        mass = comb(n, beyond) * narrow**beyond * (1 - narrow) ** (n - beyond)
        if beyond > reject:
            rest = n - beyond
            mass *= sum(comb(rest, k) * between**k * (1 - between) ** (rest - k) for k in range(review - beyond + 1))
        broken += mass

    assert joint_confidence(n, review, reject, 0.1, 0.02) == pytest.approx(1 - float(broken), abs=1e-12)


@given(
    n=st.integers(100, 3000),
    reject=st.integers(0, 10),
    more=st.integers(1, 40),
    alpha=st.floats(0.001, 0.05),
    factor=st.floats(1.5, 8),
)
def test_the_joint_confidence_is_between_product_and_minimum(
    n: int, reject: int, more: int, alpha: float, factor: float
) -> None:
    joint = joint_confidence(n, reject + more, reject, alpha * factor, alpha)

    single = [float(binom.sf(reject + more, n, alpha * factor)), float(binom.sf(reject, n, alpha))]
    assert single[0] * single[1] - 1e-9 <= joint <= min(single) + 1e-9


@settings(max_examples=50)
@given(n=st.integers(60, 3000), alpha=st.floats(0.01, 0.1), factor=st.floats(1.05, 6), c=st.floats(0.8, 0.99))
def test_the_ranks_keep_the_confidence_and_the_next_lower_threshold_does_not(
    n: int, alpha: float, factor: float, c: float
) -> None:
    wide = min(0.9, alpha * factor)
    need = review_parts_needed(wide, alpha, c)
    if n < need:
        with pytest.raises(
            NotEnoughParts, match=f"expected at least {need} independent good calibration parts, got {n}"
        ):
            review_ranks(n, wide, alpha, c)
        return

    review, reject, joint = review_ranks(n, wide, alpha, c)

    assert review > reject >= 0
    assert joint >= c
    assert joint == joint_confidence(n, review, reject, wide, alpha)
    assert joint_confidence(n, review + 1, reject, wide, alpha) < c or review == allowance(n, wide, c)


def test_the_parts_needed_are_the_fewest() -> None:
    for wide, narrow in ((0.05, 0.01), (0.02, 0.01), (0.011, 0.01), (0.5, 0.05)):
        need = review_parts_needed(wide, narrow)
        review_ranks(need, wide, narrow)
        with pytest.raises(NotEnoughParts):
            review_ranks(need - 1, wide, narrow)


def test_both_promises_hold_in_as_many_simulated_calibrations_as_stated() -> None:
    n, repetitions = 600, 2000
    review, reject, joint = review_ranks(n, 0.05, 0.01)
    scores = np.sort(np.random.default_rng(3).random((repetitions, n)), axis=1)
    kept = (1 - scores[:, n - 1 - review] <= 0.05) & (1 - scores[:, n - 1 - reject] <= 0.01)

    assert binom.ppf(0.001, repetitions, joint) <= kept.sum() <= binom.ppf(0.999, repetitions, joint)


def test_ranks_of_dependent_parts_are_those_of_the_effective_number_scaled() -> None:
    review, reject, joint = review_ranks(6000, 0.05, 0.01, n_eff=600)

    assert (review, reject) == (200, 10)
    assert joint == pytest.approx(0.954, abs=1e-6)


def test_a_refusal_offers_a_review_share_that_the_parts_support() -> None:
    with pytest.raises(
        NotEnoughParts, match=r"expected at least 311 .* got 300\. 300 calibration parts support --review 0\.\d+\."
    ) as refusal:
        review_ranks(300, 0.02, 0.01)

    review_ranks(300, float(str(refusal.value).rstrip(".").rpartition(" ")[2]), 0.01)


def test_a_review_share_must_be_above_the_share_of_rejects() -> None:
    with pytest.raises(
        ConfigError, match=r"--review: expected more than the promised false-reject rate of 5 %.*got 1 %"
    ):
        review_ranks(1000, 0.01, 0.05)


@pytest.mark.parametrize(
    ("defects", "beta", "first"), [(59, 0.05, 1), (100, 0.05, 2), (200, 0.05, 5), (30, 0.1, 1), (50, 0.1, 2)]
)
def test_the_first_defect_that_must_not_pass_agrees_with_the_worked_examples(
    defects: int, beta: float, first: int
) -> None:
    limit = pass_limit(np.arange(1, defects + 1), beta)

    assert defects_below(defects, beta) == first - 1
    assert limit == np.nextafter(np.float32(first), np.float32(0))


def test_58_defects_are_too_few_for_a_miss_rate_of_5_percent() -> None:
    with pytest.raises(
        NotEnoughParts, match=r"expected at least 59 different defects, got 58\. Collect 1 more, or allow 5.04 %"
    ):
        defects_below(58, 0.05)


@settings(max_examples=25)
@given(scores=st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=59, max_size=200))
def test_at_most_the_allowed_defects_pass(scores: list[float]) -> None:
    limit = pass_limit(scores, 0.05)

    assert sum(np.float32(score) <= limit for score in scores) <= defects_below(len(scores), 0.05)


def test_defects_without_a_finite_score_are_refused() -> None:
    with pytest.raises(CalibrationError, match="expected finite scores of defects"):
        pass_limit([float("inf")] * 60, 0.05)


def test_simulated_pass_limits_let_too_many_defects_pass_as_often_as_the_formula_says() -> None:
    d, repetitions = 100, 2000
    scores = np.sort(np.random.default_rng(5).random((repetitions, d)), axis=1)
    broken = int((scores[:, defects_below(d, 0.05)] > 0.05).sum())

    exact = float(binom.cdf(defects_below(d, 0.05), d, 0.05))
    assert exact <= 0.05
    assert binom.ppf(0.001, repetitions, exact) <= broken <= binom.ppf(0.999, repetitions, exact)
    assert parts_needed(0.05) == 59
