"""Pictures with damaged pixels in a complete file are refused, not judged."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from andon.foundation.errors import DataError, MissingExtra
from andon.foundation.extras import remedy
from andon.runtime.items import Lost
from andon.runtime.schema import Reason
from andon.sources.kinds import images
from andon.sources.pictures.decode import decode, from_capture


def scene() -> NDArray[np.uint8]:
    """Return a picture with edges, slopes and noise, RGB ``[96, 128, 3]``."""
    rows, columns = np.mgrid[0:96, 0:128]
    rgb = np.stack([rows + columns, 2 * rows, 255 - columns], axis=-1).clip(0, 255).astype(np.uint8)
    rgb[24:72, 32:96] = np.random.default_rng(0).integers(90, 160, (48, 64, 3))
    return rgb


def written(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene()).convert(mode).save(file, kind, **options)
    return file.getvalue()


def holed(data: bytes, size: int = 512, share: float = 0.5) -> bytes:
    begin = int(len(data) * share)
    return data[:begin] + bytes(size) + data[begin + size :]


JPEG = written("JPEG", quality=90)
PROGRESSIVE = written("JPEG", quality=90, progressive=True)
GREY = written("JPEG", "L", quality=90)
CMYK = written("JPEG", "CMYK", quality=90)
WEBP = written("WEBP", quality=80)
DAMAGED = {
    "JPEG, half of its scan and an end marker": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "JPEG, zeros within its scan": holed(JPEG),
    "JPEG, a long hole": holed(JPEG, 1024, 0.4),
    "JPEG, no scan data": JPEG[: JPEG.index(b"\xff\xda") + 14] + b"\xff\xd9",
    "JPEG, more rows announced than there are": JPEG.replace(
        JPEG[JPEG.index(b"\xff\xc0") + 5 :][:2], struct.pack(">H", 120), 1
    ),
    "progressive JPEG, a quarter and an end marker": PROGRESSIVE[: len(PROGRESSIVE) // 4] + b"\xff\xd9",
    "grey JPEG, half of its scan": GREY[: len(GREY) // 2] + b"\xff\xd9",
    "CMYK JPEG, half of its scan": CMYK[: len(CMYK) // 2] + b"\xff\xd9",
    "TIFF, LZW with a hole": holed(written("TIFF", compression="tiff_lzw")),
    "TIFF, deflate with a hole": holed(written("TIFF", compression="tiff_adobe_deflate")),
    "BMP, run lengths without pixels": b"BM"
    + struct.pack("<IHHI", 1082, 0, 0, 1078)
    + struct.pack("<IiiHHIIiiII", 40, 128, 96, 1, 8, 1, 4, 0, 0, 0, 0)
    + b"".join(bytes([level, level, level, 0]) for level in range(256))
    + b"\0\1\0\0",
    "lossy WebP, cut, with a mended length": WEBP[:4] + struct.pack("<I", 892) + WEBP[8:900],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_within_the_coded_pixels_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"^part: "):
        decode(DAMAGED[name], name="part")


@pytest.mark.parametrize("whole", [JPEG, PROGRESSIVE, GREY], ids=["baseline", "progressive", "grey"])
@pytest.mark.parametrize("padding", [b"\0", bytes(16), b"\xff" * 40, bytes(64)], ids=["1", "16", "40 of ones", "64"])
def test_padding_before_the_end_marker_is_no_damage(whole: bytes, padding: bytes) -> None:
    np.testing.assert_array_equal(decode(whole[:-2] + padding + b"\xff\xd9"), decode(whole))


@pytest.mark.parametrize("rest", [bytes(300), b"ab" * 20], ids=["a long run of zeros", "other bytes"])
def test_what_is_more_than_padding_before_the_end_marker_is_damage(rest: bytes) -> None:
    with pytest.raises(DataError, match="extraneous bytes before marker 0xd9"):
        decode(JPEG[:-2] + rest + b"\xff\xd9")


def test_a_packet_of_a_stream_may_lack_its_end_marker_if_its_scan_is_whole() -> None:
    packet = np.frombuffer(JPEG[:-2], np.uint8)[None]

    np.testing.assert_array_equal(from_capture(packet, 3, "camera"), decode(JPEG))
    with pytest.raises(DataError, match="damaged JPEG"):
        from_capture(packet[:, :-400], 3, "camera")


def test_a_damaged_picture_in_a_folder_is_invalid_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(JPEG)
    (tmp_path / "1.jpg").write_bytes(DAMAGED["JPEG, zeros within its scan"])

    collection = images.everything(str(tmp_path))
    items = [collection.read(ref) for ref in collection.refs]

    assert [item.reason if isinstance(item, Lost) else None for item in items] == [None, Reason.UNREADABLE]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(written("JPEG", mode, quality=quality, subsampling=sampling, progressive=progressive),
                     id=f"JPEG {mode} {quality} {sampling} {progressive}")
        for mode in ("RGB", "L", "CMYK") for quality in (50, 100) for sampling in (0, 1, 2) for progressive in (False, True)
    ] + [
        pytest.param(written("JPEG") + b"\0" * 40, id="JPEG with bytes after its end"),
        pytest.param(written("JPEG", restart_marker_rows=1), id="JPEG with restart markers"),
        pytest.param(written("JPEG", keep_rgb=True), id="JPEG of RGB"),
        pytest.param(written("TIFF", compression="tiff_lzw"), id="TIFF LZW"),
        pytest.param(written("TIFF", compression="tiff_adobe_deflate"), id="TIFF deflate"),
        pytest.param(written("TIFF", "L", compression="packbits"), id="TIFF packbits"),
        pytest.param(written("TIFF", "P", compression="tiff_lzw"), id="TIFF palette"),
        pytest.param(written("WEBP", quality=80), id="WebP"),
    ],
)  # fmt: skip
def test_a_whole_picture_gives_the_pixels_that_opencv_gives(data: bytes) -> None:
    """Check that files calibrated with OpenCV's pixels keep their promise."""
    read = decode(data)

    how = (cv2.IMREAD_GRAYSCALE if read.shape[2] == 1 else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    assert expected is not None
    np.testing.assert_array_equal(read, expected[..., None] if expected.ndim == 2 else expected[..., ::-1])


def test_a_parameter_that_some_cameras_write_wrongly_is_no_damage() -> None:
    """Use a wrong spectral selection in a baseline scan, for which libjpeg only gives a warning."""
    at = JPEG.index(b"\xff\xda") + 4 + 1 + 2 * 3
    odd = JPEG[: at + 1] + bytes([JPEG[at + 1] - 1]) + JPEG[at + 2 :]

    np.testing.assert_array_equal(decode(odd), decode(JPEG))


def test_a_damaged_jpeg_writes_nothing_to_stderr(tmp_path: Path) -> None:
    path = tmp_path / "part.jpg"
    path.write_bytes(DAMAGED["JPEG, half of its scan and an end marker"])
    code = f"""
from pathlib import Path
from andon.foundation.errors import DataError
from andon.sources.pictures.decode import decode_file
try:
    decode_file(Path({str(path)!r}))
except DataError as error:
    print(error)
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert "part.jpg: damaged JPEG: premature end of data segment" in done.stdout


@pytest.mark.parametrize(
    ("package", "data"), [("simplejpeg", JPEG), ("PIL", written("TIFF", compression="tiff_lzw"))], ids=["JPEG", "TIFF"]
)
def test_a_decoder_that_is_not_installed_is_named_with_the_remedy(
    package: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtra, match=f"needs {package}: .*{re.escape(remedy('camera'))}"):
        decode(data)
