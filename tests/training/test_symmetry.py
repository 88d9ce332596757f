"""Which moves leave a kind of part as it is, told from good pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.training.symmetry import ALL, NONE, Move, moved, symmetries


def parts(shape: str, count: int = 20) -> list[NDArray[np.uint8]]:
    """Pictures of one kind, a little moved and noisy: a ring, a bar that lies, a letter L."""
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


def test_a_ring_may_be_moved_in_every_way() -> None:
    assert symmetries(parts("ring")) == ALL


def test_a_bar_may_be_mirrored_and_turned_round_but_not_stood_up() -> None:
    assert set(symmetries(parts("bar"))) == {
        Move(mirrored, quarters) for mirrored in (False, True) for quarters in (0, 2)
    }


def test_a_letter_may_not_be_moved() -> None:
    assert symmetries(parts("letter")) == (NONE,)


@pytest.mark.parametrize("pictures", [parts("ring", 7), [picture[:40] for picture in parts("ring")]])
def test_too_few_pictures_or_no_squares_tell_nothing(pictures: list[NDArray[np.uint8]]) -> None:
    assert symmetries(pictures) == (NONE,)


@given(st.sampled_from(ALL))
def test_a_move_changes_places_and_no_values(move: Move) -> None:
    picture = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)

    assert sorted(moved(picture, move).ravel()) == sorted(picture.ravel())
