"""Formula 1, compared with worked examples, its mathematical properties and simulation."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binom, lognorm, poisson

from andon.calibration.promise import (
    LADDER,
    allowance,
    expected_rate,
    ladder_alpha,
    parts_needed,
    refusal_of_kept_back,
    strongest,
)
from andon.calibration.split import calibration_count, split
from andon.foundation.errors import ConfigError, NotEnoughParts
from andon.runtime.items import Ref

Draws = NDArray[Any]

alphas = st.floats(1e-4, 0.5)
confidences = st.floats(0.5, 0.999)


def attained_confidence(n: int, above: int, alpha: float) -> float:
    """Return the probability that a threshold with `above` of n good parts above it rejects at most a share alpha."""
    return float(binom.sf(above, n, alpha))


@pytest.mark.parametrize(
    ("n", "alpha", "confidence", "above", "attained"),
    [
        (59, 0.05, 0.95, 0, 0.951505),
        (300, 0.01, 0.95, 0, 0.950959),
        (600, 0.01, 0.95, 1, 0.983019),
        (620, 0.01, 0.95, 1, 0.985714),
        (1000, 0.01, 0.95, 4, 0.971314),
        (1000, 0.05, 0.95, 38, 0.956652),
        (10_000, 0.001, 0.95, 4, 0.970804),
        (10_000, 0.01, 0.99, 77, 0.990285),
    ],
)
def test_the_allowance_agrees_with_the_worked_examples(
    n: int, alpha: float, confidence: float, above: int, attained: float
) -> None:
    assert allowance(n, alpha, confidence) == above
    assert attained_confidence(n, above, alpha) == pytest.approx(attained, abs=1e-6)


@pytest.mark.parametrize(("confidence", "alpha"), [(0.90, 0.03645729), (0.95, 0.04716951), (0.99, 0.07158546)])
def test_the_strongest_promise_of_62_parts_agrees_with_the_worked_example(confidence: float, alpha: float) -> None:
    assert strongest(62, confidence) == pytest.approx(alpha, abs=1e-8)


def test_58_parts_are_refused_a_promise_that_59_carry() -> None:
    with pytest.raises(NotEnoughParts, match="needs 59 good calibration parts, got 58"):
        allowance(58, 0.05)


def test_the_threshold_of_scores_1_to_100_is_99() -> None:
    ascending = np.arange(1, 101)
    above = allowance(100, 0.05)

    assert above == 1
    assert ascending[100 - 1 - above] == 99
    assert binom.cdf(above, 100, 0.05) == pytest.approx(0.037081, abs=1e-6)


def test_600_parts_reject_a_third_of_a_percent_on_average_under_a_one_percent_promise() -> None:
    assert expected_rate(600, 1) == pytest.approx(0.00332779, abs=1e-8)


@pytest.mark.parametrize(
    ("confidence", "aboves", "table"),
    [
        (
            0.90,
            (0, 1, 2, 5),
            {
                0.1: (22, 38, 52, 91),
                0.05: (45, 77, 105, 184),
                0.02: (114, 194, 265, 462),
                0.01: (230, 388, 531, 926),
                0.005: (460, 777, 1063, 1853),
                0.002: (1151, 1944, 2660, 4636),
                0.001: (2302, 3889, 5321, 9273),
                0.0001: (23025, 38896, 53222, 92745),
            },
        ),
        (
            0.95,
            (0, 1, 2, 5, 10),
            {
                0.1: (29, 46, 61, 103, 167),
                0.05: (59, 93, 124, 208, 336),
                0.02: (149, 236, 313, 523, 845),
                0.01: (299, 473, 628, 1049, 1693),
                0.005: (598, 947, 1258, 2100, 3389),
                0.002: (1497, 2371, 3146, 5254, 8478),
                0.001: (2995, 4742, 6294, 10511, 16959),
                0.0001: (29956, 47437, 62956, 105128, 169619),
            },
        ),
        (
            0.99,
            (0, 1, 2, 5),
            {
                0.1: (44, 64, 81, 127),
                0.05: (90, 130, 165, 259),
                0.02: (228, 330, 418, 652),
                0.01: (459, 662, 838, 1307),
                0.005: (919, 1325, 1678, 2618),
                0.002: (2301, 3317, 4200, 6551),
                0.001: (4603, 6636, 8403, 13105),
                0.0001: (46050, 66381, 84057, 131081),
            },
        ),
    ],
)
def test_the_parts_needed_agree_with_the_table(
    confidence: float, aboves: tuple[int, ...], table: dict[float, tuple[int, ...]]
) -> None:
    for alpha, expected in table.items():
        assert tuple(parts_needed(alpha, confidence, above) for above in aboves) == expected


@given(alpha=alphas, confidence=confidences, above=st.integers(0, 8))
def test_the_parts_needed_are_the_fewest_that_are_allowed_so_many_above(
    alpha: float, confidence: float, above: int
) -> None:
    need = parts_needed(alpha, confidence, above)

    assert allowance(need, alpha, confidence) >= above
    if need > above + 1:
        assert attained_confidence(need - 1, above, alpha) <= confidence + 1e-12


@given(n=st.integers(1, 20_000), alpha=alphas, confidence=confidences)
def test_the_allowance_is_the_largest_that_holds(n: int, alpha: float, confidence: float) -> None:
    try:
        above = allowance(n, alpha, confidence)
    except NotEnoughParts:
        assert parts_needed(alpha, confidence) > n
    else:
        assert attained_confidence(n, above, alpha) >= confidence - 1e-12
        if above + 1 < n:
            assert attained_confidence(n, above + 1, alpha) <= confidence + 1e-12
        assert float(beta.ppf(confidence, above + 1, n - above)) <= alpha * (1 + 1e-9)


@given(n=st.integers(1, 100_000), confidence=confidences)
def test_the_strongest_promise_is_carried_and_nothing_stronger_is(n: int, confidence: float) -> None:
    alpha = strongest(n, confidence)

    assert parts_needed(alpha, confidence) <= n
    assert parts_needed(alpha * (1 - 1e-9), confidence) > n


@given(n=st.integers(1, 3000), confidence=st.sampled_from([0.9, 0.95, 0.99, 0.9999]))
def test_a_refusal_offers_a_promise_that_the_parts_can_carry(n: int, confidence: float) -> None:
    with pytest.raises(NotEnoughParts) as refusal:
        allowance(n, 1e-4, confidence)
    offered = re.search(r"--false-reject (0\.\d+)\.$", str(refusal.value))

    assert offered is not None
    assert parts_needed(float(offered[1]), confidence) <= n


def test_a_refusal_says_how_many_to_collect_and_what_two_odd_ones_cost() -> None:
    with pytest.raises(NotEnoughParts) as refusal:
        allowance(62, 0.01)

    assert str(refusal.value) == (
        "a false-reject rate of 1 % at 95 % confidence needs 299 good calibration parts, got 62. Collect 237 more "
        "(628 parts in total make the threshold robust to two outliers), or promise --false-reject 0.0472."
    )


def test_a_refusal_of_dependent_windows_counts_in_independent_ones() -> None:
    with pytest.raises(NotEnoughParts) as refusal:
        allowance(600, 0.05, n_eff=34, unit="window")

    assert str(refusal.value) == (
        "a false-reject rate of 5 % at 95 % confidence needs 59 independent good calibration windows, got 600 that count as 34. "
        "Collect about 442 more (about 2189 windows in total make the threshold robust to two outliers), or promise "
        "--false-reject 0.0844."
    )


@pytest.mark.parametrize(("n", "n_eff"), [(0, None), (5, 0)])
def test_nothing_is_offered_to_those_who_have_no_part(n: int, n_eff: int | None) -> None:
    with pytest.raises(NotEnoughParts, match=r"needs 59 (independent )?good calibration parts") as refusal:
        allowance(n, 0.05, n_eff=n_eff)

    assert "--false-reject" not in str(refusal.value)


@given(n_eff=st.integers(59, 500), factor=st.integers(1, 50))
def test_the_allowance_of_dependent_scores_is_that_of_the_effective_number_scaled(n_eff: int, factor: int) -> None:
    assert allowance(n_eff * factor, 0.05, n_eff=n_eff) == factor * allowance(n_eff, 0.05)


def test_the_scaled_allowance_is_rounded_down() -> None:
    assert allowance(2000, 0.05, n_eff=667) == (allowance(667, 0.05) * 2000) // 667
    assert allowance(187, 0.05, n_eff=93) == 2  # 1 * 187 / 93 = 2.01


def test_an_effective_number_above_n_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="expected 0 <= n_eff <= n"):
        allowance(100, 0.05, n_eff=101)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_a_rate_that_is_no_fraction_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="fraction between 0 and 1"):
        allowance(100, alpha)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_that_is_no_fraction_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigError, match="confidence: expected a fraction"):
        parts_needed(0.05, confidence)


def test_62_parts_promise_five_percent_if_nothing_is_asked_for() -> None:
    assert ladder_alpha(62) == 0.05


def test_14_parts_are_the_fewest_that_promise_anything() -> None:
    assert (ladder_alpha(14), ladder_alpha(13), ladder_alpha(0)) == (0.2, None, None)


@given(n=st.integers(0, 100_000))
def test_the_ladder_gives_the_smallest_rung_that_the_parts_carry(n: int) -> None:
    carried = [alpha for alpha in LADDER if parts_needed(alpha) <= n]

    assert ladder_alpha(n) == (min(carried) if carried else None)


@pytest.mark.parametrize(("n", "alpha"), [(100, 0.05), (299, 0.01), (600, 0.01), (628, 0.01)])
@pytest.mark.parametrize("scores", ["continuous", "heavy-tailed", "discrete"])
def test_simulated_promises_fail_as_often_as_the_formula_says_and_never_more(n: int, alpha: float, scores: str) -> None:
    repetitions = 2000
    rng = np.random.default_rng(n)
    simulated: dict[str, tuple[Draws, Callable[[Draws], Draws]]] = {
        "continuous": (rng.random((repetitions, n)), lambda t: 1 - t),
        "heavy-tailed": (rng.lognormal(0, 2, (repetitions, n)), lambda t: lognorm.sf(t, 2)),
        "discrete": (rng.poisson(3, (repetitions, n)), lambda t: poisson.sf(t, 3)),
    }
    draws, survival = simulated[scores]
    above = allowance(n, alpha)
    thresholds = np.sort(draws, axis=1)[:, n - 1 - above]
    failures = int((survival(thresholds) > alpha).sum())

    exact = float(binom.cdf(above, n, alpha))  # a saw-tooth in n, not 5 %
    assert failures <= binom.ppf(0.999, repetitions, exact)
    if scores != "discrete":  # ties only make it safer
        assert failures >= binom.ppf(0.001, repetitions, exact)


def test_a_refusal_of_what_a_run_kept_back_counts_photos_and_not_only_the_calibration_share() -> None:
    assert refusal_of_kept_back(149, 18, total=60, share=0.3, alpha=0.02) == (
        "a false-reject rate of 2 % needs 149 calibration parts (at 95 % confidence), got 18. The run kept back 30 % of 60 good "
        "parts for calibration, at least 14. Train again with about 500 good parts, or with about 190 and --calibration-share "
        "0.8, or promise --false-reject 0.154."
    )
    assert "Train again with about 500 good parts, or with --calibration-share 0.78," in refusal_of_kept_back(
        149, 57, total=191, share=0.3, alpha=0.02
    )


@given(
    total=st.integers(16, 3000),
    percent=st.integers(1, 80),
    alpha=st.sampled_from([0.2, 0.1, 0.05, 0.02, 0.01, 0.005]),
    confidence=st.sampled_from([0.9, 0.95, 0.99]),
    seed=st.integers(0, 5),
)
def test_whoever_follows_the_advice_has_enough_calibration_parts(
    total: int, percent: int, alpha: float, confidence: float, seed: int
) -> None:
    share = percent / 100
    have, need = calibration_count(total, share), parts_needed(alpha, confidence)
    assume(have < need)

    told = refusal_of_kept_back(need, have, total=total, share=share, alpha=alpha, confidence=confidence)

    ways = [(int(more), share) for more in re.findall(r"about (\d+) good parts", told)]
    ways += [(total, float(other)) for other in re.findall(r"or with --calibration-share ([\d.]+\d)", told)]
    ways += [(int(n), float(other)) for n, other in re.findall(r"about (\d+) and --calibration-share ([\d.]+\d)", told)]
    assert ways
    for photos, kept in ways:
        refs = [Ref(key=f"{number}.png") for number in range(photos)]
        calibration = split(refs, seed=seed, calibration_share=kept).calibration
        allowance(len(calibration), alpha, confidence)
    offered = re.search(r"--false-reject ([\d.]+)\.$", told)
    assert offered is not None
    allowance(have, float(offered[1]), confidence)
