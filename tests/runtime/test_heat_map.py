"""Maps as pictures: one colour scale a file, brighter is worse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from andon.runtime.heat_map import colours, enlarge, overlay


def _brightness(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114]))


def test_brightness_rises_with_the_score_all_along_the_scale() -> None:
    ramp = np.linspace(0, 1.5, 256, dtype=np.float32)[np.newaxis]

    assert (np.diff(_brightness(colours(ramp, 1.0))[0]) > -0.5).all()
    assert _brightness(colours(ramp, 1.0))[0, [0, -1]].tolist() == pytest.approx([12, 233], abs=5)


def test_the_scale_ends_at_one_and_a_half_times_the_good_maps() -> None:
    picture = colours(np.array([[1.5, 3.0, np.inf, np.nan]], np.float32), 1.0)

    assert (picture == picture[0, 0]).all()


def test_below_0_is_as_cool_as_0() -> None:
    assert (colours(np.array([[-5.0]], np.float32), 1.0) == colours(np.array([[0.0]], np.float32), 1.0)).all()


@given(hnp.arrays(np.float32, (3, 4)), st.floats(0, 1e30))
def test_any_map_has_colours(anomaly_map: NDArray[np.float32], map_scale: float) -> None:
    assert colours(anomaly_map, map_scale).shape == (3, 4, 3)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)), st.integers(1, 20), st.integers(1, 20))
def test_an_enlarged_map_stays_within_its_bounds(anomaly_map: NDArray[np.float32], height: int, width: int) -> None:
    big = enlarge(anomaly_map, (height, width))

    assert big.shape == (height, width)
    assert big.min() >= anomaly_map.min() - 1e-5
    assert big.max() <= anomaly_map.max() + 1e-5


def test_the_same_size_changes_nothing() -> None:
    anomaly_map = np.random.default_rng(0).random((5, 7), dtype=np.float32)

    np.testing.assert_allclose(enlarge(anomaly_map, (5, 7)), anomaly_map, rtol=1e-6)


def test_a_map_of_one_cell_fills_the_frame() -> None:
    np.testing.assert_allclose(enlarge(np.array([[2.0]], np.float32), (3, 4)), 2.0)


def test_a_hot_place_stays_where_it_is() -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map[0, 3] = 1.0

    big = enlarge(anomaly_map, (40, 80))

    assert big[0, 79] == big.max() == 1.0
    assert big[:, :40].max() == big[20:].max() == 0.0


def test_cool_places_stay_as_they_are() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)

    np.testing.assert_array_equal(overlay(frame, np.zeros((4, 4), np.float32), 1.0), frame)


@pytest.mark.parametrize("shape", [(10, 3), (10, 12, 1), (10, 12, 3)])
def test_grey_and_rgb_frames_become_rgb(shape: tuple[int, ...]) -> None:
    frame = np.full(shape, 100, np.uint8)

    assert overlay(frame, np.ones((4, 4), np.float32), 1.0).shape == (*shape[:2], 3)


def test_the_overlay_lies_on_what_the_network_saw() -> None:
    frame = np.full((20, 40, 3), 100, np.uint8)

    laid = overlay(frame, np.full((2, 2), 1.4, np.float32), 1.0, crop=(0.25, 0.5, 0.75, 1.0))

    changed = (laid != frame).any(axis=2)
    assert changed[10:, 10:30].all()
    assert changed.sum() == 10 * 20


def test_the_frame_itself_is_not_changed() -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)

    overlay(frame, np.full((2, 2), 1.4, np.float32), 1.0)

    assert (frame == 100).all()


def test_the_cool_third_of_the_scale_shows_no_colour() -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)

    assert (overlay(frame, np.full((2, 2), 0.5, np.float32), 1.0) == frame).all()
