"""Figures, each against scikit-learn or a reference of ten lines."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binom
from sklearn.metrics import f1_score, roc_auc_score

from andon.evaluation.figures.metrics import (
    aupr,
    aupro,
    auroc,
    false_reject_rate,
    fpr_at_recall,
    mean_and_sd,
    miss_rate,
    oracle_f1_max,
    pixel_auroc,
    pixel_metrics,
    pr_curve,
    random_dummy,
    rank_pixels,
    roc_curve,
    tpr_at_fpr,
    within,
    within_promise,
)
from andon.foundation.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.uint8]]


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[Floats, Bools]:
    n = draw(st.integers(2, 40))
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 12).map(lambda i: i / 8)))
    truth = draw(arrays(np.bool_, n))
    truth[:2] = [True, False]
    return scores, truth


@st.composite
def labelled_maps(draw: st.DrawFn) -> tuple[Maps, Masks]:
    maps, masks = [], []
    for _ in range(draw(st.integers(1, 4))):
        shape = (draw(st.integers(1, 8)), draw(st.integers(2, 8)))
        maps.append(draw(arrays(np.float32, shape, elements=st.integers(-5, 9).map(lambda i: i / 8))))
        masks.append(draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 255]))))
    masks[0][0, :2] = [0, 255]
    return maps, masks


def slow_aupro(maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.uint8]], limit: float) -> float:
    """Sweep every threshold over every region."""
    false, overlap = [0.0], [0.0]
    background = np.concatenate([m[k == 0] for m, k in zip(maps, masks, strict=True)])
    regions = []
    for m, k in zip(maps, masks, strict=True):
        labels, found = ndimage.label(k, structure=np.ones((3, 3)))
        regions += [m[labels == i + 1] for i in range(found)]
    for t in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        false.append(float((background >= t).mean()))
        overlap.append(float(np.mean([(region >= t).mean() for region in regions])))
    area = 0.0
    for f0, f1, o0, o1 in zip(false, false[1:], overlap, overlap[1:], strict=False):
        if f0 >= limit:
            break
        end = min(f1, limit)
        o_end = o0 + (o1 - o0) * (end - f0) / (f1 - f0) if f1 > f0 else o1
        area += (end - f0) * (o0 + o_end) / 2
    return area / limit


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
        ([1.0, 2.0], [True, True], "all defects"),
        ([1.0, float("nan")], [True, False], "finite"),
        ([1.0, 2.0], [True], "a truth for each score"),
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


def test_a_score_equal_to_the_threshold_passes() -> None:
    assert false_reject_rate([1.0, 2.0, 3.0], 2.0) == pytest.approx(1 / 3)
    assert miss_rate([1.0, 2.0, 3.0], 2.0) == pytest.approx(2 / 3)


def test_a_score_that_is_no_number_cannot_pass() -> None:
    assert false_reject_rate([1.0, float("nan")], 2.0) == 0.5
    assert miss_rate([float("nan")], 2.0) == 0.0


def test_no_part_has_no_rate() -> None:
    assert math.isnan(false_reject_rate([], 1.0))
    assert math.isnan(miss_rate([], 1.0))


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


@given(both=labelled_maps(), limit=st.sampled_from([0.05, 0.3, 0.5, 1.0]))
def test_aupro_agrees_with_a_sweep_over_every_threshold(both: tuple[Maps, Masks], limit: float) -> None:
    maps, masks = both

    assert aupro(maps, masks, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)


@given(both=labelled_maps())
def test_pixel_auroc_agrees_with_scikit_learn_over_all_pixels(both: tuple[Maps, Masks]) -> None:
    maps, masks = both
    flat_map = np.concatenate([m.ravel() for m in maps])
    flat_mask = np.concatenate([k.ravel() for k in masks]) > 0

    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(flat_mask, flat_map))


@given(both=labelled_maps())
def test_one_sort_gives_both_pixel_figures(both: tuple[Maps, Masks]) -> None:
    maps, masks = both

    assert pixel_metrics(maps, masks) == (pixel_auroc(maps, masks), aupro(maps, masks))


@given(both=labelled_maps(), seed=st.integers(0, 100))
def test_the_order_of_pictures_does_not_matter(both: tuple[Maps, Masks], seed: int) -> None:
    maps, masks = both
    order = np.random.default_rng(seed).permutation(len(maps))

    assert aupro([maps[i] for i in order], [masks[i] for i in order]) == pytest.approx(aupro(maps, masks), abs=1e-12)


def test_a_perfect_map_has_1_and_a_flat_one_what_the_diagonal_gives() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[3:6, 3:9] = 1

    assert list(pixel_metrics([mask.astype(np.float32)], [mask])) == pytest.approx([1.0, 1.0])
    assert list(pixel_metrics([np.zeros((20, 20))], [mask])) == pytest.approx([0.5, 0.15])


def test_a_small_region_weighs_as_much_as_a_large_one() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[0:10, 0:10] = 1
    mask[15, 15] = 1
    only_small, only_large = (np.full((20, 20), 0.5, np.float32) for _ in range(2))
    only_small[15, 15] = 1.0
    only_small[0:10, 0:10] = 0.0
    only_large[0:10, 0:10] = 1.0
    only_large[15, 15] = 0.0

    assert aupro([only_small], [mask]) == pytest.approx(0.5)
    assert aupro([only_large], [mask]) == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.eye(4, dtype=np.uint8)
    scores = np.zeros((4, 4), np.float32)
    scores[0, 0] = scores[1, 1] = scores[2, 2] = 1.0

    mask[0, 3] = 1  # a second region, found whole; of the first, three in four
    scores[0, 3] = 1.0

    assert aupro([scores], [mask], 1e-6) == pytest.approx((3 / 4 + 1) / 2, abs=1e-3)  # of five regions: 4 / 5


def test_good_pictures_take_part_in_the_false_positive_rate() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[0, 0] = 1
    scores = mask.astype(np.float32) * 0.5
    noisy_good = np.ones((10, 10), np.float32)

    assert aupro([scores], [mask]) == pytest.approx(1.0)
    assert aupro([scores, noisy_good], [mask, np.zeros_like(mask)]) == 0.0


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        ([np.zeros((2, 2))], [np.zeros((2, 2))], "no defect pixel in 1 pictures"),
        ([np.zeros((2, 2))], [np.ones((2, 2))], "no background pixel"),
        ([], [], "no defect pixel in 0 pictures"),
        ([np.zeros((2, 2))], [], "as many maps as masks"),
        ([np.zeros((2, 2))], [np.zeros((4, 4))], r"picture 0: .* got \[2, 2\] and \[4, 4\]; resize"),
        ([np.full((2, 2), np.nan)], [np.eye(2)], "finite anomaly maps"),
    ],
)
def test_maps_that_no_figure_can_be_made_of_are_refused(maps: list[Floats], masks: list[Floats], message: str) -> None:
    with pytest.raises(DataError, match=message):
        aupro(maps, masks)


@pytest.mark.parametrize("limit", [0.0, 1.5, float("nan")])
def test_a_limit_that_is_no_rate_is_refused(limit: float) -> None:
    with pytest.raises(DataError, match="limit"):
        aupro([np.zeros((2, 2))], [np.eye(2)], limit)


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


def test_a_spread_is_that_of_the_sample_and_one_score_has_none() -> None:
    assert mean_and_sd([1.0, 2.0, 6.0]) == pytest.approx((3.0, math.sqrt(7)))
    assert math.isnan(mean_and_sd([1.0])[1])
    with pytest.raises(DataError, match="n >= 1"):
        mean_and_sd([])


@pytest.mark.parametrize("recall", [0.0, 1.1, float("nan")])
def test_a_recall_that_is_no_share_is_refused(recall: float) -> None:
    with pytest.raises(DataError, match="recall"):
        fpr_at_recall([0.0], [1.0], recall)


@given(both=labelled_maps())
def test_the_ranking_counts_at_each_distinct_score(both: tuple[Maps, Masks]) -> None:
    ranked = rank_pixels(*both)
    every = np.concatenate([m.ravel() for m in both[0]])

    assert list(ranked.thresholds) == list(np.unique(every)[::-1])
    assert list(ranked.pixels) == [(every >= threshold).sum() for threshold in ranked.thresholds]
    assert ranked.overlap[-1] == pytest.approx(1.0)


@given(
    scores=arrays(np.float32, st.integers(2, 30), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_any_finite_scores_are_ranked_as_they_are(scores: NDArray[np.float32]) -> None:
    mask = np.zeros((1, len(scores)), np.uint8)
    mask[0, 0] = 1
    ranked = rank_pixels([scores[None]], [mask])

    assert list(ranked.thresholds) == list(np.unique(scores + np.float32(0))[::-1])  # -0 is 0
    assert list(ranked.pixels) == [(scores >= threshold).sum() for threshold in ranked.thresholds]
    assert list(ranked.background) == [(scores[1:] >= threshold).sum() for threshold in ranked.thresholds]


@given(n=st.integers(2, 400), seed=st.integers(0, 50))
def test_no_area_ends_a_rounding_above_one(n: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.zeros(n, np.bool_)
    truth[: generator.integers(1, n)] = True

    assert aupr(truth + generator.random(n) / 2, truth) <= 1.0


def test_areas_are_cut_to_what_an_area_can_be() -> None:
    assert [within(value) for value in (1.0000000000000002, -1e-17, 0.25)] == [1.0, 0.0, 0.25]
