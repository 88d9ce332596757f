"""Keep the interpreter from ending while a thread is inside ONNX Runtime.

A daemon thread that returns from ONNX Runtime while the interpreter ends is unwound through C++ code, and the process
aborts with "terminate called without an active exception" and exit code 134. Therefore the end of the interpreter waits for
running calls, and other threads cannot start new ones.
"""

import atexit
import os
import threading
import time

from andon.foundation.errors import JudgeError

WAIT_S = 5.0
"""Longest wait for running calls. A longer call can still abort the process."""
PAUSE_S = 1.0
"""Delay before the error of a call that starts too late. The process has usually ended by then, without a message."""


class RunningCalls:
    """Calls that must return before the interpreter ends. All calls share one object: ``with CALLS: ...``.

    Raises:
        JudgeError: the interpreter is ending, and this is not the main thread.
    """

    def __init__(self) -> None:
        self._running: list[None] = []  # append and pop are atomic, unlike a counter, and cost less than a lock
        self._ending = False

    def __enter__(self) -> None:
        self._running.append(None)
        # check after the append: a call that does not see the end is then seen by `end`
        if self._ending and threading.current_thread() is not threading.main_thread():
            self._running.pop()
            time.sleep(PAUSE_S)
            raise JudgeError(
                "the interpreter is ending: expected no further calls. Stop the thread before the program ends."
            )

    def __exit__(self, *_: object) -> None:
        self._running.pop()

    def end(self) -> None:
        """Refuse new calls from all threads except the main one, and wait until the running calls have returned."""
        self._ending = True
        until_s = time.monotonic() + WAIT_S
        while self._running and time.monotonic() < until_s:
            time.sleep(0.001)

    def forget(self) -> None:
        """Reset the count after a fork, because the other threads do not exist in the child."""
        self._running = []


CALLS = RunningCalls()
atexit.register(CALLS.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CALLS.forget)
