"""The histogram of scores of training parts and of other parts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.in_memory import Parts
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.runtime.schema import FrameSpec, ScoreRule
from andon.training.observers.score_histogram import MOST_PARTS, draw, score_histogram
from andon.training.observers.watching import Labelled

HERE = torch.device("cpu")
SPEC, RULE = FrameSpec(channels=1, size=(8, 8)), ScoreRule(score="bright")


class Bright(nn.Module):
    """A scorer that gives the mean brightness and counts the items it got."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor, self.asked = factor, 0

    def forward(self, prepared: Tensor) -> Evidence:
        self.asked += len(prepared)
        return Evidence({}, {"bright": self.factor * prepared.mean(dim=(1, 2, 3))})


def drawn(scorer: nn.Module, path: Path, *, train: int = 9, validation: int = 7, watched: bool = False) -> bool:
    good = Parts(torch.rand(train, 1, 8, 8), torch.rand(validation, 1, 8, 8))
    labelled = Labelled(torch.rand(5, 1, 8, 8), ("good", "good", "scratch", "scratch", "stain")) if watched else None
    return draw(scorer, good, labelled, path, spec=SPEC, score_rule=RULE, device=HERE)


def test_learnt_held_out_and_watched_parts_are_drawn_some_of_each(tmp_path: Path) -> None:
    scorer = Bright().train()

    assert drawn(scorer, tmp_path / "scores.png", train=MOST_PARTS + 50, watched=True)

    assert (tmp_path / "scores.png").stat().st_size > 1000
    assert scorer.asked == MOST_PARTS + 7 + 5
    assert scorer.training


@pytest.mark.parametrize("count", [0, 7])
def test_nothing_to_compare_or_a_score_that_is_no_number_gives_no_picture(tmp_path: Path, count: int) -> None:
    assert not drawn(Bright(float("nan") if count else 1.0), tmp_path / "scores.png", validation=count)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tail", [1.0, 1000.0])
def test_each_is_named_with_its_number_on_an_axis_that_says_its_scale(tail: float) -> None:
    random = np.random.default_rng(0)
    scores = {"good, training": random.uniform(1, 2, 60), "defective, watched": tail * random.uniform(1, 2, 2)}

    figure = score_histogram(scores, unit="part")

    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "good, training: 60 parts", "defective, watched: 2 parts",
    ]  # fmt: skip
    assert ("logarithmic" in axes.get_xlabel()) is (tail > 1)
