"""The pixel formats of industrial cameras, by their numbers in the Pixel Format Naming Convention (PFNC) of GenICam.

Only formats with 8 bits per channel are supported, because a frame for the model file has 8 bits per channel. The process of a
camera imports this module, so it must stay small.
"""

from typing import NamedTuple

from andon.foundation.errors import DataError


class PixelFormat(NamedTuple):
    """A supported pixel format."""

    name: str
    bytes_per_pixel: int
    to_bgr: str
    """Name of OpenCV's conversion to BGR. Empty for BGR itself and for grey."""


FORMATS = {
    0x01080001: PixelFormat("Mono8", 1, ""),
    0x02180014: PixelFormat("RGB8", 3, "COLOR_RGB2BGR"),
    0x02180015: PixelFormat("BGR8", 3, ""),
    0x02200016: PixelFormat("RGBa8", 4, "COLOR_RGBA2BGR"),
    0x02200017: PixelFormat("BGRa8", 4, "COLOR_BGRA2BGR"),
    # OpenCV names a Bayer pattern by the second and third pixel of its second row, PFNC by the first two of its first row
    0x01080008: PixelFormat("BayerGR8", 1, "COLOR_BayerGB2BGR"),
    0x01080009: PixelFormat("BayerRG8", 1, "COLOR_BayerBG2BGR"),
    0x0108000A: PixelFormat("BayerGB8", 1, "COLOR_BayerGR2BGR"),
    0x0108000B: PixelFormat("BayerBG8", 1, "COLOR_BayerRG2BGR"),
}


def pixel_format(code: int, name: str = "") -> PixelFormat:
    """Return a supported format.

    Args:
        code: number of the format in PFNC.
        name: the camera's name of the format, for the message.

    Raises:
        DataError: the format is not supported.
    """
    known = FORMATS.get(code)
    if known is None:
        raise DataError(
            f"pixel format: expected one of {', '.join(one.name for one in FORMATS.values())}, got {name or hex(code)} from the "
            'camera. Set for example pixel_format = "Mono8".'
        )
    return known
