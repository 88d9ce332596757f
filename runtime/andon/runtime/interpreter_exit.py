"""Keep the interpreter from ending while a thread is inside ONNX Runtime.

A daemon thread that comes back from ONNX Runtime while the interpreter ends is unwound through C++ code, and the process
aborts: "terminate called without an active exception", exit code 134. So the end of the interpreter waits for the calls
that are running, and a thread cannot begin a new one.
"""

import atexit
import os
import threading
import time

from andon.foundation.errors import JudgeError

WAIT_S = 5.0
"""Longest wait for running calls. A longer call can still abort the process."""
PAUSE_S = 1.0
"""A call that comes too late sleeps this long before its error. The process has usually ended by then, in silence."""


class RunningCalls:
    """Calls that must come back before the interpreter ends. Use one object for all of them: ``with CALLS: ...``.

    Raises:
        JudgeError: the interpreter is ending, and this is not the main thread.
    """

    def __init__(self) -> None:
        self._running: list[None] = []  # append and pop are atomic, which a counter is not, and cost less than a lock
        self._ending = False

    def __enter__(self) -> None:
        self._running.append(None)
        # after the append, so that a call that does not see the end is one that the end sees
        if self._ending and threading.current_thread() is not threading.main_thread():
            self._running.pop()
            time.sleep(PAUSE_S)
            raise JudgeError(
                "the interpreter is ending: expected no further calls. Stop the thread before the program ends."
            )

    def __exit__(self, *_: object) -> None:
        self._running.pop()

    def end(self) -> None:
        """Let no thread but the main one begin a call, and wait until the running ones have come back."""
        self._ending = True
        until_s = time.monotonic() + WAIT_S
        while self._running and time.monotonic() < until_s:
            time.sleep(0.001)

    def forget(self) -> None:
        """Count from zero: after a fork the other threads do not exist in the child."""
        self._running = []


CALLS = RunningCalls()
atexit.register(CALLS.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CALLS.forget)
