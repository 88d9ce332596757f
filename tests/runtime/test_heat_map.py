"""Maps as pictures: one colour scale a file, brighter is worse, and a contour around what is above the limit."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tests.runtime.hand_made import FRAME, model_file

from andon.foundation.errors import InputError
from andon.runtime.heat_map import (
    TRANSPARENT,
    _grown,
    colours,
    enlarge,
    hatched,
    limit_is_threshold,
    map_limit,
    overlay,
)
from andon.runtime.schema import ScoreRule

CARD = model_file(FRAME, threshold=0.25).card


def _brightness(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114]))


def test_brightness_rises_with_the_score_all_along_the_scale() -> None:
    ramp = np.linspace(0.5, 1.5, 256, dtype=np.float32)[np.newaxis]

    assert (np.diff(_brightness(colours(ramp, 1.0))[0]) > -0.5).all()
    assert _brightness(colours(ramp, 1.0))[0, [0, -1]].tolist() == pytest.approx([12, 233], abs=5)


def test_the_scale_ends_at_one_and_a_half_times_the_limit() -> None:
    picture = colours(np.array([[1.5, 3.0, np.inf, np.nan]], np.float32), 1.0)

    assert (picture == picture[0, 0]).all()


def test_below_half_the_limit_everything_is_equally_cool() -> None:
    picture = colours(np.array([[-5.0, 0.0, 0.5]], np.float32), 1.0)

    assert (picture == picture[0, 0]).all()


def test_the_scale_can_begin_at_0() -> None:
    zero, half = colours(np.array([[0.0, 0.5]], np.float32), 1.0, cool=0.0)[0]

    assert _brightness(half) > _brightness(zero) + 20


@given(hnp.arrays(np.float32, (3, 4)), st.floats(0, 1e30))
def test_any_map_has_colours(anomaly_map: NDArray[np.float32], limit: float) -> None:
    assert colours(anomaly_map, limit).shape == (3, 4, 3)


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
    assert not changed[:10].any()
    assert not changed[:, :10].any()
    assert not changed[:, 30:].any()


def test_the_frame_itself_is_not_changed() -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)

    overlay(frame, np.full((2, 2), 1.4, np.float32), 1.0)

    assert (frame == 100).all()


@given(share=st.floats(0, TRANSPARENT, width=32), limit=st.floats(1e-3, 1e6))
def test_up_to_three_quarters_of_the_limit_nothing_is_drawn(share: float, limit: float) -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)

    assert (overlay(frame, np.full((2, 2), share * limit * 0.999, np.float32), limit) == frame).all()


def test_a_place_near_the_limit_is_tinted_without_a_contour() -> None:
    frame = np.full((40, 40, 3), 100, np.uint8)

    laid = overlay(frame, np.full((2, 2), 0.95, np.float32), 1.0)

    assert (laid != frame).any()
    assert np.abs(laid.astype(int) - 100).max() < 40


@pytest.mark.parametrize("grey", [0, 100, 255])
def test_two_lines_white_and_black_surround_the_places_above_the_limit(grey: int) -> None:
    anomaly_map = np.zeros((10, 10), np.float32)
    anomaly_map[4:6, 4:6] = 5.0
    frame = np.full((100, 100, 3), grey, np.uint8)

    laid = overlay(frame, anomaly_map, 1.0)

    above = enlarge(anomaly_map, (100, 100)) > 1.0
    column = int(np.flatnonzero(above.any(axis=0)).mean())
    first = int(np.flatnonzero(above[:, column])[0])
    assert laid[first - 1, column].tolist() == [255] * 3
    assert laid[first - 2, column].tolist() == [0] * 3
    assert laid[first - 4, column].tolist() == pytest.approx([grey] * 3, abs=30)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 3))
def test_a_mask_grows_by_the_same_distance_in_all_directions(mask: NDArray[np.bool_], by: int) -> None:
    slow = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        slow[max(0, row - by) : row + by + 1, max(0, column - by) : column + by + 1] = True

    np.testing.assert_array_equal(_grown(mask, by), slow)


def test_the_limit_is_the_threshold_if_the_highest_values_decide() -> None:
    for pool in ("max", "top"):
        card = msgspec.structs.replace(CARD, reading=ScoreRule(map="m", pool=pool))
        assert (limit_is_threshold(card), map_limit(card, 0.7)) == (True, 0.7)


@pytest.mark.parametrize("rule", [ScoreRule(map="m", pool="mean"), ScoreRule(score="s", pool="top")])
def test_the_limit_comes_from_good_maps_if_the_score_has_other_units(rule: ScoreRule) -> None:
    card = msgspec.structs.replace(CARD, reading=rule)
    assert card.calibration is not None

    assert (limit_is_threshold(card), map_limit(card, 0.7)) == (False, card.calibration.map_scale)


@given(hnp.arrays(np.float32, (6, 6), elements=st.floats(0, 10, width=32)), st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_a_rejected_frame_has_a_cell_above_the_limit(anomaly_map: NDArray[np.float32], share: float) -> None:
    highest = np.sort(anomaly_map, axis=None)[-max(1, round(share * 36)) :]
    threshold = float(highest.mean()) - 1e-3

    assert anomaly_map.max() > threshold


def test_a_deep_frame_is_refused_with_the_function_that_converts_it() -> None:
    with pytest.raises(InputError, match=r"frame: expected uint8, got uint16\. Use grey_levels\("):
        overlay(np.zeros((20, 20, 1), np.uint16), np.zeros((4, 4), np.float32), 1.0)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40), st.integers(1, 40))
def test_enlarging_is_bilinear_between_the_centres_of_cells(rows: int, columns: int, height: int, width: int) -> None:
    small = np.random.default_rng(rows * 7 + columns).random((rows, columns)).astype(np.float32)
    across = (np.arange(width) + 0.5) * columns / width - 0.5
    down = (np.arange(height) + 0.5) * rows / height - 0.5

    wide = np.stack([np.interp(across, np.arange(columns), row) for row in small])
    expected = np.stack([np.interp(down, np.arange(rows), column) for column in wide.T], axis=1)

    assert enlarge(small, (height, width)) == pytest.approx(expected, abs=1e-6)


def test_neither_colours_nor_a_contour_reach_into_pixels_that_do_not_count() -> None:
    frame = np.full((80, 120, 3), 200, np.uint8)
    ignored = np.zeros((80, 120), np.bool_)
    ignored[:, 40:] = True
    anomaly_map = np.zeros((8, 12), np.float32)
    anomaly_map[:, 2:4] = 3.0  # hot up to the border; enlarging spreads it beyond the border

    mixed = overlay(frame, anomaly_map, 1.0, ignored=ignored)

    grey = (mixed == mixed[:, :, :1]).all(axis=2)
    assert grey[:, 45:].all()  # stripes and dimmed pixels only, except for the line of the contour around the hot place
    assert not grey[:, 25:38].all()


def test_ignored_pixels_are_hatched_and_the_others_as_they_were() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    ignored = np.zeros((60, 90), np.bool_)
    ignored[10:30, 20:70] = True

    drawn = hatched(frame, ignored)

    assert (drawn[~ignored] == frame[~ignored]).all()
    assert (drawn[ignored] == 150).all(axis=1).mean() == pytest.approx(1 / 8, abs=0.03)
    assert (drawn[ignored] != frame[ignored]).any(axis=1).mean() > 0.95
    assert (overlay(frame, np.zeros((4, 6), np.float32), 1.0, ignored=ignored) == drawn).all()
