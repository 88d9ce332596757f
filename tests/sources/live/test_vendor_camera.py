"""A stream over the process of a camera: faults are noticed, and the next process goes on."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sources.live.scripted_device import order

from andon.foundation.errors import ConfigError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.live.camera_settings import CameraSettings
from andon.sources.live.stream import LiveStream
from andon.sources.live.vendor_camera import rule, vendor_stream

SPEC = FrameSpec(channels=1, size=(6, 8))
SETTINGS = CameraSettings(read_timeout_s=0.6, stale_after_s=10.0)

Follow = Callable[..., LiveStream]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Streams of a scripted camera, which are closed after the test."""
    streams: list[LiveStream] = []

    def begin(*script: Any, settings: CameraSettings = SETTINGS, **how: Any) -> LiveStream:
        stream = vendor_stream(
            "scripted:0", order(*script, **how), SPEC, settings, clock=SystemClock(), stop=threading.Event()
        )
        streams.append(stream)
        return stream

    yield begin
    for stream in streams:
        stream.close()


def children() -> set[int]:
    """Return the processes of cameras that this process has started, and that have not ended."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1]
            if parent == str(os.getpid()) and b"camera_process" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def next_frame(stream: LiveStream) -> Item:
    item = next(stream)
    assert isinstance(item, Item), item
    return item


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL, signal.SIGSEGV])
def test_c12_a_process_that_stands_still_or_ends_is_replaced_and_the_frames_go_on(
    follow: Follow, fault: signal.Signals
) -> None:
    before = children()
    stream = follow("for ever")
    next_frame(stream)
    (pid,) = children() - before
    os.kill(pid, fault)
    until_s = time.monotonic() + 20.0
    while pid in children() - before or children() == before:
        next(stream)
        assert time.monotonic() < until_s
    next_frame(stream)

    assert stream.counts.drops["warming"] == 10  # five after each connection
    stream.close()
    assert children() == before


def test_c13_a_damaged_buffer_is_invalid_and_the_next_one_is_judged(follow: Follow) -> None:
    settings = CameraSettings(stale_after_s=10.0, warm_frames=0)
    stream = follow(1, "silence", "damaged", "silence", 2, settings=settings)
    next_frame(stream)

    lost = next(stream)
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.detail) == (Reason.CORRUPT, "scripted:0: 2 packets are missing")
    assert next_frame(stream).data.max() == 2


def test_a_triggered_camera_is_silent_for_longer_than_its_limits_and_not_stale(follow: Follow) -> None:
    settings = CameraSettings(triggered=True, stale_after_s=0.7, read_timeout_s=0.4)
    stream = follow(1, *["silence"] * 15, 2, settings=settings)
    items: list[Item | Lost] = []
    while len([item for item in items if isinstance(item, Item)]) < 2:
        items.append(next(stream))
    between = items[[isinstance(item, Item) for item in items].index(True) : -1]

    assert len(between) == 1  # no report of a silence between the two frames
    assert [item.data.max() for item in items if isinstance(item, Item)] == [1, 2]


def test_c06_a_stream_ends_within_two_seconds_while_its_camera_hangs_in_opening(follow: Follow) -> None:
    before = children()
    stream = follow(opening="hang and block Python", settings=CameraSettings(stale_after_s=0.5))
    assert isinstance(next(stream), Lost)
    began_s = time.monotonic()
    stream.close()

    assert time.monotonic() - began_s < 2.0
    until_s = time.monotonic() + 5.0
    while children() != before:
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_triggered_camera_loses_no_frame_after_connecting() -> None:
    assert rule(CameraSettings(triggered=True)).warm_frames == 0
    assert rule(CameraSettings()).warm_frames == 5
    assert rule(CameraSettings(triggered=True, warm_frames=2)).warm_frames == 2


def test_a_model_of_sensor_windows_is_refused() -> None:
    spec = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="flow"),))
    with pytest.raises(ConfigError, match="judges windows of sensor data"):
        vendor_stream("x", order(), spec, SETTINGS, clock=SystemClock(), stop=threading.Event())
