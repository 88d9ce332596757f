"""The baseline for windows: the largest shift of a channel's mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.in_memory import Here, Parts

from andon.evaluation.figures.window_mean import window_mean
from andon.runtime.schema import Channel, WindowSpec
from andon.training.detectors.window_mean import Settings, WindowMean, fit

SPEC = WindowSpec(steps=4, hop=1, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))


def learnt(train: torch.Tensor) -> WindowMean:
    scorer = WindowMean(SPEC)
    fit(scorer, Parts(train, torch.empty(0)), Settings(steps=4, hop=1), Here())
    return scorer


def test_its_score_is_the_largest_distance_of_a_mean_and_its_map_names_the_channel() -> None:
    scorer = learnt(torch.full((5, 4, 2), 1.0))
    window = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [2.0, 0.0]]])

    evidence = scorer(window)

    assert evidence.scores["shift"].tolist() == [1.0]
    assert evidence.maps["distances"][0].tolist() == [[0.5, 1.0]] * 4


@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    generator = np.random.default_rng(seed)
    window = torch.from_numpy(generator.normal(size=(1, 4, 2))).float()
    scorer = learnt(torch.from_numpy(generator.normal(size=(9, 4, 2))).float())

    shuffled = window[:, generator.permutation(4).tolist()]

    assert scorer(shuffled).scores["shift"].tolist() == pytest.approx(scorer(window).scores["shift"].tolist(), rel=1e-5)


@given(seed=st.integers(0, 1000))
def test_the_evaluation_computes_the_same_baseline_from_the_model_file(seed: int) -> None:
    generator = np.random.default_rng(seed)
    window = generator.normal(size=(4, 2)).astype(np.float32)
    scorer = learnt(torch.zeros(3, 4, 2))  # the training mean is the centre of the channel

    by_detector = float(scorer(torch.from_numpy(window)[None]).scores["shift"])

    assert window_mean(window, SPEC) == pytest.approx(by_detector, rel=1e-5)
