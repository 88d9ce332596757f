"""Support for commands that run for hours: they end cleanly when a scheduler stops them, and do not repeat warnings."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_cleanly_on_sigterm() -> Iterator[None]:
    """End with exit code 143 on SIGTERM, so that locks are given up and the next machine need not wait for them."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        # None: the handler was not installed by Python and cannot be restored
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def sources_warn_once() -> Iterator[None]:
    """Log each message of `andon.sources` once: it is the same for each cell of a data set.

    The filters are at the handlers, because a logger's filter does not see what its children log. Each handler has its own
    filter; with a common one the first handler would silence the others.
    """
    once_each = [(handler, _Once()) for handler in logging.getLogger().handlers]
    for handler, once in once_each:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler, once in once_each:
            handler.removeFilter(once)


class _Once(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._logged: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("andon.sources."):
            return True
        text = record.getMessage()
        repeated = text in self._logged
        self._logged.add(text)
        return not repeated
