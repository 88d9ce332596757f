"""End the monitor cleanly at the first SIGINT or SIGTERM, and immediately at the second. Load model files again at SIGHUP."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set the event at the first SIGINT or SIGTERM, and end the process at the second. Restore the handlers afterwards.

    Python allows this in the main thread only.
    """
    wanted = (signal.SIGINT, signal.SIGTERM)

    def first(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        # the default handler of the system works even if the interpreter is blocked in a driver
        for number in wanted:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, first) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: the handler was not installed by Python and cannot be restored
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def reload_on_signal(reload: Callable[[], None]) -> Iterator[None]:
    """Call the function at each SIGHUP, where the system has this signal. Restore the handler afterwards.

    The function must only set an event: it runs between two instructions of the main thread.
    """
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: reload())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before if before is not None else signal.SIG_DFL)
