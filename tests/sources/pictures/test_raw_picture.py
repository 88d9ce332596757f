"""The pixels of industrial cameras as frames."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import DataError
from andon.sources.pictures.decode import Channels
from andon.sources.pictures.pixel_formats import FORMATS, pixel_format
from andon.sources.pictures.raw_picture import RawPicture, to_frame

CODES = {known.name: code for code, known in FORMATS.items()}
RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)[..., None]


def raw(name: str, rgb: np.ndarray) -> RawPicture:
    """Return the pixels that a camera with this format sends for a picture."""
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    match name:
        case "Mono8":
            pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        case "RGB8":
            pixels = rgb
        case "BGR8":
            pixels = rgb[..., ::-1]
        case "RGBa8":
            pixels = np.concatenate([rgb, alpha], axis=2)
        case "BGRa8":
            pixels = np.concatenate([rgb[..., ::-1], alpha], axis=2)
        case _:
            first_row = name.removeprefix("Bayer").removesuffix("8")
            second_row = {"GR": "BG", "RG": "GB", "GB": "RG", "BG": "GR"}[first_row]
            pixels = np.empty(rgb.shape[:2], np.uint8)
            for row, letters in enumerate((first_row, second_row)):
                for column, letter in enumerate(letters):
                    pixels[row::2, column::2] = rgb[row::2, column::2, "RGB".index(letter)]
    return RawPicture(np.ascontiguousarray(pixels, np.uint8).reshape(len(rgb), -1), CODES[name])


@pytest.mark.parametrize("name", ["RGB8", "BGR8", "RGBa8", "BGRa8"])
def test_colour_pixels_become_the_same_rgb_frame_and_opencvs_grey(name: str) -> None:
    assert (to_frame(raw(name, RGB), 3) == RGB).all()
    assert (to_frame(raw(name, RGB), 1) == GREY).all()


def test_grey_pixels_are_repeated_for_a_model_of_colour() -> None:
    assert (to_frame(raw("Mono8", RGB), 1) == GREY).all()
    assert (to_frame(raw("Mono8", RGB), 3) == np.repeat(GREY, 3, axis=2)).all()


@pytest.mark.parametrize("name", [name for name in CODES if name.startswith("Bayer")])
@given(colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_bayer_pattern_of_one_colour_becomes_this_colour(name: str, colour: tuple[int, int, int]) -> None:
    plain = np.full((8, 8, 3), colour, np.uint8)
    assert (to_frame(raw(name, plain), 3) == plain).all()
    assert (to_frame(raw(name, plain), 1) == cv2.cvtColor(plain, cv2.COLOR_RGB2GRAY)[..., None]).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(CODES))
def test_every_format_gives_a_frame_of_its_size(name: str, channels: Channels) -> None:
    frame = to_frame(raw(name, RGB), channels)
    assert frame.shape == (6, 8, channels)
    assert frame.dtype == np.uint8


def test_another_format_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match=r'got Mono12 from the camera. Set for example pixel_format = "Mono8".$'):
        pixel_format(0x01100005, "Mono12")
