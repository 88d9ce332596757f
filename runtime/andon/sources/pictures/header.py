"""Read the header of a picture file before it is decoded, and check that the file is complete.

The header gives size, channels and bit depth. The formats are JPEG, PNG, BMP, TIFF and WebP. The code is plain Python over bytes,
so that a hostile or damaged file is refused before a decoder allocates memory for it. Sources: ITU-T T.81 (JPEG), W3C PNG, Adobe
TIFF 6.0, RFC 9649 (WebP).
"""

import re
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from andon.foundation.errors import DataError


class PictureHeader(NamedTuple):
    """Format, size in pixels, channels and depth of a picture. `channels` is 1 only if the header itself states grey."""

    kind: str
    height: int
    width: int
    channels: int
    alpha: bool
    bits: int = 8
    """Largest number of bits per channel, as stored. Fewer than 8 count as 8."""

    @property
    def dtype(self) -> Literal["uint8", "uint16"]:
        """Type of the decoded pixels."""
        return "uint8" if self.bits <= 8 else "uint16"


class TruncatedError(DataError):
    """The bytes end before the end of the header or of the picture."""


def parse(data: bytes) -> PictureHeader:
    """Parse the header from a whole file or from its beginning.

    Raises:
        TruncatedError: more bytes are needed.
        DataError: the format is not supported, or the header is damaged. Also for pixels that are not integers of at most 16
            bits, and for more than 8 bits in a format other than PNG and TIFF.
    """
    kind = _kind(data)
    try:
        header = _PARSERS[kind](data)
    except (struct.error, IndexError) as error:
        raise TruncatedError(
            f"{kind}: expected a complete header, but the file ends inside the header. Copy or save the file again."
        ) from error
    if header.height < 1 or header.width < 1:
        raise DataError(
            f"{kind}: expected at least 1 x 1 pixels in the header, got {header.height} x {header.width} (height x width). "
            "Copy or save the file again."
        )
    return header


def require_whole(data: bytes, kind: str) -> None:
    """Check that the file is complete. Decoders fill missing pixels with grey or black, some of them without a warning.

    Raises:
        TruncatedError: the end of the file is missing.
    """
    try:
        whole = _ENDS[kind](data)
    except (struct.error, IndexError):
        whole = False
    if not whole:
        raise TruncatedError(
            f"{kind}: expected a complete picture, but the file ends early (after {len(data)} bytes). Copy or save the "
            "file again."
        )


def _kind(data: bytes) -> str:
    if len(data) < 12:
        raise TruncatedError(
            f"expected a picture, got a file of only {len(data)} bytes, which is too small for a picture. "
            "Copy or save the file again."
        )
    if data[:2] == b"\xff\xd8":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    raise DataError(
        f"expected JPEG, PNG, BMP, TIFF or WebP, got a file that begins with the bytes {data[:8].hex(' ')}. Save it in one "
        "of these formats."
    )


def _require_8_bits(kind: str, bits: int) -> None:
    if bits > 8:
        raise DataError(
            f"{kind}: expected at most 8 bits per channel, got {bits}. Save pictures with more bits as 16-bit PNG or TIFF."
        )


# --- JPEG ---

_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_END = 0xD9
# within a scan 0xFF is followed by 0 (a data byte), a restart marker or more 0xFF; any other byte ends the scan
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment, and the begin and end of its content. Scans are skipped."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise DataError(f"JPEG: expected a marker at byte {at}, got {data[at]:#04x}. Copy or save the file again.")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker == _END:
            yield marker, at, at
            return
        if marker in _WITHOUT_LENGTH:
            continue
        end = at + struct.unpack_from(">H", data, at)[0]
        yield marker, at + 2, end
        at = end
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, at)
            if following is None:
                raise IndexError(at)
            at = following.start()


def _jpeg(data: bytes) -> PictureHeader:
    for marker, begin, _ in _jpeg_segments(data):
        if marker in _FRAME_MARKERS:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, begin)
            _require_8_bits("JPEG", bits)
            return PictureHeader("JPEG", height, width, 1 if channels == 1 else 3, alpha=False)
        if marker in (_SCAN, _END):
            break
    raise DataError("JPEG: expected a frame header before the picture, found none. Copy or save the file again.")


