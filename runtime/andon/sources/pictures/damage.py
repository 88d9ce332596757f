"""Notice damage within the coded pixels of a picture, which OpenCV's decoders fill with grey or noise and do not report.

JPEG is decoded by simplejpeg, which reports what libjpeg warns of. It gives OpenCV's pixels, in OpenCV's time. The strips of
a TIFF file are checked before OpenCV decodes them.

Some damage leaves no trace that a decoder could find: a changed byte in a JPEG whose codes stay valid, a hole in lossy WebP,
changed pixels where nothing is compressed. Not noticed either: damage of JPEG within TIFF, and of JPEG with other sampling
than 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1 and 4:4:1.
"""

import io
import re
import zlib

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.foundation.extras import needs
from andon.sources.opencv import MAX_PIXELS
from andon.sources.pictures.header import tiff_compression, tiff_strips

_NONE, _DEFLATE = 1, (8, 32946)
# libjpeg warns of these and decodes the picture in full; some cameras write them into every picture
_HARMLESS = ("Invalid SOS parameters", "Warning: unknown JFIF revision number")
_BEFORE_THE_END = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_MOST_PADDING = 64
"""Bytes; cameras that pad their pictures pad to a multiple of at most this. More is a hole that was filled with zeros."""


def decode_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode a JPEG to RGB ``[H, W, 3]`` or grey ``[H, W, 1]``, or return None where only OpenCV can.

    That is CMYK, which is checked here nevertheless, and sampling factors that libjpeg-turbo has no name for.

    Raises:
        DataError: damaged.
        MissingExtra: no simplejpeg.
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
        raise DataError(f"a damaged JPEG: {str(error).removeprefix('Corrupt JPEG data: ')}") from error
    return pixels if wanted else None


def _is_padding(data: bytes, warning: str) -> bool:
    """Return whether libjpeg warns of nothing but equal bytes between the last coded block and the end marker."""
    found = _BEFORE_THE_END.match(warning)
    end = data.rfind(b"\xff\xd9")
    if found is None or end < 0 or int(found[1]) > _MOST_PADDING:
        return False
    # libjpeg has taken some of the padding already, so that it counts fewer bytes than there are
    return len(set(data[end - max(1, int(found[1])) : end])) == 1


def require_intact_tiff(data: bytes) -> None:
    """Check that every strip of a compressed TIFF holds what it should.

    Raises:
        DataError: a strip is damaged.
        MissingExtra: no Pillow, for compressions other than deflate.
    """
    compression = tiff_compression(data)
    if compression in _DEFLATE:
        _require_deflated(data)
    elif compression != _NONE:
        _require_readable(data)


def _require_deflated(data: bytes) -> None:
    left = 8 * MAX_PIXELS  # of all strips together: many small strips can unpack to gigabytes
    for begin, size in tiff_strips(data):
        unpack = zlib.decompressobj()
        waiting = data[begin : begin + size]
        try:
            while waiting and not unpack.eof and left > 0:
                left -= len(unpack.decompress(waiting, 1 << 20))
                waiting = unpack.unconsumed_tail
        except zlib.error as error:
            raise DataError(f"a damaged TIFF: {str(error).partition(': ')[2] or error}") from error
        if not unpack.eof:
            raise DataError("a damaged TIFF: a strip ends too early, or is too long")


def _require_readable(data: bytes) -> None:
    with needs("camera", "reading compressed TIFF"):
        from PIL import Image, UnidentifiedImageError
    try:
        with Image.open(io.BytesIO(data)) as picture:
            try:
                picture.load()
            except (OSError, ValueError) as error:
                raise DataError(f"a damaged TIFF: {error}") from error
    except (UnidentifiedImageError, SyntaxError, KeyError, NotImplementedError):
        return  # a kind of TIFF that Pillow does not know; OpenCV may
