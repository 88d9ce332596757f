"""Moves that leave a kind of part unchanged, found from good pictures."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.training.fitting.symmetry import ALL, DECLARED, NONE, Move, keeping, moved, symmetries


def parts(shape: str, count: int = 20) -> list[NDArray[np.uint8]]:
    """Return pictures of one kind, a little moved and noisy: a ring, a horizontal bar, a letter L."""
    pictures = []
    rows, columns = np.mgrid[:64, :64]
    for number in range(count):
        generator = np.random.default_rng(number)
        down, right = (axis - 31.5 - generator.normal(0, 0.7) for axis in (rows, columns))
        if shape == "ring":
            drawn = np.abs(np.hypot(down, right) - 20) < 5
        elif shape == "bar":
            drawn = (np.abs(down) < 6) & (np.abs(right) < 24)
        else:
            drawn = ((np.abs(right + 12) < 5) & (np.abs(down) < 22)) | ((np.abs(down - 17) < 5) & (np.abs(right) < 16))
        levels = 60 + 140 * drawn + generator.normal(0, 6, drawn.shape)
        pictures.append(np.clip(levels, 0, 255).astype(np.uint8)[:, :, np.newaxis])
    return pictures


def test_a_ring_may_be_moved_in_nearly_every_way() -> None:
    """Check all quarter turns. A few of the turns between them fail because of the noise of twenty pictures."""
    found = set(symmetries(parts("ring")))

    assert set(DECLARED["quarters"]) <= found
    assert len(found) > 0.8 * len(ALL)


def test_a_bar_may_be_mirrored_and_turned_round_but_not_stood_up() -> None:
    assert set(symmetries(parts("bar"))) == {
        Move(mirrored, degrees) for mirrored in (False, True) for degrees in (0, 180)
    }


def test_a_letter_may_not_be_moved() -> None:
    assert symmetries(parts("letter")) == (NONE,)


def test_a_texture_may_not_be_moved_though_its_pictures_are_as_far_apart_in_any_turn() -> None:
    """Check that a texture has no symmetries: grain across the part would be a defect."""
    grain = []
    for number in range(30):
        noise = np.random.default_rng(number).normal(0, 1, (96, 96)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=8, sigmaY=1.5)
        grain.append(np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)[:, :, np.newaxis])

    assert symmetries(grain) == (NONE,)


@pytest.mark.parametrize("pictures", [parts("ring", 7), [picture[:40] for picture in parts("ring")]])
def test_too_few_pictures_or_no_squares_tell_nothing(pictures: list[NDArray[np.uint8]]) -> None:
    assert symmetries(pictures) == (NONE,)


@given(st.sampled_from(DECLARED["quarters"]))
def test_a_quarter_of_a_turn_changes_places_and_no_values(move: Move) -> None:
    picture = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)

    assert sorted(moved(picture, move).ravel()) == sorted(picture.ravel())


@given(st.sampled_from(ALL))
def test_a_ring_moved_is_a_ring(move: Move) -> None:
    ring = parts("ring", 1)[0]
    apart = np.abs(moved(ring, move).astype(int) - ring).mean()

    assert apart < 14  # noise of 6 levels, and a centre that is off by a pixel


def test_each_declared_symmetry_holds_the_smaller_ones() -> None:
    none, mirror, quarters, turns = (set(DECLARED[name]) for name in ("none", "mirror", "quarters", "turns"))

    assert none < mirror < quarters < turns == set(ALL)


def test_only_moves_that_leave_a_mask_in_its_place_are_kept() -> None:
    """Check that a date code in a corner forbids every move, and a round region in the middle forbids none."""
    rows, columns = np.mgrid[:128, :128]
    corner = ~((rows < 24) & (columns < 60))
    round_region = np.hypot(rows - 63.5, columns - 63.5) < 56
    band = np.abs(rows - 63.5) < 40

    assert keeping(ALL, corner) == (NONE,)
    assert keeping(ALL, round_region) == ALL
    assert set(keeping(ALL, band)) == {Move(mirrored, degrees) for mirrored in (False, True) for degrees in (0, 180)}


def test_the_unmoved_picture_is_always_kept() -> None:
    assert keeping((NONE,), np.random.default_rng(0).random((20, 20)) < 0.5) == (NONE,)
