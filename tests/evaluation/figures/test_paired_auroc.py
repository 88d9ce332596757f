"""AUROC of several detectors on the same pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.evaluation.figures.paired_auroc import PairedAuroc
from andon.evaluation.figures.ranking import auroc
from andon.foundation.errors import DataError

PARTS = st.integers(2, 12)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[dict[str, list[float]], list[bool], list[str]]:
    """Return scores of two detectors, with ties, for good parts and a damaged copy of each."""
    count = draw(PARTS)
    scores = st.lists(st.integers(0, 6).map(float), min_size=2 * count, max_size=2 * count)
    truth = [False, True] * count
    return {"a": draw(scores), "b": draw(scores)}, truth, [str(place // 2) for place in range(2 * count)]


@given(pictures())
def test_the_areas_are_those_of_scikit_learn(case: tuple[dict[str, list[float]], list[bool], list[str]]) -> None:
    scores, truth, parts = case
    found = PairedAuroc(scores, truth, parts, resamples=20)

    for name, values in scores.items():
        assert found.auroc(name) == pytest.approx(auroc(values, truth))


@given(pictures())
def test_the_interval_of_a_difference_changes_its_sign_with_the_order(
    case: tuple[dict[str, list[float]], list[bool], list[str]],
) -> None:
    found = PairedAuroc(*case, resamples=50)
    forward, back = found.difference("a", "b"), found.difference("b", "a")

    assert (forward.low, forward.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert forward.low <= forward.high


@given(pictures())
def test_only_the_order_of_scores_matters(case: tuple[dict[str, list[float]], list[bool], list[str]]) -> None:
    scores, truth, parts = case
    same = {"a": scores["a"], "b": [float(np.exp(value)) for value in scores["a"]]}
    found = PairedAuroc(same, truth, parts, resamples=50)

    assert found.difference("a", "b").low == found.difference("a", "b").high == 0


def test_the_interval_of_equal_detectors_holds_0_in_about_95_of_100_draws() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        own = generator.normal(size=40)  # both detectors see how unusual a part is, and add noise of their own
        truth, parts = np.repeat([False, True], 40), [*map(str, range(40))] * 2
        scores = {name: np.concatenate([own, own + 1]) + generator.normal(size=80) for name in ("a", "b")}
        difference = PairedAuroc(scores, truth, parts, resamples=300, seed=seed).difference("a", "b")
        held += difference.low <= 0 <= difference.high

    assert 0.90 <= held / 200 <= 0.99


def test_a_picture_that_is_infinitely_bad_ranks_above_all_others() -> None:
    found = PairedAuroc({"a": [0.0, 1.0, np.inf, 2.0]}, [False, False, True, True], list("abcd"), resamples=10)

    assert found.auroc("a") == 1.0


@pytest.mark.parametrize(
    ("scores", "truth", "parts", "told"),
    [
        ([0.0, np.nan], [False, True], ["a", "b"], "a: expected 2 scores without NaN"),
        ([0.0], [False, True], ["a", "b"], "a: expected 2 scores"),
        ([0.0, 1.0], [True, True], ["a", "b"], "expected good and defective pictures, got 2 that are all defective"),
        ([0.0, 1.0], [False, True], ["a"], "expected one part for each of 2 pictures, got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    scores: list[float], truth: list[bool], parts: list[str], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        PairedAuroc({"a": scores}, truth, parts)
