"""Detect damage in the coded pixels of a picture.

OpenCV's decoders fill damaged pixels with grey or noise and report nothing. simplejpeg decodes JPEG and reports the warnings of
libjpeg. It gives the same pixels as OpenCV in the same time. The strips of a TIFF file are checked before OpenCV decodes them.

Some damage cannot be found by any decoder: a changed byte in a JPEG whose codes stay valid, a hole in lossy WebP, or changed
pixels in an uncompressed file. Damaged JPEG inside TIFF is not detected either. For JPEG files, damage is detected only with the
samplings 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1 and 4:4:1.
"""

import io
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.foundation.extras import needs
from andon.sources.pictures.header import tiff_compression, tiff_strips
from andon.sources.pictures.limits import MAX_PIXELS

_NONE, _DEFLATE = 1, (8, 32946)
# libjpeg gives these warnings but decodes the whole picture; some cameras cause them in every picture
_HARMLESS = ("Invalid SOS parameters", "Warning: unknown JFIF revision number")
_BEFORE_THE_END = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_MOST_PADDING = 64
"""Largest padding, in bytes.

Cameras pad their pictures to a multiple of at most this number. More padding is a hole in the data, filled with zeros.
"""


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a JPEG to RGB ``[H, W, 3]`` or grey ``[H, W, 1]``. Return None if only OpenCV can decode it.

    Only OpenCV can decode CMYK and sampling factors that libjpeg-turbo has no name for. CMYK is still checked for damage here.

    Raises:
        DataError: the picture is damaged.
        MissingExtra: simplejpeg is not installed.
    """
    with needs("camera", "reading JPEG"):
        import simplejpeg
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        wanted = {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}.get(colours)
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, wanted or "CMYK")
        except ValueError as error:
            if not str(error).startswith(_HARMLESS) and not _is_padding(data, str(error)):
                raise
            pixels = simplejpeg.decode_jpeg(data, wanted or "CMYK", strict=False)
    except ValueError as error:
        if "Could not determine subsampling" in str(error):
            return None
        raise DataError(f"damaged JPEG: {str(error).removeprefix('Corrupt JPEG data: ')}") from error
    return pixels if wanted else None


def _is_padding(data: bytes, warning: str) -> bool:
    """Return whether the warning is only about equal bytes between the last coded block and the end marker."""
    found = _BEFORE_THE_END.match(warning)
    end = data.rfind(b"\xff\xd9")
    if found is None or end < 0 or int(found[1]) > _MOST_PADDING:
        return False
    # libjpeg has already consumed some of the padding, so it counts too few bytes
    return len(set(data[end - max(1, int(found[1])) : end])) == 1


def require_intact_tiff(data: bytes) -> None:
    """Check that every strip of a compressed TIFF can be decompressed.

    Raises:
        DataError: a strip is damaged.
        MissingExtra: Pillow is needed, for compressions other than deflate, and is not installed.
    """
    compression = tiff_compression(data)
    if compression in _DEFLATE:
        _require_deflated(data)
    elif compression != _NONE:
        _require_readable(data)


def _require_deflated(data: bytes) -> None:
    left = 8 * MAX_PIXELS  # limit in bytes for all strips together: many small strips can unpack to gigabytes
    for begin, size in tiff_strips(data):
        unpack = zlib.decompressobj()
        waiting = data[begin : begin + size]
        try:
            while waiting and not unpack.eof and left > 0:
                left -= len(unpack.decompress(waiting, 1 << 20))
                waiting = unpack.unconsumed_tail
        except zlib.error as error:
            raise DataError(f"damaged TIFF: {str(error).partition(': ')[2] or error}") from error
        if not unpack.eof:
            raise DataError("damaged TIFF: a strip ends too early or is too long")


def _require_readable(data: bytes) -> None:
    with needs("camera", "reading compressed TIFF"):
        from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(io.BytesIO(data)) as picture:
            try:
                picture.load()
            except (OSError, ValueError) as error:
                raise DataError(f"damaged TIFF: {error}") from error
    except (UnidentifiedImageError, SyntaxError, KeyError, NotImplementedError):
        return  # Pillow does not know this kind of TIFF, but OpenCV may
