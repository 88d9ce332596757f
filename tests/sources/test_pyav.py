"""PyAV decodes to the same pixels as OpenCV, opens only what it may, and its log lines have no secrets."""

import logging
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import DataError
from andon.foundation.redaction import REVEALED
from andon.runtime.items import Item, Lost
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.addresses import register_secrets
from andon.sources.kinds import video
from andon.sources.kinds.video import Video
from andon.sources.pyav import Decoder, decoder, open_container, pyav, reason
from andon.sources.stream_settings import ReplaySettings

av: Any = pytest.importorskip("av", reason="PyAV is not installed")
RGB = FrameSpec(channels=3, size=(8, 8))
N = 24
FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p"]


def clip(
    path: Path, *, pixel_format: str = "yuv420p", codec: str = "libx264", size: tuple[int, int] = (98, 70)
) -> Path:
    """Write moving noise of the given width and height, with a key frame every eight frames."""
    width, height = size
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (height, width + N, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.gop_size, stream.max_b_frames, stream.time_base = 8, 0, Fraction(1, 25)
        stream.thread_type = "NONE"
        for number in range(N):
            pixels = np.ascontiguousarray(base[:, number : number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def streamed(path: Path, package: Decoder, channels: int = 3) -> list[Item | Lost]:
    spec = FrameSpec(channels=1 if channels == 1 else 3, size=(8, 8))
    return list(video.stream(str(path), spec, ReplaySettings(), FakeClock(), threading.Event(), package=package))


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [(98, 70), (96, 64)])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_decoder_does_not_change_a_pixel_a_key_or_a_time(
    tmp_path: Path, pixel_format: str, size: tuple[int, int], channels: int
) -> None:
    # otherwise a line could decide other than the calibration did, only because PyAV was installed meanwhile
    path = clip(tmp_path / "line.mp4", pixel_format=pixel_format, size=size)
    with_pyav, with_opencv = streamed(path, "pyav", channels), streamed(path, "opencv", channels)

    assert len(with_pyav) == N
    for one, other in zip(with_pyav, with_opencv, strict=True):
        assert isinstance(one, Item)
        assert isinstance(other, Item)
        assert (one.data == other.data).all()
        assert (one.ref.key, one.ref.group) == (other.ref.key, other.ref.group)
        assert one.ref.time_s == pytest.approx(other.ref.time_s)


@pytest.mark.parametrize("package", ["pyav", "opencv"])
def test_a_collection_gives_the_frames_of_the_stream_with_either_decoder(tmp_path: Path, package: Decoder) -> None:
    path = clip(tmp_path / "line.mp4")
    collection = Video(path, package=package)
    frames = streamed(path, package)

    assert [ref.key for ref in collection.refs] == [item.ref.key for item in frames]
    for number in (17, 3, 4, 23):
        read, given = collection.read(collection.refs[number]), frames[number]
        assert isinstance(read, Item)
        assert isinstance(given, Item)
        assert (read.data == given.data).all()


def damaged(path: Path) -> Path:
    """Overwrite the middle of the ninth to eleventh packet, of which the first is a key frame."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    begin, size = packets[10]
    data[begin + size // 3 : begin + size] = b"\x55" * (size - size // 3)
    path.write_bytes(data)
    return path


def test_a_frame_with_damage_is_lost_and_so_are_the_frames_up_to_the_next_key_frame(tmp_path: Path) -> None:
    # complaint 10: FFmpeg fills damaged areas, so the frame looks sound. OpenCV gives it to the judge
    items = streamed(damaged(clip(tmp_path / "line.mp4")), "pyav")
    lost = [number for number, item in enumerate(items) if isinstance(item, Lost)]

    assert lost == list(range(10, 16))
    reasons = {item.reason for item in items if isinstance(item, Lost)}
    assert reasons == {Reason.CORRUPT}


@pytest.mark.parametrize(
    "content",
    [b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", b"ffconcat version 1.0\nfile http://127.0.0.1:9/a.ts\n"],
)
def test_a_playlist_in_a_file_opens_no_network_address(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "line.mp4"
    path.write_bytes(content)

    with pytest.raises(DataError):
        open_container(str(path), protocols="file", timeout_s=None)


def test_a_protocol_that_the_scheme_does_not_need_is_refused(tmp_path: Path) -> None:
    path = clip(tmp_path / "line.mp4")

    with pytest.raises(DataError):
        open_container(f"file:{path}", protocols="http,tcp", timeout_s=(1.0, 1.0))
    open_container(str(path), protocols="file", timeout_s=None).close()


def test_ffmpegs_log_lines_become_debug_lines_without_any_form_of_a_password(caplog: pytest.LogCaptureFixture) -> None:
    # complaint 25: the tool underneath printed the decoded form
    pyav()
    register_secrets("rtsp://admin:CAN%41RY%20x@10.0.0.7/live?token=t0k3nCANARY")
    with caplog.at_level(logging.DEBUG, logger="andon"):
        for text in ("CANARY x", "CAN%41RY%20x", "admin:CANARY%20x", "token=t0k3nCANARY", "rtsp://u:pw@h/x"):
            av.logging.log(av.logging.ERROR, "rtsp", f"cannot open {text} now")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("andon")]

    assert len(lines) == 5
    assert all("cannot open" in line and "***" in line for line in lines)
    assert not any("CANARY" in line or "CAN%41RY" in line or ":pw@" in line for line in lines)


def test_an_error_of_pyav_is_named_without_the_address_in_it() -> None:
    with pytest.raises(OSError, match="secretpass") as refused:
        av.open("rtsp://u:secretpass@127.0.0.1:9/")

    assert reason(refused.value) == "Connection refused"
    assert "secretpass" not in REVEALED.redact(reason(refused.value))


def test_which_package_decodes_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    decoder.cache_clear()
    with caplog.at_level(logging.INFO):
        assert decoder() == decoder() == "pyav"

    assert [record.getMessage() for record in caplog.records] == [
        f"videos and network streams are decoded with PyAV {av.__version__}"
    ]


def test_without_pyav_opencv_decodes_and_the_log_names_the_remedy(tmp_path: Path) -> None:
    path = clip(tmp_path / "line.mp4")
    script = (
        "import logging, sys; sys.modules['av'] = None; logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "from andon.sources.kinds.video import collect\n"
        "from andon.runtime.items import Item\n"
        f"video = collect({str(path)!r})\n"
        "print(sum(isinstance(video.read(ref), Item) for ref in video.refs))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.count("decoded with OpenCV") == 1
    assert "[monitor]" in done.stdout
    assert done.stdout.splitlines()[-1] == str(N)
