"""A camera in a process: frames, faults of the vendor's software, and nothing left behind. Each test starts real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.sources.live.scripted_device import HEIGHT, MONO8, WIDTH, order

from andon.foundation.errors import DataError
from andon.sources.clock import SystemClock
from andon.sources.live.capture import Grabbed, Quiet
from andon.sources.live.capture_messages import SLOTS
from andon.sources.live.process_capture import Patience, ProcessCapture

PATIENCE = Patience(open_timeout_s=20.0, read_timeout_s=5.0, triggered=True)

Start = Callable[..., ProcessCapture]


@pytest.fixture
def start() -> Iterator[Start]:
    """Captures of a scripted camera, which are closed after the test."""
    captures: list[ProcessCapture] = []

    def begin(*script: Any, patience: Patience = PATIENCE, **how: Any) -> ProcessCapture:
        captures.append(ProcessCapture(order(*script, **how), patience, SystemClock()))
        return captures[-1]

    yield begin
    for capture in captures:
        capture.close()


def frame(capture: ProcessCapture) -> Grabbed:
    """Return the next frame."""
    until_s = time.monotonic() + 20.0
    while time.monotonic() < until_s:
        grabbed = capture.read()
        if isinstance(grabbed, Grabbed):
            return grabbed
    raise AssertionError("no frame within 20 s")


def read_on(capture: ProcessCapture) -> None:
    """Read until an error."""
    until_s = time.monotonic() + 20.0
    while time.monotonic() < until_s:
        capture.read()


def until(capture: ProcessCapture, wanted: Quiet) -> None:
    until_s = time.monotonic() + 20.0
    while capture.read() is not wanted:
        assert time.monotonic() < until_s, f"not {wanted} within 20 s"


def levels(grabbed: Grabbed) -> set[int]:
    return set(np.unique(grabbed.data.pixels).tolist())


def gone(pid: int) -> bool:
    """Return whether a process has ended and left no zombie."""
    return not Path(f"/proc/{pid}").exists()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, f"waited for {seconds:g} s"
        time.sleep(0.01)


def test_frames_arrive_in_order_without_padding_and_each_buffer_is_released(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    capture = start(1, 2, "print", 3, log=log)
    assert capture.read() is Quiet.OPENING

    first, second, third = frame(capture), frame(capture), frame(capture)
    assert [levels(one) for one in (first, second, third)] == [{1}, {2}, {3}]
    assert (first.data.pixels.shape, first.data.code) == ((HEIGHT, WIDTH), MONO8)
    assert first.source_s is None  # the rate of the stamps is not known yet
    capture.close()
    assert gone(capture.pid)
    assert log.read_text() == "closed, 0 buffers held"


def test_c13_a_damaged_buffer_is_reported_and_released_and_the_next_frame_arrives(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    capture = start("damaged", 4, "short", 5, log=log)

    assert frame(capture) == Grabbed(None, damage="2 packets are missing")
    assert levels(frame(capture)) == {4}
    assert frame(capture).damage == "the buffer is shorter than the picture"
    assert levels(frame(capture)) == {5}
    capture.close()
    assert log.read_text() == "closed, 0 buffers held"


def test_c08_frames_that_find_no_slot_are_counted_with_the_next_frame(start: Start) -> None:
    # ten frames at once, while no slot is given back; the camera is then silent for a second
    capture = start(*range(1, 11), *["silence"] * 10, 11)
    until_s = time.monotonic() + 20.0
    while capture._frames is None:
        capture.read()
        assert time.monotonic() < until_s
    time.sleep(0.4)

    grabbed = [frame(capture) for _ in range(SLOTS + 1)]
    assert [(levels(one), one.skipped) for one in grabbed] == [({1}, 0), ({2}, 0), ({3}, 0), ({11}, 10 - SLOTS)]


@pytest.mark.slow
def test_ten_thousand_frames_arrive_in_order_and_those_left_out_are_counted(start: Start) -> None:
    # issue 23: 10 000 messages in order. The camera sends as fast as it can, so that some frames find no slot
    count = 10_000
    capture = start(*(number % 251 for number in range(count)), *["silence"] * 10, 255)
    place = -1
    while True:
        grabbed = frame(capture)
        place += 1 + grabbed.skipped
        if levels(grabbed) == {255}:
            break
        assert levels(grabbed) == {place % 251}

    assert place == count


def test_c12_a_camera_that_waits_for_a_trigger_shows_that_it_works(start: Start) -> None:
    capture = start(1)
    frame(capture)
    until(capture, Quiet.WAITING)


@pytest.mark.slow
def test_the_stamps_of_a_camera_arrive_when_their_rate_is_known(start: Start) -> None:
    capture = start("for ever")
    began_s = time.monotonic()
    while (source_s := frame(capture).source_s) is None:
        assert time.monotonic() - began_s < 15.0
    assert 0.0 <= time.monotonic() - source_s < 1.0


@pytest.mark.slow
def test_c14_a_camera_that_waits_and_no_longer_answers_is_lost(start: Start) -> None:
    capture = start(1, "deaf")
    frame(capture)
    with pytest.raises(DataError, match=r"^the camera does not answer$"):
        read_on(capture)


def test_a_free_camera_that_sends_nothing_is_lost_although_its_software_answers(start: Start) -> None:
    capture = start(1, patience=Patience(open_timeout_s=20.0, read_timeout_s=0.4, triggered=False))
    frame(capture)
    with pytest.raises(DataError, match=r"sent no frame for 0.4 s. If it waits for a trigger, set triggered = true$"):
        read_on(capture)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("lost", "^the camera was removed$"),
        ("exit", "^the process of the camera ended with status 7$"),
        ("crash", "^the process of the camera was ended by signal SIGSEGV$"),
        (
            "larger",
            "^a frame of 8 x 12 pixels is larger than the camera announced. Another program may have changed its",
        ),
        ("nonsense", "^the process of the camera sent bytes that are not a message$"),
        ("no such step", "^AssertionError: no such step$"),
    ],
)
def test_c12_a_fault_of_the_vendors_software_ends_the_capture_with_its_reason(
    start: Start, script: str, why: str
) -> None:
    capture = start(1, script)
    frame(capture)
    with pytest.raises(DataError, match=why):
        read_on(capture)
    capture.close()
    assert gone(capture.pid)


@pytest.mark.parametrize(
    ("opening", "why"),
    [
        ("refused", "^expected the camera scripted, found none$"),
        ("bug", r"^RuntimeError: the driver\\nis broken$"),
        ("missing file", r"^FileNotFoundError: \[Errno 2\] no such producer$"),
        ("too large", "^a picture of the camera: expected from 1 to "),
        ("crash", "signal SIGSEGV$"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_an_error_with_its_reason(start: Start, opening: str, why: str) -> None:
    capture = start(opening=opening)
    with pytest.raises(DataError, match=why):
        read_on(capture)
    capture.close()
    assert gone(capture.pid)


@pytest.mark.parametrize("how", ["hang", "hang and block Python", "stop"])
def test_c12_a_call_of_the_vendors_software_that_hangs_is_noticed_and_its_process_killed(
    start: Start, how: str
) -> None:
    patience = Patience(open_timeout_s=20.0, read_timeout_s=0.5, triggered=True)
    capture = start(1, *([] if how == "stop" else [how]), patience=patience)
    frame(capture)
    if how == "stop":
        os.kill(capture.pid, signal.SIGSTOP)
    began_s = time.monotonic()
    with pytest.raises(
        DataError, match=r"^the software of the camera did not answer for 0.5 s, so its process is killed$"
    ):
        read_on(capture)
    assert time.monotonic() - began_s < 3.0
    closing_s = time.monotonic()
    capture.close()
    assert time.monotonic() - closing_s < 1.0
    assert gone(capture.pid)


def test_c12_a_camera_that_hangs_while_it_is_opened_is_given_up(start: Start) -> None:
    capture = start(opening="hang", patience=Patience(open_timeout_s=0.5, read_timeout_s=5.0, triggered=False))
    with pytest.raises(DataError, match=r"did not open it for 0\.5 s"):
        read_on(capture)


def test_a_process_that_is_killed_is_a_loss(start: Start) -> None:
    capture = start(1)
    frame(capture)
    os.kill(capture.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"^the process of the camera was ended by signal SIGKILL$"):
        read_on(capture)


def test_a_process_that_the_system_asks_to_end_goes_on_until_the_monitor_ends_it(start: Start) -> None:
    capture = start(1, *["silence"] * 3, 2)
    frame(capture)
    os.kill(capture.pid, signal.SIGTERM)
    os.kill(capture.pid, signal.SIGINT)

    assert levels(frame(capture)) == {2}


@pytest.mark.parametrize(
    "state", ["started", "hangs while opening", "open", "frames wait", "hangs", "stopped", "killed"]
)
def test_c06_it_closes_within_two_seconds_from_every_state_and_leaves_nothing(start: Start, state: str) -> None:
    files = len(list(Path("/proc/self/fd").iterdir()))
    script = {"open": [1], "frames wait": range(50), "hangs": [1, "hang and block Python"]}.get(state, [1])
    capture = start(*script, opening="hang and block Python" if state == "hangs while opening" else "")
    if state not in ("started", "hangs while opening"):
        frame(capture)
    if state == "hangs while opening":
        time.sleep(0.5)
    if state == "stopped":
        os.kill(capture.pid, signal.SIGSTOP)
    if state == "killed":
        os.kill(capture.pid, signal.SIGKILL)
    began_s = time.monotonic()
    capture.close()
    took_s = time.monotonic() - began_s

    assert took_s < 2.0
    assert gone(capture.pid)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    capture.close()  # again: no effect


PARENT = """
import sys, time
from andon.sources.clock import SystemClock
from andon.sources.live.capture import Grabbed
from andon.sources.live.capture_messages import SLOTS
from andon.sources.live.process_capture import Patience, ProcessCapture
from tests.sources.live.scripted_device import order
patience = Patience(open_timeout_s=20.0, read_timeout_s=9.0, triggered=True)
capture = ProcessCapture(order(1, *sys.argv[1:]), patience, SystemClock())
while not isinstance(capture.read(), Grabbed):
    pass
