"""Combination of several scores into one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.in_memory import Rows

from andon.foundation.errors import DataError, TrainingError
from andon.training.nets.surprise import Combination, scores_over


def learnt(*columns: torch.Tensor) -> Combination:
    combination = Combination([str(place) for place in range(len(columns))])
    combination.fit({str(place): column for place, column in enumerate(columns)})
    return combination


def surprise(combination: Combination, values: torch.Tensor) -> torch.Tensor:
    return combination.surprise({"0": values})[:, 0]


good_scores = st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=300).map(torch.tensor)
asked_scores = st.lists(st.floats(-1e5, 1e5, width=32), min_size=2, max_size=50).map(torch.tensor)


@given(good_scores, asked_scores)
def test_a_higher_score_is_never_less_surprising(good: torch.Tensor, asked: torch.Tensor) -> None:
    answers = surprise(learnt(good), asked.sort().values)

    assert answers.isfinite().all()
    assert (answers.diff() >= -1e-5 * answers[1:].abs()).all()


@given(good_scores)
def test_nothing_below_the_lowest_good_score_is_surprising(good: torch.Tensor) -> None:
    assert surprise(learnt(good), good.min() - torch.tensor([0.0, 1.0, 100.0])).tolist() == [0, 0, 0]


def test_within_good_scores_it_is_minus_the_logarithm_of_the_share_that_scores_at_least_this() -> None:
    good = torch.distributions.Gamma(3.0, 1.0).sample((2000,))
    asked = good.quantile(torch.tensor([0.1, 0.5, 0.9]))

    share = torch.stack([(good >= value).float().mean() for value in asked])

    assert surprise(learnt(good), asked) == pytest.approx(-share.log(), abs=0.02)


def test_the_tail_of_exponential_scores_is_theirs() -> None:
    good = torch.from_numpy(np.random.default_rng(0).exponential(2.0, 40_000))
    asked = torch.tensor([4.0, 10.0, 40.0])

    assert surprise(learnt(good), asked) == pytest.approx(asked / 2.0, rel=0.05)


@given(st.floats(0.01, 100), st.floats(-20, 20))
def test_the_unit_and_the_zero_of_a_score_do_not_matter(unit: float, zero: float) -> None:
    good = torch.from_numpy(np.random.default_rng(1).gamma(2.0, 5.0, 200))
    asked = torch.tensor([2.0, 10.0, 30.0, 60.0])

    here, there = surprise(learnt(good), asked), surprise(learnt(unit * (good + zero)), unit * (asked + zero))

    assert here == pytest.approx(there, rel=1e-2)


def test_the_most_surprising_score_decides() -> None:
    combination = learnt(torch.arange(100.0), 1000 * torch.arange(100.0))
    scores = {"0": torch.tensor([150.0, 50.0, 50.0]), "1": torch.tensor([50e3, 150e3, 50e3])}

    combined = combination(scores)

    assert torch.equal(combined, combination.surprise(scores).amax(dim=1))
    assert combined[0] == pytest.approx(combined[1])
    assert combined[2] == pytest.approx(math.log(2), abs=0.02)


def test_few_good_parts_give_the_tail_half_of_them() -> None:
    combination = learnt(torch.tensor([0.0, 1.0, 2.0, 4.0]))

    slopes = combination.get_buffer("slope")[0]

    assert slopes[-1] == pytest.approx(1 / ((2.0 + 4.0) / 2 - 1.0))


def test_a_score_that_is_always_the_same_is_surprising_once_it_is_not() -> None:
    combination = learnt(torch.full((50,), 7.0))

    assert surprise(combination, torch.tensor([7.0, 7.007, 8.0])) == pytest.approx([0.0, 1.0, 1000 / 7], rel=1e-2)


def test_before_it_has_learnt_it_is_the_largest_score() -> None:
    combination = Combination(["a", "b"])

    assert combination({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([3.0, 2.0])}).tolist() == [3, 5]


def test_one_good_part_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 good parts for validation, got 1"):
        learnt(torch.tensor([1.0]))


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(TrainingError, match="the score 0 is not finite for 1 of 3 good parts"):
        learnt(torch.tensor([1.0, math.nan, 2.0]))


def test_scores_over_a_part_come_in_its_order() -> None:
    part = Rows(torch.arange(600.0).reshape(600, 1, 1))

    scores = scores_over(lambda batch: {"sum": batch.sum(dim=(1, 2))}, part, torch.device("cpu"))

    assert torch.equal(scores["sum"], torch.arange(600.0))


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(DataError, match="validation set is empty"):
        scores_over(lambda batch: {"sum": batch.sum()}, Rows(torch.zeros(0, 1, 1)), torch.device("cpu"))


def test_a_score_that_was_always_zero_stays_finite() -> None:
    assert surprise(learnt(torch.zeros(30)), torch.tensor([0.0, 1e6])).isfinite().all()


def test_scores_that_differ_by_rounding_alone_share_a_surprise() -> None:
    generator = torch.Generator().manual_seed(0)
    jitter = 1 + 3e-7 * torch.rand(400, generator=generator)
    good = torch.cat([0.1 * jitter[:300], 1 + torch.rand(100, generator=generator)])
    combination = Combination(("one",))
    combination.fit({"one": good})

    surprises = combination({"one": torch.tensor([0.1, 0.1 * (1 + 1e-7), 0.1 * (1 + 3e-7)])})

    assert float(surprises.max() - surprises.min()) < 1e-5
