"""Scores as arrays: ranges, curves, class scores and recalls for all kinds of data."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.judged_parts import parts_of

from andon.evaluation.figures.score_arrays import class_scores, recalls, score_arrays, score_range, smoothed

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, max_size=40), finite)
def test_a_histogram_shows_its_threshold_and_counts_what_it_leaves_out(some: list[float], threshold: float) -> None:
    values = np.array(some, np.float64)

    shown = score_range(values, threshold)

    assert shown.low < shown.high
    assert shown.low <= threshold <= shown.high
    outside = int(((values < shown.low) | (values > shown.high)).sum())
    told = sum(int(word) for word in shown.clipped.split() if word.isdigit())
    assert (outside > 0) == bool(shown.clipped)
    assert told >= outside


def test_an_outlier_does_not_press_all_others_into_one_bin() -> None:
    shown = score_range(np.append(np.linspace(-1, 1, 1_000), 5_000.0), 1.2)

    assert shown.high < 10
    assert shown.clipped == "1 score is above the range shown (highest 5000), counted in the outermost bin."


def test_heavy_tails_go_on_a_logarithmic_scale_and_others_do_not() -> None:
    assert score_range(np.exp(np.linspace(0, 10, 200)), 5.0).log
    assert not score_range(np.linspace(1, 10, 200), 5.0).log
    assert not score_range(np.append(-1.0, np.exp(np.linspace(0, 10, 200))), 5.0).log


def test_a_smoothed_curve_has_area_one_and_needs_three_values_that_differ() -> None:
    generator = np.random.default_rng(0)
    grid = np.linspace(-10, 10, 2_001)
    for values in (generator.normal(size=50), generator.normal(size=20_000)):
        curve = smoothed(values, grid)
        assert curve is not None
        assert float(np.trapezoid(curve, grid)) == pytest.approx(1, abs=1e-3)

    assert smoothed(np.array([1.0, 2.0]), grid) is None
    assert smoothed(np.full(9, 0.1), grid) is None


def test_means_and_spreads_are_by_class_and_by_type() -> None:
    judged = parts_of([1.0, 3.0], [5.0, 7.0]) + parts_of([], [9.0], kind="stain")

    found = {one.kind: (one.n, one.mean, one.sd) for one in class_scores(score_arrays(judged))}

    assert list(found) == ["good", "all defects", "scratch", "stain"]
    assert found["good"][:2] == (2, 2.0)
    assert found["good"][2] == pytest.approx(math.sqrt(2))
    assert found["all defects"][:2] == (3, 7.0)
    assert math.isnan(found["stain"][2])


def test_types_are_listed_as_people_count() -> None:
    judged = [one for kind in ("type1", "type10", "type2") for one in parts_of([], [2.0], kind=kind)]
    parts = score_arrays([*parts_of([0.1], []), *judged])

    assert [one.kind for one in recalls(parts)] == ["type1", "type2", "type10"]
    assert [one.kind for one in class_scores(parts)][2:] == ["type1", "type2", "type10"]
