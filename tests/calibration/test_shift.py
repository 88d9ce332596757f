"""Formula 2: promises about the next shift and about every shift."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from andon.calibration.promise import allowance
from andon.calibration.shift import (
    every_shift_parts_needed,
    every_shift_rate,
    every_shift_rejects,
    fewest_rejects,
    shift_allowance,
    shift_confidence,
    shift_parts_needed,
)
from andon.foundation.errors import ConfigError, NotEnoughParts


@pytest.mark.parametrize(
    ("n", "parts", "rejects", "above", "confidence"),
    [
        (1000, 5000, 20, 0, 0.978415),
        (767, 5000, 20, 0, 0.950342),
        (1000, 1000, 20, 10, 0.965705),
        (10_000, 5000, 20, 24, 0.956819),
    ],
)
def test_the_shift_promise_agrees_with_the_worked_examples(
    n: int, parts: int, rejects: int, above: int, confidence: float
) -> None:
    assert shift_allowance(n, parts, rejects) == above
    assert shift_confidence(n, above, parts, rejects) == pytest.approx(confidence, abs=1e-6)


@pytest.mark.parametrize(
    ("parts", "rejects", "by_confidence", "by_above"),
    [
        (200, 2, (230, 342, 725), (602, 854, 1595)),
        (500, 5, (233, 323, 575), (541, 747, 1340)),
        (1000, 0, (9000, 19_001, 99_000), (38_495, 57_990, 116_478)),
        (1000, 10, (232, 312, 518), (511, 693, 1211)),
        (1000, 20, (115, 152, 243), (246, 330, 566)),
        (5000, 5, (2338, 3237, 5770), (5430, 7488, 13_429)),
        (5000, 20, (579, 766, 1224), (1234, 1658, 2842)),
        (5000, 50, (230, 301, 471), (481, 642, 1085)),
        (20_000, 20, (2317, 3066, 4902), (4940, 6638, 11_375)),
    ],
)
def test_the_parts_needed_for_a_shift_agree_with_the_table(
    parts: int, rejects: int, by_confidence: tuple[int, ...], by_above: tuple[int, ...]
) -> None:
    assert tuple(shift_parts_needed(parts, rejects, c) for c in (0.90, 0.95, 0.99)) == by_confidence
    assert tuple(shift_parts_needed(parts, rejects, 0.95, above) for above in (1, 2, 5)) == by_above


def test_the_promise_about_every_shift_agrees_with_the_worked_example() -> None:
    assert every_shift_rate(5000, 20, 0.95) == pytest.approx(0.00281608, abs=1e-8)
    assert every_shift_rate(5000, 20, 0.99) == pytest.approx(0.00236695, abs=1e-8)
    assert every_shift_parts_needed(5000, 20, 0.95) == 1063
    assert every_shift_parts_needed(5000, 20, 0.99) == 1265


@given(n=st.integers(1, 2000), above=st.integers(0, 30), parts=st.integers(1, 2000), rejects=st.integers(0, 100))
def test_the_confidence_agrees_with_scipy(n: int, above: int, parts: int, rejects: int) -> None:
    above = min(above, n - 1)

    expected = float(betabinom.cdf(rejects, parts, above + 1, n - above))

    assert shift_confidence(n, above, parts, rejects) == pytest.approx(expected, abs=1e-8)


@given(n=st.integers(1, 5000), parts=st.integers(1, 5000), rejects=st.integers(0, 50))
def test_without_a_part_above_the_confidence_is_a_product_of_fractions(n: int, parts: int, rejects: int) -> None:
    rejects = min(rejects, parts - 1)
    exceeds = 1.0
    for count in range(rejects + 1):
        exceeds *= (parts - count) / (n + parts - count)

    assert shift_confidence(n, 0, parts, rejects) == pytest.approx(1 - exceeds, abs=1e-8)


@given(
    n=st.integers(2, 3000),
    parts=st.integers(2, 3000),
    rejects=st.integers(0, 40),
    confidence=st.floats(0.5, 0.99),
)
def test_the_allowance_is_the_largest_that_keeps_the_promise(
    n: int, parts: int, rejects: int, confidence: float
) -> None:
    rejects = min(rejects, parts - 1)
    if shift_parts_needed(parts, rejects, confidence) > n:
        with pytest.raises(NotEnoughParts) as refusal:
            shift_allowance(n, parts, rejects, confidence)
        offered = re.search(r"--shift-rejects (\d+)\.$", str(refusal.value))
        if offered:
            assert shift_allowance(n, parts, int(offered[1]), confidence) >= 0
            assert shift_confidence(n, 0, parts, int(offered[1]) - 1) < confidence
        return

    above = shift_allowance(n, parts, rejects, confidence)

    assert shift_confidence(n, above, parts, rejects) >= confidence
    assert above + 1 == n or shift_confidence(n, above + 1, parts, rejects) < confidence


@given(n=st.integers(20, 3000), parts=st.integers(1, 3000))
def test_more_calibration_parts_never_promise_more_rejects(n: int, parts: int) -> None:
    assert fewest_rejects(n, parts, 0.95) >= fewest_rejects(n + 1, parts, 0.95)
    assert every_shift_rejects(n, parts, 0.9) >= every_shift_rejects(n + 100, parts, 0.9)


def test_the_promise_about_every_shift_needs_more_parts_than_the_one_about_the_next() -> None:
    for parts, rejects in ((200, 2), (1000, 10), (5000, 20)):
        assert every_shift_parts_needed(parts, rejects, 0.95) > shift_parts_needed(parts, rejects)


@pytest.mark.parametrize(("n", "parts", "rejects"), [(767, 5000, 20), (1000, 1000, 20), (400, 200, 2)])
def test_simulated_shifts_exceed_the_limit_as_often_as_the_formula_says(n: int, parts: int, rejects: int) -> None:
    repetitions = 2000
    rng = np.random.default_rng(n + parts)
    above = shift_allowance(n, parts, rejects)
    rates = 1 - np.sort(rng.random((repetitions, n)), axis=1)[:, n - 1 - above]
    failures = int((rng.binomial(parts, rates) > rejects).sum())

    exact = 1 - shift_confidence(n, above, parts, rejects)
    assert binom.ppf(0.001, repetitions, exact) <= failures <= binom.ppf(0.999, repetitions, exact)


def test_a_promise_about_every_shift_is_kept_by_the_share_of_shifts_in_most_simulated_calibrations() -> None:
    parts, rejects, share, n, repetitions = 500, 5, 0.9, 1200, 2000
    rate = every_shift_rate(parts, rejects, share)
    above = allowance(n, rate)
    rates = 1 - np.sort(np.random.default_rng(1).random((repetitions, n)), axis=1)[:, n - 1 - above]
    broken = int((binom.cdf(rejects, parts, rates) < share).sum())

    exact = float(binom.cdf(above, n, rate))
    assert binom.ppf(0.001, repetitions, exact) <= broken <= binom.ppf(0.999, repetitions, exact)


def test_a_refusal_names_the_parts_needed_and_the_rejects_that_are_supported() -> None:
    with pytest.raises(NotEnoughParts) as refusal:
        shift_allowance(62, 500, 5)

    assert str(refusal.value) == (
        "at most 5 rejects in the next 500 good parts, at 95 % confidence: expected at least 323 independent good calibration "
        "parts, got 62. 62 calibration parts support at most 25 rejects: --shift-rejects 25."
    )


@pytest.mark.parametrize(("parts", "rejects"), [(0, 0), (10, 10), (10, -1), (10**8, 0)])
def test_a_shift_that_makes_no_statement_is_refused(parts: int, rejects: int) -> None:
    with pytest.raises(ConfigError, match="of a shift: expected an integer"):
        shift_parts_needed(parts, rejects)
