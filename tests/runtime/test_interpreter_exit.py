"""A program may end while its threads judge: it ends with its own exit code, and no later than it must."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, model_bytes

from andon.runtime import JudgeError, interpreter_exit
from andon.runtime.interpreter_exit import RunningCalls

_SCRIPT = """
import sys, threading, time
import numpy as np
from andon.runtime import Detector
detector = Detector.load(sys.argv[1], frame_size="any")
frame = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
judged = threading.Event()
def work():
    while True:
        detector(frame)
        judged.set()
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
judged.wait()
sys.exit(7)
"""


def test_a_program_that_ends_while_daemon_threads_judge_does_not_abort(tmp_path: Path) -> None:
    (tmp_path / "frame.onnx").write_bytes(model_bytes(FRAME, threshold=0.5))

    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "frame.onnx")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (7, "")


def test_the_end_waits_for_running_calls() -> None:
    calls, inside, leave = RunningCalls(), threading.Event(), threading.Event()

    def work() -> None:
        with calls:
            inside.set()
            leave.wait()

    worker, end = threading.Thread(target=work), threading.Thread(target=calls.end)
    worker.start()
    inside.wait()
    end.start()
    end.join(0.02)
    assert end.is_alive()
    leave.set()
    end.join()
    worker.join()


def test_the_end_waits_no_longer_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter_exit, "WAIT_S", 0.01)
    calls = RunningCalls()

    with calls:
        calls.end()


def test_a_call_that_begins_after_the_end_is_refused_except_in_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter_exit, "PAUSE_S", 0.0)
    calls = RunningCalls()
    calls.end()
    refused: list[str] = []

    def work() -> None:
        try:
            with calls:
                pass
        except JudgeError as error:
            refused.append(str(error))

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    with calls:  # a handler that runs at exit may still judge
        pass

    assert refused == ["the interpreter is ending: expected no further calls. Stop the thread before the program ends."]
    begun_s = time.monotonic()
    calls.end()
    assert time.monotonic() - begun_s < interpreter_exit.WAIT_S / 2  # the refused call is not counted


def test_a_child_does_not_wait_for_threads_that_only_its_parent_has() -> None:
    calls = RunningCalls()

    calls.__enter__()
    calls.forget()

    begun_s = time.monotonic()
    calls.end()
    assert time.monotonic() - begun_s < interpreter_exit.WAIT_S / 2
