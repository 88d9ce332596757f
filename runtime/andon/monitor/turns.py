"""Share the processor cores fairly: a bounded number of judge calls run at once, and the others wait in the order of arrival."""

import collections
import os
import threading
from types import TracebackType


class Turns:
    """A context manager that lets `slots` threads in at once. Waiting threads enter first come, first served.

    A thread that waits for its next item does not hold a slot. So each line gets the same share of the cores while all of them
    have work, and all of the cores while it alone has work.

    Args:
        slots: number of threads that may judge at once.
    """

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots: expected at least 1, got {slots}.")
        self._lock = threading.Lock()
        self._free = slots
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:  # then no thread waits
                self._free -= 1
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # the slot passes on, so that no newcomer can overtake
            else:
                self._free += 1


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
