"""Effects of chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from andon.evaluation.figures.chance import random_dummy, within_promise


def test_the_dummy_catches_what_random_rejection_catches() -> None:
    rng = np.random.default_rng(0)
    chances = [1, 3, 10, 40]
    caught = [sum(bool((rng.random(k) < 0.05).any()) for k in chances) for _ in range(20_000)]

    assert random_dummy(chances, 0.05) == pytest.approx(np.mean(caught), abs=0.03)


def test_the_dummy_has_no_chance_at_a_fault_without_windows() -> None:
    assert random_dummy([0, 0], 0.05) == 0.0
    assert random_dummy([], 0.05) == 0.0


@given(good=st.integers(0, 5000), alpha=st.sampled_from([0.001, 0.01, 0.05]))
def test_within_promise_accepts_99_of_100_and_is_no_wider_than_that(good: int, alpha: float) -> None:
    most = next(k for k in range(good + 1) if k == good or not within_promise(k + 1, good, alpha))

    assert binom.cdf(most, good, alpha) >= 0.99
    assert most == 0 or binom.cdf(most - 1, good, alpha) < 0.99
