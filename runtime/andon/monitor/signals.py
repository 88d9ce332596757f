"""SIGINT and SIGTERM end the monitor cleanly; the second one ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Within: the first SIGINT or SIGTERM sets the event, the next one kills. Handlers are restored afterwards.

    Only in the main thread, as Python requires.
    """
    wanted = (signal.SIGINT, signal.SIGTERM)

    def first(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        # the system's own: it works even where the interpreter is stuck in a driver
        for number in wanted:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, first) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by something other than Python, and cannot be restored
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
