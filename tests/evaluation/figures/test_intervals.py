"""Intervals: each draw gives the figure of its parts, and the intervals have the stated coverage."""

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binom
from tests.evaluation.figures.test_pixels import Maps, Masks, labelled_maps

from andon.evaluation.figures import intervals, ranking
from andon.evaluation.figures.intervals import (
    THRESHOLDS,
    Interval,
    file_draws,
    median_interval,
    part_intervals,
    pixel_intervals,
    rate_interval,
    ratio_interval,
)
from andon.evaluation.figures.pixels import aupro, checked_pairs, rank_pixels
from andon.foundation.errors import DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def of_copies(scores: Floats, truth: Bools, copies: NDArray[np.int64], recall: float) -> dict[str, float]:
    """Compute the figures of repeated parts with the functions for single figures."""
    drawn, kind = np.repeat(scores, copies), np.repeat(truth, copies)
    good, defects = drawn[~kind], drawn[kind]
    return {
        "auroc": ranking.auroc(drawn, kind),
        "aupr": ranking.aupr(drawn, kind),
        "oracle_f1_max": ranking.oracle_f1_max(drawn, kind),
        "tpr_at_1_percent_fpr": ranking.tpr_at_fpr(good, defects, 0.01),
        "tpr_at_5_percent_fpr": ranking.tpr_at_fpr(good, defects, 0.05),
        "fpr_at_recall": ranking.fpr_at_recall(good, defects, recall),
    }


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(4, 60),
    step=st.sampled_from([0.0, 0.5]),
    recall=st.sampled_from([0.5, 0.9, 0.99, 1.0]),
    shared=st.booleans(),
)
def test_each_draws_figures_are_those_of_the_parts_that_it_drew(
    seed: int, n: int, step: float, recall: float, shared: bool
) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.5
    truth[:2] = True, False
    scores = generator.normal(size=n) + truth
    scores = np.round(scores / step) * step if step else scores
    parts = [f"{of}" for of in generator.integers(0, 9, n)]  # with good and bad pictures of one part

    found = part_intervals(
        scores, truth, truth, recall=recall, parts=parts if shared else None, resamples=12, seed=seed
    )

    units, of = intervals._units(truth, parts if shared else None)
    copies = np.concatenate(list(intervals._draws(units, 12, seed, per_draw=n)))[:, of]
    slow = [of_copies(scores, truth, each, recall) for each in copies if each @ truth and each @ ~truth]
    for name in slow[0]:
        low, high = np.quantile([figures[name] for figures in slow], [0.025, 0.975])
        assert (getattr(found, name).low, getattr(found, name).high) == pytest.approx((low, high), abs=1e-12), name


def test_draws_take_as_many_of_each_kind_as_there_are_and_keep_pictures_of_one_part_together() -> None:
    truth = np.array([True] * 5 + [False] * 7)
    units, of = intervals._units(truth, None)
    copies = np.concatenate(list(intervals._draws(units, 50, 0, per_draw=12)))[:, of]
    assert (copies[:, truth].sum(axis=1) == 5).all()
    assert (copies[:, ~truth].sum(axis=1) == 7).all()

    units, of = intervals._units(truth, ["a", "a", "b", "b", "b", *"ccddeee"])
    copies = np.concatenate(list(intervals._draws(units, 50, 0, per_draw=12)))[:, of]
    assert (copies[:, 0] == copies[:, 1]).all()
    assert (copies[:, 5] == copies[:, 6]).all()