def _jpeg_ends(data: bytes) -> bool:
    # a thumbnail in the EXIF segment has its own end marker, so a search for FF D9 is not enough: walk over the segments
    seen = [marker for marker, _, _ in _jpeg_segments(data)]
    return _SCAN in seen and seen[-1] == _END


# --- PNG ---

_PNG_GREY = (0, 4)
_PNG_ALPHA = (4, 6)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name and end of each chunk."""
    at = 8
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        yield name, at
        if name == b"IEND":
            return


def _png(data: bytes) -> PictureHeader:
    length, name, width, height, bits, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if name != b"IHDR" or length != 13:
        raise DataError(
            f"PNG: expected a first chunk IHDR of 13 bytes, got {name!r} of {length} bytes. Copy or save the file again."
        )
    return PictureHeader(
        "PNG", height, width, 1 if colour in _PNG_GREY else 3, alpha=colour in _PNG_ALPHA, bits=16 if bits == 16 else 8
    )


def _png_ends(data: bytes) -> bool:
    names = [name for name, end in _png_chunks(data) if end <= len(data)]
    return names[-1] == b"IEND"


# --- BMP ---


def _bmp(data: bytes) -> PictureHeader:
    (size,) = struct.unpack_from("<I", data, 14)
    if size < 40:
        raise DataError(f"BMP: expected a header of at least 40 bytes, got {size}. Copy or save the file again.")
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    if packing in (1, 2):
        # runs may skip pixels: even a file without any pixel is valid, so a check for completeness is impossible
        raise DataError("BMP: expected uncompressed pixels, got run-length encoding. Save it uncompressed, or as PNG.")
    grey = False
    if bits <= 8:
        # grey cameras write a palette that contains only greys; such a header states grey, too
        (used,) = struct.unpack_from("<I", data, 46)
        palette = data[14 + size : 14 + size + 4 * (used or 1 << bits)]
        if len(palette) < 4 * (used or 1 << bits):
            raise IndexError
        grey = palette[0::4] == palette[1::4] == palette[2::4]
    # BITMAPV3 and later have masks; only in these is the fourth byte of a pixel alpha
    alpha = bits == 32 and packing == 3 and size >= 56 and struct.unpack_from("<I", data, 66)[0] != 0
    return PictureHeader("BMP", abs(height), width, 1 if grey else 3, alpha=alpha)


def _bmp_ends(data: bytes) -> bool:
    (offset,) = struct.unpack_from("<I", data, 10)
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    return bool(len(data) >= offset + (width * bits + 31) // 32 * 4 * abs(height))


# --- TIFF ---

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_FORMATS = {1: "B", 3: "H", 4: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT = (
    256,
    257,
    258,
    259,
    262,
    274,
    277,
    338,
    339,
)
_DEEP_BITS = frozenset({10, 12, 14, 16})
"""Bits per channel above 8 that OpenCV decodes without loss. It shifts 10, 12 and 14 bits to the upper end of 16."""
_DEEP_PHOTOMETRICS = {1: "grey (black is zero)", 2: "RGB"}
_UNSIGNED = 1
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_TIFF_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT, 273, 279, 324, 325}
)


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Return the integer tags of the first picture in the file."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, at)
    tags: dict[int, tuple[int, ...]] = {}
    after = at + 2 + 12 * entries
    struct.unpack_from(order + "I", data, after)  # the offset of the next picture is the last field of this directory
    for entry in range(at + 2, after, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        size = _TIFF_SIZES.get(kind, 0) * count
        begin = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        if begin + size > len(data):
            raise IndexError(begin)
        # a hostile file repeats large tags thousands of times: read only the needed ones, and each once
        if kind in _TIFF_FORMATS and tag in _TIFF_TAGS and tag not in tags:
            tags[tag] = struct.unpack_from(f"{order}{count}{_TIFF_FORMATS[kind]}", data, begin)
    return tags


def _tiff(data: bytes) -> PictureHeader:
    tags = _tiff_tags(data)
    if not all(tags.get(tag) for tag in (_WIDTH, _HEIGHT, _PHOTOMETRIC)):
        raise DataError(
            "TIFF: expected the tags for width, height and kind of pixels (photometric), but at least one is missing. Save the "
            "picture again, for example as PNG."
        )
    bits = max(tags.get(_BITS) or (1,))
    if bits > 8:
        _require_deep_integers(tags, bits)
    if (tags.get(_ORIENTATION) or (1,))[0] != 1:
        # OpenCV rotates some of them and not others, and has no option that changes this
        raise DataError(
            f"TIFF: expected upright pixels (orientation 1), got orientation {tags[_ORIENTATION][0]}. Save the picture upright."
        )
    samples = (tags.get(_SAMPLES) or (1,))[0]
    black_or_white_is_zero = tags[_PHOTOMETRIC][0] in (0, 1)
    alpha = bool(tags.get(_EXTRA)) or samples == 4
    return PictureHeader(
        "TIFF",
        tags[_HEIGHT][0],
        tags[_WIDTH][0],
        1 if black_or_white_is_zero and samples <= 2 else 3,
        alpha=alpha,
        bits=max(8, bits),
    )


def _require_deep_integers(tags: dict[int, tuple[int, ...]], bits: int) -> None:
    """Refuse pixels with more than 8 bits that OpenCV does not decode to their own values."""
    if set(tags[_BITS]) - _DEEP_BITS or len(set(tags[_BITS])) > 1:
        raise DataError(
            f"TIFF: expected 8, 10, 12, 14 or 16 bits in each channel, got {', '.join(map(str, tags[_BITS][:4]))}. Save the "
            "picture as 16-bit TIFF or PNG."
        )
    if set(tags.get(_FORMAT) or (_UNSIGNED,)) != {_UNSIGNED}:
        raise DataError(
            f"TIFF: expected unsigned integers, got another sample format with {bits} bits. Convert the pictures, with one fixed "
            "scale for all."
        )
    if tags[_PHOTOMETRIC][0] not in _DEEP_PHOTOMETRICS:
        raise DataError(
            f"TIFF: with more than 8 bits, expected {' or '.join(_DEEP_PHOTOMETRICS.values())}, got photometric "
            f"{tags[_PHOTOMETRIC][0]}. Save the picture as 16-bit PNG."
        )


def _tiff_ends(data: bytes) -> bool:
    return all(begin + size <= len(data) for begin, size in tiff_strips(data))


def tiff_compression(data: bytes) -> int:
    """Return the compression of the first picture as its TIFF 6.0 number; 1 is uncompressed."""
    return (_tiff_tags(data).get(_COMPRESSION) or (1,))[0]


def tiff_strips(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the offset and the number of bytes of each strip or tile of the first picture."""
    tags = _tiff_tags(data)
    for offsets, counts in _OFFSETS_AND_COUNTS:
        yield from zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)


# --- WebP ---


def _webp(data: bytes) -> PictureHeader:
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return PictureHeader("WebP", height & 0x3FFF, width & 0x3FFF, 3, alpha=False)
    if chunk == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return PictureHeader(
            "WebP", (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1, 3, alpha=bool(packed >> 28 & 1)
        )
    if chunk == b"VP8X":
        flags = data[20]
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        if len(data) < 30:
            raise IndexError
        return PictureHeader("WebP", height, width, 3, alpha=bool(flags & 0x10))
    raise DataError(f"WebP: expected a first chunk VP8, VP8L or VP8X, got {chunk!r}. Copy or save the file again.")


def _webp_ends(data: bytes) -> bool:
    return len(data) >= 8 + int(struct.unpack_from("<I", data, 4)[0])


_PARSERS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "TIFF": _tiff, "WebP": _webp}
_ENDS = {"JPEG": _jpeg_ends, "PNG": _png_ends, "BMP": _bmp_ends, "TIFF": _tiff_ends, "WebP": _webp_ends}
