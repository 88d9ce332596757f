"""Formula 12: implausible moves of a threshold, by ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.calibration.move import tail_probability, threshold_move
from andon.foundation.errors import CalibrationError


@pytest.mark.parametrize(
    ("n_new", "n_old", "above", "smallest"), [(620, 620, 1, 17), (1000, 1000, 4, 24), (3000, 620, 1, 62)]
)
def test_the_smallest_implausible_number_agrees_with_the_worked_examples(
    n_new: int, n_old: int, above: int, smallest: int
) -> None:
    assert tail_probability(smallest, n_new, n_old, above) < 1e-4 <= tail_probability(smallest - 1, n_new, n_old, above)


def test_clean_recalibrations_are_almost_never_implausible() -> None:
    rng = np.random.default_rng(0)
    moves = [
        threshold_move(rng.standard_t(2, 300), rng.standard_t(2, 400), above_old=0, above_new=1) for _ in range(300)
    ]

    assert sum(move.implausible for move in moves) <= 2
    assert np.mean([move.p < 0.05 for move in moves]) < 6 * 0.05 + 0.05


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_wholesale_shift_in_either_direction_is_implausible(shift: float) -> None:
    rng = np.random.default_rng(1)
    move = threshold_move(rng.normal(0, 1, 600), rng.normal(shift, 1, 600), above_old=1, above_new=1)

    assert move.implausible
    assert np.sign(move.median_shift) == np.sign(shift)


def test_bad_parts_among_the_new_ones_are_implausible() -> None:
    rng = np.random.default_rng(2)
    new = np.concatenate([rng.normal(0, 1, 580), rng.normal(8, 1, 20)])

    move = threshold_move(rng.normal(0, 1, 600), new, above_old=1, above_new=1)

    assert move.implausible
    assert move.above_before >= 20
    assert abs(move.median_shift) < 0.1


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_only_ranks_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.normal(0, 1, 60), rng.normal(0.5, 2, 80)

    plain = threshold_move(old, new, above_old=2, above_new=3)
    curved = threshold_move(np.exp(old), np.exp(new), above_old=2, above_new=3)

    assert (plain.p, plain.above_before, plain.above_after) == (curved.p, curved.above_before, curved.above_after)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CalibrationError, match="expected at least one finite score"):
        threshold_move([1.0, float("inf")], [1.0], above_old=0, above_new=0)