@pytest.mark.parametrize("cells", [1, 500, 10**9])
def test_the_size_of_chunks_does_not_change_what_is_drawn_of_one_kind(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file_draws(12, resamples=100, seed=3)
    monkeypatch.setattr(intervals, "_CELLS", cells)

    assert (file_draws(12, resamples=100, seed=3) == whole).all()


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(80) < 0.5
    scores = generator.normal(size=80) + truth

    first, again, other = (part_intervals(scores, truth, truth, seed=seed) for seed in (0, 0, 1))

    assert first == again
    assert first.auroc != other.auroc


def test_intervals_of_parts_cover_the_truth_about_as_often_as_they_say() -> None:
    from scipy.stats import norm

    truth = np.arange(120) < 60
    area = float(norm.cdf(1.0 / np.sqrt(2)))
    covered = 0
    for seed in range(100):
        scores = np.random.default_rng(seed).normal(size=120) + truth
        found = part_intervals(scores, truth, truth, resamples=300, seed=seed).auroc
        covered += found.low <= area <= found.high

    assert 88 <= covered <= 100  # 95 in a hundred, apart from chance and the slight narrowness of percentile intervals


def test_rates_at_a_fixed_threshold_have_exact_intervals_of_parts_and_drawn_ones_of_pictures_that_share_parts() -> None:
    truth = np.array([False] * 20 + [True] * 10)
    rejected = np.array([False] * 20 + [True] * 9 + [False])
    scores = np.linspace(0, 1, 30)

    exact = part_intervals(scores, truth, rejected, resamples=50)
    assert exact.false_reject_rate == rate_interval(0, 20)
    assert exact.miss_rate == rate_interval(1, 10)

    parts = [f"part {place // 5}" for place in range(30)]
    shared = part_intervals(scores, truth, rejected, parts=parts, resamples=50)
    assert shared.false_reject_rate == Interval(low=0.0, high=0.0)
    assert shared.miss_rate == Interval(
        low=0.0, high=0.2
    )  # two parts of five pictures; the missed one is in one of them


@given(n=st.integers(1, 60), data=st.data())
def test_an_exact_interval_holds_the_rates_that_could_well_have_given_so_many(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    found = rate_interval(hits, n)

    assert found.low <= hits / n <= found.high
    assert found.low == 0.0 or binom.sf(hits - 1, n, found.low) == pytest.approx(0.025)
    assert found.high == 1.0 or binom.cdf(hits, n, found.high) == pytest.approx(0.025)


def test_without_parts_any_rate_may_be() -> None:
    assert rate_interval(0, 0) == Interval(low=0.0, high=1.0)


def test_one_kind_of_parts_is_refused() -> None:
    with pytest.raises(DataError, match="3 of one kind"):
        part_intervals([1.0, 2.0, 3.0], [True] * 3, [True] * 3)


@settings(max_examples=40)
@given(both=labelled_maps(), seed=st.integers(0, 100), limit=st.sampled_from([0.05, 0.3, 1.0]))
def test_each_draws_pixel_figures_are_those_of_the_pictures_that_it_drew(
    both: tuple[Maps, Masks], seed: int, limit: float
) -> None:
    maps, masks = both
    marked = np.array([mask.any() for mask in masks])
    copies = np.concatenate(list(intervals._draws(intervals._units(marked, None)[0], 20, seed, per_draw=THRESHOLDS)))

    found = pixel_intervals(maps, masks, limit=limit, resamples=20, seed=seed)

    slow = []
    for each in copies:
        drawn = [place for place, times in enumerate(each) for _ in range(times)]
        if all(masks[place].all() for place in drawn):
            continue  # no background, no figure
        ranked = rank_pixels([maps[place] for place in drawn], [masks[place] for place in drawn])
        slow.append((ranked.auroc(), ranked.aupro(limit)))
    low, high = np.quantile(slow, [0.025, 0.975], axis=0)
    assert (found.pixel_auroc.low, found.aupro.low) == pytest.approx(tuple(low), abs=1e-9)
    assert (found.pixel_auroc.high, found.aupro.high) == pytest.approx(tuple(high), abs=1e-9)


def blurred(pictures: int, marked: int, size: int, seed: int) -> tuple[Maps, Masks]:
    """Return maps with more distinct scores than thresholds of the curves."""
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for place in range(pictures):
        mask = np.zeros((size, size), np.uint8)
        if place < marked:
            top, left = generator.integers(0, size - size // 4, 2)
            mask[top : top + size // 5, left : left + size // 8] = 1
            mask[:3, :4] = generator.random() < 0.5
        noise = generator.random((size, size)) + mask * generator.random() * 0.5
        maps.append(ndimage.gaussian_filter(noise, 2).astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("seed", range(4))
def test_following_the_curves_at_some_scores_moves_a_figure_by_less_than_a_thousandth(seed: int) -> None:
    maps, masks = blurred(12, 7, 96, seed)
    ranked = rank_pixels(maps, masks)
    assert len(ranked.thresholds) > 10 * THRESHOLDS
    tables = intervals._tables(checked_pairs(maps, masks), ranked.thresholds[ranked.some(THRESHOLDS)])
    units, of = intervals._units(np.array([mask.any() for mask in masks]), None)
    copies = np.concatenate(list(intervals._draws(units, 12, seed, per_draw=1)))[:, of]

    followed = intervals._pixel_figures(copies.astype(np.float64), tables, 0.3)

    for each, *some in zip(copies, *followed, strict=True):
        drawn = [place for place, times in enumerate(each) for _ in range(times)]
        exact = rank_pixels([maps[place] for place in drawn], [masks[place] for place in drawn])
        assert some == pytest.approx([exact.auroc(), exact.aupro()], abs=2e-4)  # stated: 1e-3


@given(points=st.integers(16, 400), seed=st.integers(0, 20))
def test_the_scores_that_are_followed_are_few_ascending_places_with_both_ends(points: int, seed: int) -> None:
    ranked = rank_pixels(*blurred(3, 2, 24, seed))
    some = ranked.some(points)

    assert len(some) <= points
    assert (np.diff(some) > 0).all()
    assert (some[0], some[-1]) == (0, len(ranked.thresholds) - 1)


def test_pictures_that_are_all_marked_can_be_drawn_too() -> None:
    maps, masks = blurred(4, 4, 32, 0)
    found = pixel_intervals(maps, masks, resamples=50).aupro

    assert 0 <= found.low <= aupro(maps, masks) <= found.high <= 1


def test_pictures_of_one_part_come_together() -> None:
    maps, masks = blurred(6, 4, 32, 1)
    apart = pixel_intervals(maps, masks, resamples=200).aupro
    together = pixel_intervals(maps, masks, parts=["a", "a", "a", "a", "b", "b"], resamples=200).aupro

    assert apart.low < apart.high
    assert together.low == together.high == pytest.approx(aupro(maps, masks), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(10, marks=pytest.mark.timing)])
def test_a_category_of_the_usual_size_takes_seconds(limit_s: float) -> None:
    maps, masks = blurred(83, 63, 512, 0)
    ranked = rank_pixels(maps, masks)
    begun = time.process_time()

    found = pixel_intervals(maps, masks, ranked=ranked)

    assert time.process_time() - begun < limit_s
    assert found.aupro.low < ranked.aupro() < found.aupro.high
    assert found.pixel_auroc.low < ranked.auroc() < found.pixel_auroc.high


@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(5, marks=pytest.mark.timing)])
def test_two_thousand_parts_take_a_moment(limit_s: float) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(2000) < 0.4
    scores = generator.normal(size=2000) + truth
    told: list[tuple[str, int, int | None]] = []
    begun = time.process_time()

    part_intervals(scores, truth, truth, progress=lambda *said: told.append(said))

    assert time.process_time() - begun < limit_s
    assert told[-1] == ("resampling parts", 1000, 1000)


@given(seed=st.integers(0, 1000), files=st.integers(2, 9), data=st.data())
def test_ratios_and_medians_over_files_are_those_of_the_files_drawn(seed: int, files: int, data: st.DataObject) -> None:
    above = data.draw(st.lists(st.integers(0, 5), min_size=files, max_size=files))
    below = data.draw(st.lists(st.integers(0, 5), min_size=files, max_size=files))
    values: list[Any] = data.draw(
        st.lists(st.lists(st.integers(0, 9).map(float), max_size=4), min_size=files, max_size=files)
    )
    draws = file_draws(files, resamples=30, seed=seed)
    ratios, medians = [], []
    for each in draws:
        drawn = [place for place, times in enumerate(each) for _ in range(times)]
        if divisor := sum(below[place] for place in drawn):
            ratios.append(sum(above[place] for place in drawn) / divisor)
        if pooled := [value for place in drawn for value in values[place]]:
            medians.append(float(np.median(pooled)))

    for found, slow in ((ratio_interval(draws, above, below), ratios), (median_interval(draws, values), medians)):
        if not slow:
            assert found is None
        else:
            assert found is not None
            assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
