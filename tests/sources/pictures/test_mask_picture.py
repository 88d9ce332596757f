"""Masks as users give them: pictures, rectangles, polygons. Anything that is not clearly a mask is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.runtime.mask_pixels import unpack
from andon.sources.opencv import opencv
from andon.sources.pictures.mask_picture import marked_by, mask_of, outline

SIZE = (30, 40)


def written(path: Path, pixels: NDArray[np.generic]) -> str:
    assert opencv().imwrite(str(path), pixels)
    return str(path)


def box() -> NDArray[np.uint8]:
    pixels = np.zeros(SIZE, np.uint8)
    pixels[5:15, 10:30] = 255
    return pixels


def marked(*texts: str) -> NDArray[np.bool_]:
    return marked_by(texts, SIZE, flag="--ignore")


@pytest.mark.parametrize("channels", [1, 3])
def test_white_is_marked(tmp_path: Path, channels: int) -> None:
    path = written(tmp_path / "mask.png", np.repeat(box()[:, :, None], channels, axis=2))

    assert (marked(path) == (box() > 0)).all()


def test_a_rectangle_is_left_top_right_bottom_in_pixels() -> None:
    assert (marked("10,5,30,15") == (box() > 0)).all()


def test_a_polygon_marks_its_inside() -> None:
    inside = marked("0,0,39,0,0,29")

    assert inside[2, 2]
    assert not inside[28, 38]


def test_several_shapes_and_pictures_are_marked_together(tmp_path: Path) -> None:
    path = written(tmp_path / "mask.png", box())

    both = marked(path, "0,0,5,5", "0,0,2,30")

    assert both.sum() == 200 + 25 + 50


def test_a_picture_of_16_bits_may_be_a_mask(tmp_path: Path) -> None:
    path = written(tmp_path / "mask.png", box().astype(np.uint16) * 257)

    assert (marked(path) == (box() > 0)).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10,5,30", "expected a rectangle.*got 3 numbers.*Example: --ignore 100,200,900,700"),
        ("10,5,30,15,3", "got 5 numbers"),
        ("10,5,41,15", "expected x from 0 to 40 and y from 0 to 30.*got x from 10 to 41"),
        ("-1,5,30,15", "got x from -1 to 30"),
        ("30,5,10,15", "left below right"),
        ("no-such-file.png", "expected a black and white picture, or a rectangle"),
    ],
)
def test_a_text_that_marks_nothing_sensible_is_refused(text: str, says: str) -> None:
    with pytest.raises(DataError, match=f"--ignore .*{says}"):
        marked(text)


def grey() -> NDArray[np.uint8]:
    pixels = box()
    pixels[5, 10] = 128
    return pixels


def coloured() -> NDArray[np.uint8]:
    pixels = np.repeat(box()[:, :, None], 3, axis=2)
    pixels[0, 0] = (0, 0, 255)
    return pixels


def transparent() -> NDArray[np.uint8]:
    return np.dstack([*[box()] * 3, box()])


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (grey(), r"got 1 others, the first is 128 at x 10, y 5. .* without soft edges"),
        (coloured(), "got colours"),
        (transparent(), "got an alpha channel"),
        (box()[:20], r"expected a mask of the frame's size, 30 x 40 \(height x width\), got 20 x 40"),
        (box().T.copy(), "got 40 x 30"),
        (box() // 255, r"expected black \(0\) and white \(255\) pixels, got 200 others, the first is 1"),
    ],
    ids=["grey", "colour", "alpha", "cut", "turned", "labels"],
)
def test_a_picture_that_is_not_a_mask_of_this_size_is_refused(
    tmp_path: Path, pixels: NDArray[np.uint8], says: str
) -> None:
    path = written(tmp_path / "mask.png", pixels)

    with pytest.raises(DataError, match=says):
        marked(path)


def test_a_file_that_is_not_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("not a picture")

    with pytest.raises(DataError, match="Save the mask as a PNG"):
        marked(str(tmp_path / "mask.png"))


@pytest.mark.parametrize(
    ("level", "flag", "says"),
    [
        (0, "--region", "expected some marked pixels, got none"),
        (255, "--region", "Leave the flag out"),
        (255, "--ignore", "Nothing would be judged"),
    ],
)
def test_a_mask_of_nothing_or_everything_is_refused(tmp_path: Path, level: int, flag: str, says: str) -> None:
    path = written(tmp_path / "mask.png", np.full(SIZE, level, np.uint8))

    with pytest.raises(DataError, match=says):
        mask_of((path,), SIZE, flag=flag)


def test_a_mask_has_the_pixels_and_an_outline() -> None:
    mask = mask_of(("10,5,30,15",), SIZE, flag="--ignore")

    assert (unpack(mask) == (box() > 0)).all()
    (polygon,) = mask.outline
    assert {(round(40 * x - 0.5), round(30 * y - 0.5)) for x, y in polygon} == {(10, 5), (29, 5), (29, 14), (10, 14)}


def test_an_outline_stays_within_the_limits_of_the_card() -> None:
    rows, columns = np.mgrid[:600, :600]
    dots = (rows // 12 % 2 == 0) & (columns // 12 % 2 == 0)
    wavy = (np.hypot(rows - 300, columns - 300) < 200 + 30 * np.sin(60 * np.arctan2(rows - 300, columns - 300))) | dots

    polygons = outline(wavy)

    assert 0 < len(polygons) <= 64
    assert all(3 <= len(polygon) <= 256 for polygon in polygons)
    assert all(0 <= value <= 1 for polygon in polygons for point in polygon for value in point)
