"""Figures over scores, each compared with scikit-learn or a reference of ten lines."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from andon.evaluation.figures.ranking import (
    aupr,
    auroc,
    clip_area,
    fpr_at_recall,
    oracle_f1_max,
    pr_curve,
    roc_curve,
    tpr_at_fpr,
)
from andon.foundation.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[Floats, Bools]:
    n = draw(st.integers(2, 40))
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 12).map(lambda i: i / 8)))
    truth = draw(arrays(np.bool_, n))
    truth[:2] = [True, False]
    return scores, truth


@given(both=labelled_scores())
def test_auroc_is_the_share_of_pairs_in_the_right_order(both: tuple[Floats, Bools]) -> None:
    scores, truth = both
    pairs = [(d > g) + 0.5 * (d == g) for d in scores[truth] for g in scores[~truth]]

    assert auroc(scores, truth) == pytest.approx(np.mean(pairs))


@given(both=labelled_scores())
def test_aupr_is_the_step_sum_over_distinct_thresholds(both: tuple[Floats, Bools]) -> None:
    scores, truth = both
    total, recall_before = 0.0, 0.0
    for t in np.unique(scores)[::-1]:
        found = scores >= t
        recall = float((found & truth).sum() / truth.sum())
        total += (recall - recall_before) * float((found & truth).sum() / found.sum())
        recall_before = recall

    assert aupr(scores, truth) == pytest.approx(total)


@given(both=labelled_scores())
def test_the_oracle_f1_is_the_best_over_all_thresholds(both: tuple[Floats, Bools]) -> None:
    scores, truth = both
    sweep = [2 * ((scores >= t) & truth).sum() / ((scores >= t).sum() + truth.sum()) for t in scores]

    assert oracle_f1_max(scores, truth) == pytest.approx(max(sweep))


def test_the_oracle_f1_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.3
    scores = rng.normal(size=60) + truth

    assert oracle_f1_max(scores, truth) == pytest.approx(max(f1_score(truth, scores >= t) for t in scores))


@pytest.mark.parametrize("metric", [auroc, aupr, oracle_f1_max])
@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([1.0, 2.0], [False, False], "got 2 that are all good"),
        ([1.0, 2.0], [True, True], "all defective"),
        ([1.0, float("nan")], [True, False], "finite"),
        ([1.0, 2.0], [True], "one truth per score"),
        ([], [], "n >= 1"),
    ],
)
def test_scores_that_no_figure_can_be_made_of_are_refused(
    metric: type, scores: list[float], truth: list[bool], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        metric(scores, truth)


def test_tpr_at_fpr_takes_the_higher_order_statistic_and_rejects_strictly_above() -> None:
    good = np.arange(1, 101)

    assert tpr_at_fpr(good, [95, 96, 97], 0.05) == pytest.approx(1 / 3)  # threshold 96: 95.05 rounded up
    assert tpr_at_fpr(good, [100, 101], 0.0) == 0.5


@given(good=arrays(np.float64, st.integers(1, 60), elements=st.integers(0, 30)), fpr=st.floats(0, 0.99))
def test_the_threshold_of_tpr_at_fpr_rejects_no_more_good_parts_than_allowed(good: Floats, fpr: float) -> None:
    assert tpr_at_fpr(good, good, fpr) <= fpr + 1e-9


def test_fpr_at_recall_takes_the_threshold_that_finds_the_890th_of_892() -> None:
    defects = np.arange(892.0)
    good = np.array([0.0, 1.0, 2.0, 3.0])

    assert fpr_at_recall(good, defects, 890 / 892) == 0.5  # found from 2 on, at or above
    assert fpr_at_recall(good, defects, 1.0) == 1.0


@given(both=labelled_scores(), recall=st.floats(0.01, 1.0))
def test_fpr_at_recall_is_the_least_rate_at_which_so_many_are_found(both: tuple[Floats, Bools], recall: float) -> None:
    scores, truth = both
    good, defects = scores[~truth], scores[truth]
    reached = [float((good >= t).mean()) for t in defects if (defects >= t).mean() >= recall - 1e-9]

    assert fpr_at_recall(good, defects, recall) == pytest.approx(min(reached))


@given(both=labelled_scores())
def test_the_curves_have_a_point_at_each_score_and_the_areas_of_scikit_learn(both: tuple[Floats, Bools]) -> None:
    scores, truth = both
    roc, pr = roc_curve(scores, truth), pr_curve(scores, truth)

    fpr, tpr, thresholds = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert [list(part) for part in roc] == [list(fpr), list(tpr), list(thresholds)]
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    # scikit-learn runs towards a point that it makes up at recall 0
    assert pr.precision == pytest.approx(precision[-2::-1])
    assert pr.recall == pytest.approx(recall[-2::-1])
    assert list(pr.thresholds) == list(thresholds[1:])
    assert np.trapezoid(roc.tpr, roc.fpr) == pytest.approx(auroc(scores, truth))
    assert np.diff(pr.recall, prepend=0.0) @ pr.precision == pytest.approx(aupr(scores, truth))


@pytest.mark.parametrize("recall", [0.0, 1.1, float("nan")])
def test_a_recall_that_is_no_share_is_refused(recall: float) -> None:
    with pytest.raises(DataError, match="recall"):
        fpr_at_recall([0.0], [1.0], recall)


@given(n=st.integers(2, 400), seed=st.integers(0, 50))
def test_no_area_ends_a_rounding_above_one(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.zeros(n, np.bool_)
    truth[: generator.integers(1, n)] = True

    assert aupr(truth + generator.random(n) / 2, truth) <= 1.0


def test_areas_are_cut_to_what_an_area_can_be() -> None:
    assert [clip_area(value) for value in (1.0000000000000002, -1e-17, 0.25)] == [1.0, 0.0, 0.25]
