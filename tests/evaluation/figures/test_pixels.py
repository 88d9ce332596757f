"""Figures over pixels, each compared with scikit-learn or a reference of ten lines."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from andon.evaluation.figures.pixels import NOT_COUNTED, aupro, pixel_auroc, rank_pixels
from andon.foundation.errors import DataError

Floats = NDArray[np.float64]
Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.uint8]]


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
    ranked = rank_pixels(maps, masks)

    assert (ranked.auroc(), ranked.aupro()) == (pixel_auroc(maps, masks), aupro(maps, masks))


@given(both=labelled_maps(), seed=st.integers(0, 100))
def test_the_order_of_pictures_does_not_matter(both: tuple[Maps, Masks], seed: int) -> None:
    maps, masks = both
    order = np.random.default_rng(seed).permutation(len(maps))

    assert aupro([maps[i] for i in order], [masks[i] for i in order]) == pytest.approx(aupro(maps, masks), abs=1e-12)


def test_a_perfect_map_has_1_and_a_flat_one_what_the_diagonal_gives() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[3:6, 3:9] = 1

    perfect, flat = rank_pixels([mask.astype(np.float32)], [mask]), rank_pixels([np.zeros((20, 20))], [mask])
    assert (perfect.auroc(), perfect.aupro()) == pytest.approx((1.0, 1.0))
    assert (flat.auroc(), flat.aupro()) == pytest.approx((0.5, 0.15))


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
        ([np.zeros((2, 2))], [], "one mask per map"),
        ([np.zeros((2, 2))], [np.zeros((4, 4))], r"picture 0: .* got \[2, 2\] and \[4, 4\]\. Resize"),
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


@given(case=labelled_maps(), seed=st.integers(0, 99))
def test_pixels_that_do_not_count_are_left_out_of_all_results(case: tuple[Maps, Masks], seed: int) -> None:
    """Compare with wider pictures whose additional columns do not count."""
    maps, masks = case
    generator = np.random.default_rng(seed)
    wider = [np.pad(m, ((0, 0), (0, 3)), constant_values=NOT_COUNTED) for m in maps]
    marked = [np.hstack([k, generator.integers(0, 2, (len(k), 3)).astype(np.uint8)]) for k in masks]

    assert aupro(wider, marked) == pytest.approx(aupro(maps, masks))
    assert pixel_auroc(wider, marked) == pytest.approx(pixel_auroc(maps, masks))
