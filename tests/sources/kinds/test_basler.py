"""Basler cameras: pylon's emulator through pypylon and the process of a camera."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from tests.sources.kinds.camera_emulators import emulate_basler, needs_basler
from tests.sources.live.test_vendor_camera import children

from andon.runtime.items import Item, Lost
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.clock import SystemClock
from andon.sources.kinds import basler
from andon.sources.kinds.basler import Settings
from andon.sources.live.camera_process import Order
from andon.sources.live.stream import LiveStream
from andon.sources.live.vendor_camera import vendor_stream
from andon.sources.source import find

SPEC = FrameSpec(channels=3, size=(16, 16))

Follow = Callable[..., LiveStream]


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Streams of emulated cameras, which are closed after the test."""
    monkeypatch.setenv("PYLON_CAMEMU", "0")  # restored after the test
    emulate_basler()
    streams: list[LiveStream] = []

    def begin(text: str, opener: str = "", **settings: Any) -> LiveStream:
        chosen, stop = Settings(**{"stale_after_s": 20.0, **settings}), threading.Event()
        if opener:
            order = Order(
                opener=f"tests.sources.kinds.basler_forced:{opener}",
                camera="0",
                settings=msgspec.to_builtins(chosen),
            )
            streams.append(vendor_stream(text, order, SPEC, chosen, clock=SystemClock(), stop=stop))
        else:
            streams.append(basler.stream(text, SPEC, chosen, SystemClock(), stop))
        return streams[-1]

    yield begin
    for stream in streams:
        stream.close()


def frame(stream: LiveStream) -> Item:
    item = next(stream)
    assert isinstance(item, Item), item
    return item


@needs_basler
def test_frames_of_a_camera_arrive_and_its_process_ends_with_the_stream(follow: Follow) -> None:
    before = children()
    stream = follow("basler:0815-0001", exposure_us=2000.0, gain_db=1.0, frame_rate_hz=50.0)
    assert frame(stream).data.shape == (1040, 1024, 3)
    stream.close()
    assert children() == before


@needs_basler
@pytest.mark.slow
def test_c13_incomplete_buffers_are_invalid_and_the_camera_goes_on(follow: Follow) -> None:
    stream = follow("basler:0", "failing", frame_rate_hz=10.0, warm_frames=0)
    items = [next(stream) for _ in range(15)]
    lost = [item for item in items if isinstance(item, Lost)]

    assert [item.reason for item in lost] == [Reason.CORRUPT] * 3
    assert lost[0].detail == "basler:0: The buffer was incompletely grabbed."
    assert isinstance(items[-1], Item)


@needs_basler
@pytest.mark.slow
def test_a_camera_with_a_trigger_is_not_stale_between_its_triggers(follow: Follow) -> None:
    stream = follow(
        "basler:0", "triggered", triggered=True, trigger_source="Software", stale_after_s=0.8, read_timeout_s=0.6
    )
    items: list[Item | Lost] = []
    while len([item for item in items if isinstance(item, Item)]) < 3:
        items.append(next(stream))
    first = next(number for number, item in enumerate(items) if isinstance(item, Item))

    assert len(items) - first == 3  # no report of a silence after the first frame


@needs_basler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["Mono8", "RGB8Packed", "BGR8Packed", "BGRA8Packed", "BayerRG8", "BayerBG8"])
def test_a_pixel_format_of_the_emulator_becomes_a_frame_that_is_not_blank(follow: Follow, name: str) -> None:
    picture = frame(follow("basler:0", pixel_format=name)).data
    assert picture.shape == (1040, 1024, 3)
    assert picture.std() > 10


@needs_basler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "settings", "why"),
    [
        (
            "basler:99",
            {},
            "(expected the camera 99, found 0815-0000 (Emulation), 0815-0001 (Emulation). Give a serial number",
        ),
        ("basler:0", {"pixel_format": "Mono12"}, "got Mono12 from the camera. Set for example pixel_format"),
        ("basler:0", {"exposure_us": 1e12}, "exposure_us: the camera refuses ExposureTime = 1000000000000.0: Value"),
        (
            "basler:0",
            {"trigger_source": "Nonsense", "triggered": True},
            "trigger_source: the camera refuses TriggerSource = Nonsense: ",
        ),
    ],
)
def test_a_camera_that_cannot_be_opened_is_stale_with_the_reason(
    follow: Follow, text: str, settings: dict[str, Any], why: str
) -> None:
    item = next(follow(text, **settings, stale_after_s=3.0))
    assert isinstance(item, Lost)
    assert item.reason is Reason.STALE
    assert why in item.detail


@needs_basler
@pytest.mark.slow
def test_c12_a_camera_in_use_is_found_again_when_it_is_free(follow: Follow) -> None:
    first, second = follow("basler:0"), follow("basler:1")
    frame(first), frame(second)
    first.close()
    began_s = time.monotonic()
    frame(follow("basler:0"))
    assert time.monotonic() - began_s < 10.0
    frame(second)


@pytest.mark.parametrize("text", ["basler", "basler:0", "basler:0815-0000"])
def test_an_address_is_found(text: str) -> None:
    assert find(text).name == "basler"
