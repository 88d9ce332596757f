"""GenICam cameras: the three virtual cameras of viky.cti, through harvesters and the process of a camera."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sources.kinds.camera_emulators import needs_genicam, viky
from tests.sources.live.test_vendor_camera import children

from andon.foundation.errors import ConfigError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.clock import SystemClock
from andon.sources.kinds import genicam
from andon.sources.kinds.genicam import Settings, producers
from andon.sources.live.stream import LiveStream
from andon.sources.pictures.decode import Channels
from andon.sources.source import find

Follow = Callable[..., LiveStream]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Streams of virtual cameras, which are closed after the test."""
    streams: list[LiveStream] = []

    def begin(text: str, channels: Channels = 3, **settings: object) -> LiveStream:
        chosen = Settings(**{"cti_file": viky(), "stale_after_s": 20.0, **settings})  # type: ignore[arg-type]
        spec = FrameSpec(channels=channels, size=(16, 16))
        streams.append(genicam.stream(text, spec, chosen, SystemClock(), threading.Event()))
        return streams[-1]

    yield begin
    for stream in streams:
        stream.close()


def frame(stream: LiveStream) -> Item:
    item = next(stream)
    assert isinstance(item, Item), item
    return item


@needs_genicam
def test_frames_of_a_camera_arrive_and_its_process_ends_with_the_stream(follow: Follow) -> None:
    before = children()
    stream = follow("genicam:0")
    first, second = frame(stream), frame(stream)
    assert first.data.shape == (400, 400, 3)
    assert (first.ref.group, first.ref.key) == ("genicam:0", "genicam:0#6")
    assert first.ref.key != second.ref.key
    stream.close()
    assert children() == before


@needs_genicam
@pytest.mark.slow
def test_the_settings_reach_the_camera(follow: Follow) -> None:
    stream = follow("genicam:1", channels=1, pixel_format="Mono8", frame_rate_hz=50.0)
    frame(stream)
    began_s, before = time.monotonic(), stream.counts.grabbed
    while stream.counts.grabbed < before + 50:
        assert frame(stream).data.shape == (400, 400, 1)
    # 50 frames need 2.5 s at the camera's own rate of 20 per second
    assert time.monotonic() - began_s < 2.0


@needs_genicam
@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "settings", "why"),
    [
        ("genicam:77", {}, r"expected the camera 77, found 0 \(Viky\), 1 \(Viky\), 2 \(Viky\)\. Give a serial number"),
        ("genicam", {}, r"expected one camera, found 0 \(Viky\), 1 \(Viky\), 2 \(Viky\)"),
        (
            "genicam:0",
            {"exposure_us": 9.0},
            "exposure_us: the camera has no feature ExposureTime that can be set. Leave out",
        ),
        ("genicam:0", {"pixel_format": "Mono80"}, "pixel_format: the camera refuses PixelFormat = Mono80: "),
        (
            "genicam:0",
            {"frame_rate_hz": 1e9},
            "frame_rate_hz: the camera refuses AcquisitionFrameRate = 1000000000.0: Value",
        ),
    ],
)
def test_a_camera_that_cannot_be_opened_is_stale_with_the_reason(
    follow: Follow, text: str, settings: dict[str, object], why: str
) -> None:
    item = next(follow(text, **settings, stale_after_s=3.0))
    assert isinstance(item, Lost)
    assert item.reason is Reason.STALE
    assert re.search(why, item.detail), item.detail


@needs_genicam
@pytest.mark.slow
def test_c12_a_driver_that_stands_still_is_replaced(follow: Follow) -> None:
    before = children()
    stream = follow("genicam:0", read_timeout_s=1.0)
    frame(stream)
    (pid,) = children() - before
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    while pid in children() or len(children()) == len(before):
        next(stream)
        assert time.monotonic() - began_s < 20.0
    frame(stream)


@needs_genicam
@pytest.mark.slow
def test_two_cameras_of_one_producer_are_read_at_once(follow: Follow) -> None:
    red, blue = follow("genicam:0"), follow("genicam:2")
    for _ in range(5):
        one, other = frame(red).data.astype(float).mean(axis=(0, 1)), frame(blue).data.astype(float).mean(axis=(0, 1))
        assert one[0] - one[2] > other[0] - other[2]  # one is more red than the other


@needs_genicam
def test_c13_a_buffer_that_harvesters_reports_as_incomplete_is_damaged() -> None:
    from harvesters.core import ImageAcquirer

    from andon.sources.live.genicam_device import open_device

    device = open_device("0", {"producers": [viky()]})
    try:
        # viky.cti has no switch for it, so the library's own event is raised
        device._acquirer._emit_callbacks(ImageAcquirer.Events.INCOMPLETE_BUFFER)
        buffer = device.grab(1.0)
        assert buffer is not None
        assert buffer.damage.startswith("the buffer is incomplete")
        buffer.release()
        for _ in range(20):  # more than there are buffers: each is given back
            buffer = device.grab(1.0)
            assert buffer is not None
            assert buffer.damage == ""
            buffer.release()
        device.check()
    finally:
        device.close()


def test_without_a_producer_the_source_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    with pytest.raises(ConfigError, match=r"found none in the folders of GENICAM_GENTL64_PATH \(not set\)\. Install"):
        producers(None)
    with pytest.raises(
        ConfigError, match=r"^cti_file: expected the file of a GenTL producer \(\*\.cti\), got .*missing.cti"
    ):
        producers(str(tmp_path / "missing.cti"))


def test_producers_are_found_in_all_folders_of_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("a/one.cti", "b/two.cti", "b/other.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", os.pathsep.join(["", str(tmp_path / "a"), str(tmp_path / "b")]))
    assert [file.name for file in producers(None)] == ["one.cti", "two.cti"]


@pytest.mark.parametrize("text", ["genicam", "genicam:0", "genicam:40012345"])
def test_an_address_is_found(text: str) -> None:
    assert find(text).name == "genicam"
