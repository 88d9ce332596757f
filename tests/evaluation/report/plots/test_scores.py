"""Pictures of scores, for all kinds of data."""

import math

import numpy as np
import pytest
from tests.evaluation.judged_parts import SHAPES, parts_of

from andon.evaluation.figures.score_arrays import score_arrays
from andon.evaluation.report.plots.scores import _with_tails, histogram, mean_bars

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("shape", SHAPES)
def test_histogram_and_means_can_be_drawn_of(shape: str) -> None:
    parts = score_arrays(parts_of(*SHAPES[shape]))

    made = [histogram(parts, 1.0), mean_bars(parts, 1.0)]

    assert all(picture.png.startswith(PNG) and picture.alt for picture in made)


def test_a_name_beside_a_mean_may_look_like_a_formula_or_be_in_any_script() -> None:
    parts = score_arrays(parts_of([0.1, 0.2], [1.5, 2.0], kind=r"$\frac{1$ 漢字 \udcff" + "x" * 60))

    assert mean_bars(parts, 1.0).png.startswith(PNG)


def test_curves_have_room_to_come_down_but_where_scores_are_clipped() -> None:
    good, bad = np.linspace(0.2, 0.4, 20), np.linspace(0.5, 1.0, 20)

    low, high = _with_tails([good, bad], 0.17, 1.03)
    assert low == pytest.approx(0.2 - 2.5 * good.std() * 20**-0.2)
    assert high == pytest.approx(1.0 + 2.5 * bad.std() * 20**-0.2)
    assert _with_tails([good, bad], 0.2, 1.03)[0] == 0.2
    assert _with_tails([good, bad], 0.17, 1.0)[1] == 1.0
    assert _with_tails([good[:2], bad[:0]], 0.17, 1.03) == (0.17, 1.03)


def test_the_same_scores_give_the_same_histogram() -> None:
    parts = score_arrays(parts_of(*SHAPES["apart"]))

    assert histogram(parts, 1.0) == histogram(parts, 1.0)


def test_a_whisker_without_an_end_on_a_logarithmic_scale_gets_one_and_it_is_told() -> None:
    heavy = mean_bars(score_arrays(parts_of([math.exp(place / 2) for place in range(20)], [1e5, 1e9])), 1.0)
    plain = mean_bars(score_arrays(parts_of([0.1, 0.2], [0.3, 2.0])), 1.0)

    assert "would reach zero ends at the lowest score of its class" in heavy.caption
    assert "lowest" not in plain.caption
