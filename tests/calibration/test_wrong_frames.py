"""Frames that are wrong as a whole, made from a good one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.calibration.wrong_frames import KINDS, TURNED, wrong_frames


@settings(deadline=None, max_examples=20)
@given(height=st.integers(16, 90), width=st.integers(16, 90), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_each_kind_is_made_in_the_size_and_type_of_the_good_frame(
    height: int, width: int, channels: int, seed: int
) -> None:
    good = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    before = good.copy()

    made = list(wrong_frames(good, np.random.default_rng(seed)))

    assert {kind for kind, _ in made} == set(KINDS)
    assert all(frame.dtype == np.uint8 and frame.shape == good.shape for _, frame in made)
    assert np.array_equal(good, before)


def test_a_dark_frame_is_a_good_one_with_less_light() -> None:
    good = np.full((40, 60, 3), 200, np.uint8)

    levels = [frame.mean() for kind, frame in wrong_frames(good, np.random.default_rng(0)) if kind == "lamp too dark"]

    assert levels == [50.0, 16.0]


@pytest.mark.parametrize("kind", TURNED)
def test_a_turned_frame_has_the_same_pixels_in_other_places(kind: str) -> None:
    good = np.random.default_rng(1).integers(0, 256, (20, 30, 1), dtype=np.uint8)

    (frame,) = (frame for name, frame in wrong_frames(good, np.random.default_rng(0)) if name == kind)

    assert not np.array_equal(frame, good)
    assert np.array_equal(np.sort(frame, axis=None), np.sort(good, axis=None))
