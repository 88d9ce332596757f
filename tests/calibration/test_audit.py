"""Formula 4: audits of a running threshold, for one look and for any number of looks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.integrate import quad
from scipy.stats import beta, binom

from andon.calibration.audit import (
    Looks,
    anytime_bounds,
    audit,
    clopper_pearson,
    exceeds_promise,
    log_e_confirmed,
    log_e_violated,
    p_violated,
    parts_to_confirm,
)
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import Calibration


def test_the_bounds_of_12_in_1000_agree_with_the_worked_example() -> None:
    lower, upper = clopper_pearson(12, 1000)

    assert upper == pytest.approx(0.01937020, abs=1e-8)
    assert lower == pytest.approx(0.00693839, abs=1e-8)


def test_the_e_values_agree_with_the_worked_examples() -> None:
    assert log_e_violated(25, 1000, 0.01) == pytest.approx(4.405888, abs=1e-6)
    assert log_e_confirmed(0, 400, 0.01) == pytest.approx(3.199647, abs=1e-6)
    assert log_e_confirmed(0, 377, 0.01) == pytest.approx(2.996743, abs=1e-6)
    assert log_e_confirmed(0, 376, 0.01) < math.log(20) <= log_e_confirmed(0, 377, 0.01)


@pytest.mark.parametrize(
    ("looks", "parts"), [("once", [299, 473, 628, 1049, 1693]), ("anytime", [377, 663, 883, 1436, 2233])]
)
def test_the_parts_that_confirm_agree_with_the_table(looks: Looks, parts: list[int]) -> None:
    assert [parts_to_confirm(rejects, 0.01, looks=looks) for rejects in (0, 1, 2, 5, 10)] == parts


def test_the_upper_bounds_agree_with_the_table() -> None:
    counts = [(0, 300), (0, 1000), (5, 1000), (38, 5000)]

    exact = [100 * clopper_pearson(rejects, parts).upper for rejects, parts in counts]
    anytime = [100 * anytime_bounds(rejects, parts).upper for rejects, parts in counts]

    assert exact == pytest.approx([0.993608, 0.299124, 1.048408, 0.994992], abs=2e-6)
    assert anytime == pytest.approx([1.254619, 0.378103, 1.433792, 1.207084], abs=1e-6)


def fewest_that_raise(looks: list[int], alpha: float) -> list[int]:
    """Return the smallest number of rejects that raises the alarm at each look, with e-values."""
    limits, rejects = [], 0
    for parts in looks:
        while rejects <= parts and log_e_violated(rejects, parts, alpha) < math.log(20):
            rejects += 1
        limits.append(rejects)
    return limits


def test_the_rejects_that_raise_the_alarm_agree_with_the_table() -> None:
    looks = [50, 100, 200, 500, 1000, 2000, 5000]

    assert fewest_that_raise(looks, 0.01) == [5, 6, 9, 15, 24, 39, 80]
    assert [audit(x, n, 0.01, looks="anytime").finding for x, n in ((4, 50), (5, 50))] == ["undecided", "violated"]


@pytest.mark.parametrize(("rejects", "parts", "alpha"), [(3, 100, 0.01), (0, 50, 0.05), (9, 200, 0.02), (40, 80, 0.4)])
def test_the_e_values_agree_with_numerical_integration(rejects: int, parts: int, alpha: float) -> None:
    def ratio(rate: float) -> float:
        return (rate / alpha) ** rejects * ((1 - rate) / (1 - alpha)) ** (parts - rejects)

    def weight(angle: float) -> float:  # rate = sin(angle) ** 2 turns Beta(1/2, 1/2) into a uniform distribution
        return ratio(math.sin(angle) ** 2)

    edge = math.asin(math.sqrt(alpha))
    above = quad(weight, edge, math.pi / 2)[0] / (math.pi / 2 - edge)
    below = quad(weight, 0, edge)[0] / edge

    assert log_e_violated(rejects, parts, alpha) == pytest.approx(math.log(above), abs=1e-6)
    assert log_e_confirmed(rejects, parts, alpha) == pytest.approx(math.log(below), abs=1e-6)


@given(parts=st.integers(1, 3000), share=st.floats(0, 1), confidence=st.floats(0.6, 0.999))
def test_the_bounds_enclose_the_observed_share_and_those_for_any_time_are_wider(
    parts: int, share: float, confidence: float
) -> None:
    rejects = round(share * parts)

    once, anytime = clopper_pearson(rejects, parts, confidence), anytime_bounds(rejects, parts, confidence)

    assert 0 <= anytime.lower <= once.lower + 1e-9
    assert once.lower <= rejects / parts <= once.upper
    assert once.upper <= anytime.upper + 1e-9 <= 1 + 1e-9


@settings(max_examples=30)
@given(parts=st.integers(1, 2000), rejects=st.integers(0, 40), alpha=st.floats(0.001, 0.3))
def test_the_finding_agrees_with_the_e_values(parts: int, rejects: int, alpha: float) -> None:
    rejects = min(rejects, parts)

    finding = audit(rejects, parts, alpha, looks="anytime").finding

    up, down = log_e_violated(rejects, parts, alpha), log_e_confirmed(rejects, parts, alpha)
    if abs(up - math.log(20)) > 1e-6 and abs(down - math.log(20)) > 1e-6:
        assert (finding == "violated") == (up >= math.log(20))
        assert (finding == "confirmed") == (down >= math.log(20))


@settings(max_examples=30)
@given(parts=st.integers(1, 2000), rejects=st.integers(0, 30), looks=st.sampled_from(["once", "anytime"]))
def test_the_parts_that_are_offered_decide_it(parts: int, rejects: int, looks: Looks) -> None:
    rejects = min(rejects, parts)
    result = audit(rejects, parts, 0.01, looks=looks)

    if result.parts_in_total is not None:
        assert result.finding == "undecided"
        expected = rejects * result.parts_in_total / parts
        scaled = math.ceil(expected) if rejects / parts <= 0.01 else math.floor(expected)
        assert audit(scaled, result.parts_in_total, 0.01, looks=looks).finding != "undecided"


def test_a_share_exactly_as_promised_is_never_decided() -> None:
    assert audit(5, 500, 0.01) == ("undecided", clopper_pearson(5, 500), None)


@pytest.mark.parametrize("rate", [0.01, 0.03])
def test_the_exact_bounds_cover_the_true_share_in_as_many_counts_as_stated(rate: float) -> None:
    parts = 400
    counts = np.arange(parts + 1)
    mass = binom.pmf(counts, parts, rate)
    bounds = [clopper_pearson(int(count), parts) for count in counts]

    assert mass[[bound.upper < rate for bound in bounds]].sum() <= 0.05
    assert mass[[bound.lower > rate for bound in bounds]].sum() <= 0.05


def test_looking_again_and_again_rarely_raises_a_false_alarm_with_e_values_and_often_with_one_look_bounds() -> None:
    runs, parts, alpha = 1000, 2000, 0.01
    looks = np.arange(1, parts + 1, 10)
    counts = np.cumsum(np.random.default_rng(7).random((runs, parts)) < alpha, axis=1)[:, looks - 1]

    with_e_values = float((counts >= np.array(fewest_that_raise(looks.tolist(), alpha))).any(axis=1).mean())
    with_one_look = float((binom.sf(counts - 1, looks, alpha) < 0.05).any(axis=1).mean())

    assert with_e_values <= 0.05
    assert with_one_look > 0.15


def test_dependent_parts_count_less() -> None:
    assert audit(0, 3000, 0.01, tau=10.0).finding == "confirmed"
    assert audit(0, 2980, 0.01, tau=10.0).finding == "undecided"
    assert audit(0, 5, 0.01, tau=10.0).bounds == (0.0, 1.0)


@pytest.mark.parametrize(("rejects", "parts", "alpha"), [(-1, 10, 0.1), (11, 10, 0.1), (0, 0, 0.1), (0, 10, 0.0)])
def test_counts_that_cannot_be_are_refused(rejects: int, parts: int, alpha: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        audit(rejects, parts, alpha)


@given(parts=st.integers(1, 5000), share=st.floats(0, 0.2))
def test_the_quick_test_of_a_promise_agrees_with_the_audit_at_any_number_of_looks(parts: int, share: float) -> None:
    rejects = min(parts, round(parts * share))
    calibration = Calibration(kind="promise", alpha=0.05, confidence=0.95, n=59, n_eff=59.0, above=0)

    quick = exceeds_promise(rejects, parts, calibration)

    assert quick == (audit(rejects, parts, 0.05, 0.95, looks="anytime").finding == "violated")


def test_dependent_windows_are_worth_less_in_the_quick_test_of_a_promise() -> None:
    calibration = Calibration(kind="promise(n_eff)", alpha=0.05, confidence=0.95, n=590, n_eff=59.0, above=0, tau=10.0)

    assert exceeds_promise(30, 300, replace(calibration, tau=1.0))
    assert not exceeds_promise(30, 300, calibration)


@given(parts=st.integers(1, 2_000_000), share=st.floats(0, 1), confidence=st.floats(0.6, 0.9999))
def test_the_exact_bounds_equal_those_of_scipy(parts: int, share: float, confidence: float) -> None:
    rejects = round(share * parts)

    bounds = clopper_pearson(rejects, parts, confidence)

    lower = beta.ppf(1 - confidence, rejects, parts - rejects + 1) if rejects else 0.0
    upper = beta.ppf(confidence, rejects + 1, parts - rejects) if rejects < parts else 1.0
    assert bounds == pytest.approx((lower, upper), rel=1e-12, abs=1e-300)


@given(parts=st.integers(1, 100_000), share=st.floats(0, 1), alpha=st.floats(0.0001, 0.5))
def test_the_p_value_is_the_chance_of_this_number_of_rejects_or_more(parts: int, share: float, alpha: float) -> None:
    rejects = round(share * parts)

    assert p_violated(rejects, parts, alpha) == pytest.approx(binom.sf(rejects - 1, parts, alpha), rel=1e-9, abs=1e-290)


@settings(max_examples=50)
@given(
    parts=st.integers(1, 5000),
    share=st.floats(0, 0.1),
    looks=st.sampled_from(["once", "anytime"]),
    tau=st.sampled_from([1.0, 3.7]),
)
def test_the_p_value_is_small_exactly_where_the_promise_is_violated(
    parts: int, share: float, looks: Looks, tau: float
) -> None:
    rejects = min(parts, round(parts * share))

    p = p_violated(rejects, parts, 0.02, looks=looks, tau=tau)

    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (audit(rejects, parts, 0.02, looks=looks, tau=tau).finding == "violated")


def test_a_year_of_a_fast_line_can_be_audited() -> None:
    assert audit(900_000, 100_000_000, 0.01).finding == "confirmed"
    assert audit(1_000_000, 100_000_000, 0.01).finding == "undecided"
