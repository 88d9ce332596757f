"""Picture files are decoded to arrays: formats, colours, bit depths, and files that are damaged or too large."""

import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.sources.pictures.test_header import tiff

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.extras import remedy
from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.sources.pictures import decode as decoding
from andon.sources.pictures import limits
from andon.sources.pictures.decode import WarnedKinds, decode, decode_file, frame_channels, header

LOSSLESS = [".png", ".bmp", ".tiff"]


def noise(channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (30, 20, channels), np.uint8)


def encoded(suffix: str, rgb: NDArray[np.uint8]) -> bytes:
    bgr = rgb[..., ::-1] if rgb.shape[2] == 3 else rgb
    return cv2.imencode(suffix, np.ascontiguousarray(bgr))[1].tobytes()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def deep_noise(channels: int = 3, bits: int = 16) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 2**bits, (30, 20, channels), np.uint16)


def turned_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Return a JPEG with EXIF data that ask for a rotation by 90 degrees."""
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 0x0112, 3, 1, 6) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    plain = encoded(".jpg", rgb)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + plain[2:]


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_colour_comes_as_rgb(suffix: str) -> None:
    rgb = noise()

    np.testing.assert_array_equal(decode(encoded(suffix, rgb)), rgb)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_come_without_loss(suffix: str, channels: int) -> None:
    deep = deep_noise(channels)
    data = cv2.imencode(suffix, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()

    np.testing.assert_array_equal(decode(data), deep)


def test_deep_grey_becomes_colour_by_repetition() -> None:
    deep = deep_noise(1, bits=12)

    np.testing.assert_array_equal(
        decode(cv2.imencode(".png", deep)[1].tobytes(), channels=3), np.repeat(deep, 3, axis=2)
    )


def test_twelve_bits_packed_in_a_tiff_become_the_upper_bits_of_sixteen() -> None:
    deep = deep_noise(1, bits=12)
    rows = ("".join(f"{level:012b}" for level in row) for row in deep[..., 0].tolist())
    packed = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)

    np.testing.assert_array_equal(decode(tiff(packed, 30, 20, 12)), deep << 4)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_grey_comes_as_one_channel(suffix: str) -> None:
    grey = noise(1)

    np.testing.assert_array_equal(decode(encoded(suffix, grey)), grey)


def test_grey_becomes_rgb_by_repetition_where_three_channels_are_wanted() -> None:
    grey = noise(1)

    np.testing.assert_array_equal(decode(encoded(".png", grey), channels=3), np.repeat(grey, 3, axis=2))


def test_grey_where_colour_is_wanted_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    warned = WarnedKinds()

    for _ in range(3):
        decode(encoded(".png", noise(1)), channels=3, name="mono.png", warned=warned)

    messages = [record.getMessage() for record in caplog.records if "Did a camera change" in record.getMessage()]
    assert len(messages) == 1
    assert messages[0].startswith("mono.png: a grey picture")


def test_colour_is_never_silently_made_grey() -> None:
    assert decode(encoded(".png", noise()), channels=1).shape[2] == 3


def test_exif_turns_are_ignored() -> None:
    rgb = noise()
    turned = cv2.imdecode(np.frombuffer(turned_jpeg(rgb), np.uint8), cv2.IMREAD_COLOR)
    assert turned is not None
    assert turned.shape == (20, 30, 3), "the EXIF part is not one"

    np.testing.assert_array_equal(decode(turned_jpeg(rgb)), decode(encoded(".jpg", rgb)))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_alpha_is_dropped_with_one_warning_that_names_the_first_file(
    suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    bgra = noise(4)
    warned = WarnedKinds()
    with caplog.at_level(logging.WARNING):
        frames = [
            decode(cv2.imencode(suffix, bgra)[1].tobytes(), name=name, warned=warned)
            for name in ("part.png", "next.png")
        ]

    for frame in frames:
        np.testing.assert_array_equal(frame, bgra[..., 2::-1])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["part.png"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("left_out", [1, 2, 40, 0.5])
def test_a_picture_that_is_cut_off_is_refused_by_name(suffix: str, left_out: float) -> None:
    for channels in (1, 3):
        whole = encoded(suffix, noise(channels))
        cut = whole[: -int(left_out) if left_out >= 1 else len(whole) // 2]
        with pytest.raises(DataError, match=r"part\.x"):
            decode(cut, name="part.x")


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encoded(".png", noise()))
    data[len(data) // 2] ^= 0x55

    with pytest.raises(DataError, match="damaged PNG"):
        decode(bytes(data))


def test_a_picture_of_too_many_pixels_is_refused_from_its_header() -> None:
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    bomb += png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")

    with pytest.raises(DataError, match="expected at most 50 million pixels, got 20000 x 20000 \\(height x width\\)"):
        decode(bomb)
    with pytest.raises(DataError, match="20000 x 20000"):
        header(bomb)


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(limits.MAX_BYTES + 1)  # a sparse file: uses no disk space

    with pytest.raises(DataError, match="expected at most 200 MB, got 200 MB"):
        decode_file(path)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(20), b"<html>not a picture</html>"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DataError):
        decode(data)


def test_a_model_file_for_windows_is_told_that_frames_come() -> None:
    windows = WindowSpec(steps=8, hop=4, period_s=1.0, channels=(Channel(name="pressure"),))

    with pytest.raises(ConfigError, match="a camera gives frames"):
        frame_channels(windows, "a camera")
    assert frame_channels(FrameSpec(channels=1, size=(8, 8)), "a camera") == 1


def test_the_decoder_can_be_imported_without_opencv_and_names_the_extra_when_used() -> None:
    script = (
        "import sys; sys.modules['cv2'] = None\n"
        "from andon.sources.pictures.decode import decode, header\n"
        "from andon.foundation.errors import MissingExtra\n"
        "try: decode(b'')\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert remedy("camera") in done.stdout


def test_opencv_gets_its_pixel_limit_and_one_thread() -> None:
    script = (
        "from andon.sources.opencv import opencv\nimport os\n"
        "print(opencv().getNumThreads(), os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "50000000"]


def test_a_device_or_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")

    for name in ("pipe.png", "zero.png"):
        with pytest.raises(DataError, match="expected a regular file"):
            decode_file(tmp_path / name)


def test_a_file_beyond_its_stated_size_is_read_no_further_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grows.png"
    path.write_bytes(bytes(5000))
    monkeypatch.setattr(decoding, "MAX_BYTES", 1000)
    stated = os.stat_result((*path.stat()[:6], 0, *path.stat()[7:]))
    monkeypatch.setattr(Path, "stat", lambda _self: stated)

    with pytest.raises(DataError, match="expected at most"):
        decode_file(path)


def test_only_folders_of_pictures_give_frames_with_more_than_eight_bits() -> None:
    deep = FrameSpec(channels=1, size=(8, 8), dtype="uint16", white=4095.0)

    assert frame_channels(deep, "a folder", deep=True) == 1
    with pytest.raises(ConfigError, match=r"judges uint16 frames .*, but a camera gives uint8 frames\. Give a folder"):
        frame_channels(deep, "a camera")
