"""Convert the pixels of an industrial camera to a frame."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.sources.opencv import opencv
from andon.sources.pictures.decode import Channels, Frame, grey
from andon.sources.pictures.pixel_formats import pixel_format


class RawPicture(NamedTuple):
    """The pixels of a camera before the conversion for the model file."""

    pixels: NDArray[np.uint8]
    """``[H, W * bytes_per_pixel]``, without padding."""
    code: int
    """Number of the pixel format in PFNC."""


def to_frame(picture: RawPicture, channels: Channels) -> Frame:
    """Convert the pixels of a camera to the channels of the model file.

    A grey picture becomes RGB by repetition. Bayer patterns are interpolated linearly.

    Raises:
        DataError: the format is not supported.
    """
    known = pixel_format(picture.code)
    height = len(picture.pixels)
    if known.name == "Mono8":
        levels = picture.pixels.reshape(height, -1, 1)
        return levels if channels == 1 else np.repeat(levels, 3, axis=2)
    cv2 = opencv()
    shape = (height, -1) if known.bytes_per_pixel == 1 else (height, -1, known.bytes_per_pixel)
    pixels = picture.pixels.reshape(shape)
    if channels == 3 and known.name == "RGB8":
        return pixels
    if channels == 3:
        into_rgb = "COLOR_BGR2RGB" if not known.to_bgr else known.to_bgr.removesuffix("BGR") + "RGB"
        rgb: Frame = cv2.cvtColor(pixels, getattr(cv2, into_rgb))
        return rgb
    return grey(cv2.cvtColor(pixels, getattr(cv2, known.to_bgr)) if known.to_bgr else pixels)
