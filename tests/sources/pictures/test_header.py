"""The size of a picture is read from its header, before anything is decoded."""

import contextlib
import struct
import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.foundation.errors import DataError
from andon.sources.pictures.header import TruncatedError, parse, require_whole

SUFFIXES = [".jpg", ".png", ".bmp", ".tiff", ".webp"]


def encoded(suffix: str, height: int = 24, width: int = 40, channels: int = 3, seed: int = 0) -> bytes:
    shape = (height, width, channels) if channels > 1 else (height, width)
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.imencode(suffix, picture)[1].tobytes()


def tiff(pixels: bytes, height: int, width: int, bits: int, tags: Mapping[int, Sequence[int]] | None = None) -> bytes:
    """Return an uncompressed grey TIFF of one strip. `tags` replaces or adds 16-bit values."""
    values: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [bits], 259: [1], 262: [1], 273: [0], 277: [1], 278: [height], 279: [len(pixels)],
    } | dict(tags or {})  # fmt: skip
    directory, after = b"", 8 + 2 + 12 * len(values) + 4
    extra = b""
    for tag, numbers in sorted(values.items()):
        if tag in (273, 279):
            packed, kind = struct.pack("<I", numbers[0]), 4
        else:
            packed, kind = struct.pack(f"<{len(numbers)}H", *numbers), 3
        if len(packed) > 4:
            extra, packed = packed, struct.pack("<I", after)
        directory += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    place = struct.pack("<I", after + len(extra))
    directory = directory.replace(struct.pack("<HHII", 273, 4, 1, 0), struct.pack("<HHI", 273, 4, 1) + place)
    head = b"II*\0" + struct.pack("<IH", 8, len(values))
    return head + directory + b"\0\0\0\0" + extra + pixels


def png(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """Return the beginning of a PNG with a given header."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=20)
def test_the_header_agrees_with_the_decoder_about_the_size(suffix: str, height: int, width: int) -> None:
    data = encoded(suffix, height, width)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None

    assert parse(data)[1:3] == decoded.shape[:2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_colour_picture_has_three_channels(suffix: str) -> None:
    assert parse(encoded(suffix)).channels == 3


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff"])
def test_a_grey_picture_has_one_channel(suffix: str) -> None:
    assert parse(encoded(suffix, channels=1)).channels == 1


@pytest.mark.parametrize(
    ("colour", "channels", "alpha"), [(0, 1, False), (2, 3, False), (3, 3, False), (4, 1, True), (6, 3, True)]
)
def test_a_png_is_grey_by_its_colour_type_and_a_palette_is_colour(colour: int, channels: int, alpha: bool) -> None:
    header = parse(png(4, 4, colour=colour))

    assert (header.channels, header.alpha) == (channels, alpha)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_alpha_is_seen_in_the_header(suffix: str) -> None:
    assert parse(encoded(suffix, channels=4)).alpha
    assert not parse(encoded(suffix, channels=3)).alpha


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_seen_in_the_header(suffix: str) -> None:
    deep = parse(cv2.imencode(suffix, np.zeros((8, 8), np.uint16))[1].tobytes())
    shallow = parse(encoded(suffix))

    assert (deep.bits, deep.dtype) == (16, "uint16")
    assert (shallow.bits, shallow.dtype) == (8, "uint8")


@pytest.mark.parametrize(
    ("tags", "refusal"),
    [
        ({258: [32]}, "expected 8, 10, 12, 14 or 16 bits in each channel, got 32"),
        ({258: [16, 8, 16], 262: [2], 277: [3]}, "in each channel, got 16, 8, 16"),
        ({339: [2]}, "expected unsigned integers, got another sample format with 16 bits"),
        ({339: [3]}, "expected unsigned integers"),
        ({262: [0]}, r"expected grey \(black is zero\) or RGB, got photometric 0"),
    ],
)
def test_a_deep_tiff_that_would_be_decoded_to_other_levels_is_refused(tags: dict[int, list[int]], refusal: str) -> None:
    with pytest.raises(DataError, match=refusal):
        parse(tiff(np.zeros((8, 8), np.uint16).tobytes(), 8, 8, 16, tags))


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(share=st.floats(0.0, 0.999))
@settings(max_examples=40)
def test_a_file_cut_anywhere_is_never_taken_for_whole(suffix: str, share: float) -> None:
    whole = encoded(suffix)
    require_whole(whole, parse(whole).kind)
    cut = whole[: int(len(whole) * share)]

    with pytest.raises(DataError):
        require_whole(cut, parse(cut).kind)


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_picture() -> None:
    thumbnail = encoded(".jpg", 8, 8)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    picture = encoded(".jpg", 64, 64)
    data = picture[:2] + segment + picture[2:]
    require_whole(data, "JPEG")

    assert parse(data)[1:3] == (64, 64)
    with pytest.raises(TruncatedError):
        require_whole(data[:-2], "JPEG")


def test_bytes_after_the_end_marker_do_no_harm() -> None:
    require_whole(encoded(".jpg") + b"trailer of a phone", "JPEG")


@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"RIFF....WEBP"]),
)
def test_arbitrary_bytes_are_refused_as_data_or_parsed_but_never_crash(data: bytes, start: bytes) -> None:
    try:
        header = parse(start + data)
    except DataError:
        return
    assert header.height > 0
    assert header.width > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(at=st.integers(0, 400), value=st.integers(0, 255))
@settings(max_examples=60)
def test_one_changed_byte_never_crashes_the_walk(suffix: str, at: int, value: int) -> None:
    data = bytearray(encoded(suffix, 8, 8))
    data[at % len(data)] = value
    with contextlib.suppress(DataError):
        require_whole(bytes(data), parse(bytes(data)).kind)


def entry_of(data: bytearray, tag: int) -> int:
    """Return the position of a tag in a TIFF's directory."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    places = [directory + 2 + 12 * number for number in range(entries)]
    place: int = next(place for place in places if struct.unpack_from("<H", data, place)[0] == tag)
    return place


def test_a_tiff_that_is_stored_turned_is_refused() -> None:
    data = bytearray(encoded(".tiff", channels=1))
    rows_per_strip, orientation, short = 278, 274, 3
    struct.pack_into("<HHIHH", data, entry_of(data, rows_per_strip), orientation, short, 1, 6, 0)

    with pytest.raises(DataError, match="got orientation 6"):
        parse(bytes(data))


def test_a_tiff_that_claims_four_billion_values_is_refused_at_once() -> None:
    data = bytearray(encoded(".tiff"))
    width, long = 256, 4
    struct.pack_into("<HHII", data, entry_of(data, width), width, long, 0xFFFFFFFF, 8)

    with pytest.raises(TruncatedError):
        parse(bytes(data))
