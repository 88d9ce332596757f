"""A real RTSP server: frames with time stamps, a server that stands still, and its return."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.sources.rtsp_server import RtspServer, absent

from andon.runtime.items import Item, Lost
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.clock import SystemClock
from andon.sources.kinds import camera
from andon.sources.live.stream import LiveStream

pytest.importorskip("av", reason="PyAV is not installed")
RGB = FrameSpec(channels=3, size=(8, 8))


@pytest.fixture(scope="module", autouse=True)
def server_is_here() -> None:
    if absent():
        pytest.skip(absent())


@pytest.fixture
def server() -> Iterator[RtspServer]:
    server = RtspServer()
    yield server
    server.close()


@pytest.fixture
def stream(server: RtspServer) -> Iterator[LiveStream]:
    live = camera.stream(server.url, RGB, camera.Settings(), SystemClock(), threading.Event())
    yield live
    live.close()


def wait_for_frame(stream: LiveStream, limit_s: float) -> tuple[Item, float, list[Lost]]:
    """Return the next frame, the seconds until it, and what was lost before it."""
    began_s, lost = time.monotonic(), list[Lost]()
    while time.monotonic() - began_s < limit_s:
        item = next(stream)
        if isinstance(item, Item):
            return item, time.monotonic() - began_s, lost
        lost.append(item)
    raise AssertionError(f"no frame within {limit_s} s, but {lost}")


@pytest.mark.slow
def test_frames_have_the_size_and_the_colours_of_the_camera_and_no_old_one_is_given(stream: LiveStream) -> None:
    item, _, _ = wait_for_frame(stream, 15.0)
    ages_s = [time.time() - (item.ref.time_s or 0.0)]
    for _ in range(50):
        item, _, _ = wait_for_frame(stream, 5.0)
        ages_s.append(time.time() - (item.ref.time_s or 0.0))

    assert item.data.shape == (180, 320, 3)
    assert max(ages_s) < 2.0
    assert stream.drops["warming"] >= 5
    assert stream.counts.grabbed == 51 + stream.counts.waiting + stream.dropped


@pytest.mark.slow
def test_a_server_that_stands_still_is_stale_within_2_5_seconds_and_back_3_seconds_after_its_return(
    server: RtspServer, stream: LiveStream
) -> None:
    # complaints 2, 3 and 5: a read that hangs, an old picture shown as live, a camera that is back and not used
    wait_for_frame(stream, 15.0)
    os.kill(server.process.pid, signal.SIGSTOP)
    stopped_s, stopped_wall_s = time.monotonic(), time.time()
    silent_s = None
    while time.monotonic() - stopped_s < 6.0:
        item = next(stream)
        if isinstance(item, Item):
            assert (item.ref.time_s or 0.0) <= stopped_wall_s + 0.5, "a frame was taken while the server stood still"
        elif silent_s is None:
            assert item.reason is Reason.STALE
            silent_s = time.monotonic() - stopped_s
    os.kill(server.process.pid, signal.SIGCONT)
    _, back_s, _ = wait_for_frame(stream, 15.0)

    assert silent_s is not None
    assert silent_s < 2.5
    assert back_s < 3.0


@pytest.mark.slow
def test_a_server_that_ends_is_a_silence_and_no_exception(server: RtspServer, stream: LiveStream) -> None:
    wait_for_frame(stream, 15.0)
    server.close()
    reasons: list[Reason] = []
    while not reasons or reasons[-1] is Reason.CORRUPT:  # the last frame can have been cut off
        if isinstance(lost := next(stream), Lost):
            reasons.append(lost.reason)

    assert reasons[-1] is Reason.STALE


@pytest.mark.slow
@pytest.mark.parametrize("state", ["open", "stopped", "refused"])
def test_a_stop_ends_the_stream_within_two_seconds(server: RtspServer, state: str) -> None:
    # complaint 6: a pipeline whose first connect failed cannot be stopped
    url, stop = server.url, threading.Event()
    if state == "refused":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"rtsp://127.0.0.1:{taken.getsockname()[1]}/live"
    stream = camera.stream(url, RGB, camera.Settings(stale_after_s=0.5), SystemClock(), stop)
    if state == "open":
        wait_for_frame(stream, 15.0)
    elif state == "stopped":
        os.kill(server.process.pid, signal.SIGSTOP)
    next(stream)
    stop.set()
    began_s = time.monotonic()

    assert list(stream) == []
    assert time.monotonic() - began_s < 2.0


@pytest.mark.slow
def test_a_wrong_password_is_logged_once_and_without_any_form_of_it(
    server: RtspServer, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 25: the tool underneath printed the decoded form
    url = server.url.replace("CANARY%20pass", "CAN%41RY%20wrong")
    settings = camera.Settings(stale_after_s=2.0, reopen_s=0.05, reopen_max_s=0.1)
    stream = camera.stream(url, RGB, settings, SystemClock(), threading.Event())
    with caplog.at_level(logging.DEBUG):
        assert isinstance(next(stream), Lost)
        stream.close()

    ours = [record for record in caplog.records if record.name.startswith("andon")]
    warnings = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert "cannot be opened (Server returned 401" in warnings[0]
    assert any("FFmpeg: " in record.getMessage() for record in caplog.records)
    for form in ("CANARY", "CAN%41RY", "wrong"):
        assert form not in caplog.text
