"""Pixels kept for pixel figures: their number and their memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.evaluation.figures import pixel_evidence
from andon.evaluation.figures.pixel_evidence import MAX_PIXELS, PixelEvidence

HOT = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)


def gathered(sizes: list[tuple[int, int]]) -> PixelEvidence:
    pixels = PixelEvidence(expected=len(sizes))
    for place, size in enumerate(sizes):
        pixels.add(HOT, np.zeros(size, np.bool_), f"part {place}", None)
    return pixels


def test_pictures_thinned_cost_the_memory_of_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_evidence, "MAX_PIXELS", 10_000)
    tracemalloc.start()
    try:
        pixels = gathered([(400, 400)] * 20)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert pixels.step == 18
    assert held < 100_000  # 8 400 pixels at five bytes; 16 MB where thinned views keep whole pictures


def test_a_small_picture_at_the_front_does_not_choose_the_step_for_large_ones() -> None:
    pixels = gathered([(64, 64)] + [(1500, 1500)] * 20)

    assert pixels.step == 2
    assert sum(mask.size for mask in pixels.masks) <= MAX_PIXELS


def test_pictures_of_one_size_are_thinned_once_by_the_first() -> None:
    pixels = PixelEvidence(expected=300)
    pixels.add(HOT, np.zeros((901, 901), np.bool_), "first", None)

    assert pixels.step == 3  # 300 of them are 8.1 times the bound


@given(sides=st.lists(st.integers(1, 60), min_size=1, max_size=12), most=st.integers(50, 3000))
def test_pictures_of_any_sizes_stay_within_the_bound_and_are_as_if_thinned_at_once(sides: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_evidence, "MAX_PIXELS", most)
        pixels = gathered([(side, 2 * side) for side in sides])

    step = pixels.step
    assert sum(2 * side * side for side in sides) <= most * step**2  # apart from remainders at the edges
    for side, mask, kept in zip(sides, pixels.masks, pixels.maps, strict=True):
        whole = PixelEvidence()
        whole.add(HOT, np.zeros((side, 2 * side), np.bool_), "alone", None)
        assert np.array_equal(mask, whole.masks[0][::step, ::step])
        assert np.array_equal(kept, whole.maps[0][::step, ::step])