print(capture.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a process with its parent in every state")
@pytest.mark.parametrize("script", [(), ("hang and block Python",)], ids=["works", "hangs"])
def test_the_process_ends_with_a_monitor_that_is_killed(script: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *script], stdout=subprocess.PIPE, env=environment, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    # init reaps it, or the test's own subreaper; a zombie has ended too
    wait_until(lambda: gone(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z", 5.0)


def test_the_process_ends_when_the_monitor_only_closes_its_connection(start: Start) -> None:
    capture = start(1)
    frame(capture)
    capture._link.close()
    assert capture._process.wait(5.0) is not None


def test_two_cameras_at_once_do_not_share_frames(start: Start) -> None:
    one, other = start(*[1, "silence"] * 5), start(*[2, "silence"] * 5)
    pairs = [(levels(frame(one)), levels(frame(other))) for _ in range(5)]
    assert pairs == [({1}, {2})] * 5


def test_the_process_of_a_camera_ends_with_the_thread_that_reads_it() -> None:
    captures: list[ProcessCapture] = []

    def read() -> None:
        captures.append(ProcessCapture(order(1), PATIENCE, SystemClock()))
        frame(captures[0])

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    try:
        if sys.platform == "linux":
            assert captures[0]._process.wait(5.0) == -signal.SIGKILL
    finally:
        captures[0].close()


def test_the_process_imports_neither_the_runtime_nor_opencv() -> None:
    code = (
        "import sys, andon.sources.live.camera_process, andon.sources.live.basler_device, andon.sources.live.genicam_device\n"
        "print(sorted({'onnxruntime', 'cv2', 'pypylon', 'harvesters'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == "[]"
