"""Frames with more than 8 bits in grey levels, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.runtime.hand_made import FRAME

from andon.runtime.grey_levels import changed_raw, grey_levels, raw_levels
from andon.runtime.schema import FrameSpec

LEVELS = hnp.arrays(np.uint8, (4, 5, 3))
DEEP = hnp.arrays(np.uint16, (4, 5, 3))
scales = st.tuples(st.integers(0, 60_000), st.integers(300, 65_535)).filter(lambda scale: scale[0] + 300 < scale[1])


def deep(scale: tuple[int, int]) -> FrameSpec:
    return replace(FRAME, dtype="uint16", black=float(scale[0]), white=float(scale[1]))


@given(levels=LEVELS, scale=scales)
def test_grey_levels_survive_the_way_to_raw_levels_and_back(levels: NDArray[np.uint8], scale: tuple[int, int]) -> None:
    np.testing.assert_array_equal(grey_levels(raw_levels(levels, deep(scale)), deep(scale)), levels)


@given(raw=DEEP, scale=scales)
def test_a_brighter_pixel_never_becomes_darker(raw: NDArray[np.uint16], scale: tuple[int, int]) -> None:
    order = np.argsort(raw, axis=None)

    assert (np.diff(grey_levels(raw, deep(scale)).ravel()[order].astype(int)) >= 0).all()


@given(levels=LEVELS)
def test_frames_of_eight_bits_stay_as_they_are(levels: NDArray[np.uint8]) -> None:
    assert grey_levels(levels, FRAME) is levels
    np.testing.assert_array_equal(raw_levels(levels, FRAME), levels)


def test_black_and_white_of_the_file_become_the_ends_and_levels_beyond_them_too() -> None:
    raw = np.array([[[0], [999], [1000], [2000], [3000], [65535]]], np.uint16)

    assert grey_levels(raw, deep((1000, 3000))).ravel().tolist() == [0, 0, 0, 128, 255, 255]


@pytest.mark.parametrize("spec", [None, FRAME])
def test_without_a_scale_the_whole_range_counts(spec: FrameSpec | None) -> None:
    assert grey_levels(np.array([[[0], [257], [65535]]], np.uint16), spec).ravel().tolist() == [0, 1, 255]


@given(raw=DEEP, scale=scales, rows=st.integers(0, 4))
def test_a_change_in_grey_levels_leaves_all_other_pixels_as_they_were(
    raw: NDArray[np.uint16], scale: tuple[int, int], rows: int
) -> None:
    before = grey_levels(raw, deep(scale))
    after = before.copy()
    after[:rows] = 255 - after[:rows]

    changed = changed_raw(raw, before, after, deep(scale))

    np.testing.assert_array_equal(changed[rows:], raw[rows:])
    np.testing.assert_array_equal(grey_levels(changed, deep(scale)), after)
