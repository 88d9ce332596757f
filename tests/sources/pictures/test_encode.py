"""Pictures are written to files and read again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from andon.foundation.errors import ConfigError, DataError
from andon.sources.pictures.decode import decode, decode_file
from andon.sources.pictures.encode import png, write_png

SHAPES = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
)


@given(picture=nps.arrays(np.uint8, SHAPES))
def test_what_is_encoded_is_decoded_to_the_same_pixels(
    picture: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
) -> None:
    again = decode(png(picture))

    assert again.tolist() == picture.reshape(again.shape).tolist()


def test_red_stays_red(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[:, :, 0] = 200

    write_png(tmp_path / "new/folder/red.png", red)

    assert decode_file(tmp_path / "new/folder/red.png")[0, 0].tolist() == [200, 0, 0]
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["red.png"]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0, 3), (5, 5, 7), (5,)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="PNG: expected a picture"):
        png(np.zeros(shape, np.uint8))


def test_a_place_that_cannot_be_written_to_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be written"):
        write_png(tmp_path / "file" / "a.png", np.zeros((4, 4), np.uint8))
