"""Support for commands that run for hours: end cleanly when a scheduler stops them, and do not repeat warnings."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_cleanly_on_sigterm() -> Iterator[None]:
    """End with exit code 143 on SIGTERM, so that locks are released and other machines do not wait for them."""

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
    """Log each message of `andon.sources` once, because all cells of a data set produce the same messages.

    The filters are at the handlers, because a logger's filter does not see messages of its child loggers. Each handler has its
    own filter, because with a common filter the first handler would silence the others.
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
