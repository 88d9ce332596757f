"""The benchmarks of promises on real scores: they count broken promises and refusals correctly."""

import numpy as np
import pytest
from benchmarks.promise_on_mnist import chance_of_breaking, resampled
from benchmarks.promise_on_real_scores import Draws, blocks, other_parts, parts_in_order, random_parts, window_row
from scipy.stats import binom

from andon.calibration.promise import allowance


@pytest.mark.parametrize(("n", "alpha"), [(14, 0.2), (59, 0.05), (100, 0.05)])
def test_broken_promises_of_random_calibrations_agree_with_the_exact_chance(n: int, alpha: float) -> None:
    scores = np.random.default_rng(2).lognormal(size=400)

    shares = resampled(scores, n, alpha, 400, np.random.default_rng(3))

    broken = int((shares.promise > alpha).sum())
    chance = chance_of_breaking(n, allowance(n, alpha), alpha, 400 - n)
    assert binom.ppf(0.0005, 400, chance) <= broken <= binom.ppf(0.9995, 400, chance)
    assert int((shares.quantile > alpha).sum()) > 2 * broken


def test_sorted_scores_break_promises_in_order_but_not_at_random() -> None:
    scores = np.arange(1.0, 501.0)
    draws = Draws(50, np.random.default_rng(1), ((59, 0.05),))

    (in_order,) = parts_in_order("sorted", scores, draws)
    (random,) = random_parts("sorted", scores, draws)

    assert in_order["broken"] >= 40
    assert random["broken"] <= random["99_percent_interval"][1]


def test_another_folder_with_higher_scores_breaks_every_promise() -> None:
    scores = np.random.default_rng(1).random(200)

    (row,) = other_parts("moved", scores, scores + 1, Draws(20, np.random.default_rng(1), ((59, 0.05),)))

    assert (row["broken"], row["audited"]) == (20, 200)


def test_each_calibration_on_windows_is_promised_or_refused_for_one_reason() -> None:
    rng = np.random.default_rng(1)
    steady = [([rng.random(600)], rng.random(600)) for _ in range(10)]
    drifting = [([rng.random(600) + np.linspace(0, 3, 600)], rng.random(600) + 3) for _ in range(5)]
    short = [([np.repeat(rng.random(30), 10)], rng.random(300)) for _ in range(3)]

    row = window_row("drawn", "drawn", 0.05, [*steady, *drifting])
    few = window_row("drawn", "drawn", 0.05, short)

    assert row["promised"] + row["drifting"] + row["too_few"] == row["calibrations"] == 15
    assert row["naive"] >= 5  # without the checks, the drifting records break their promise
    assert row["drifting"] + row["too_few"] >= 5
    assert row["broken"] <= 2
    assert (few["too_few"], few["promised"]) == (3, 0)


def test_blocks_are_checked_on_the_windows_that_follow() -> None:
    series = np.concatenate([np.random.default_rng(1).random(300), np.random.default_rng(2).random(300) + 5])

    rows = list(blocks("step", series, (300,), Draws(4, np.random.default_rng(1))))

    assert [row["naive"] for row in rows] == [4, 4]
