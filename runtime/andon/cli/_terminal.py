"""The process's surroundings for one command: standard streams that may be closed or full, Ctrl-C, lines on stderr.

Imports no other part of andon at the top: these rules must hold while the heavy imports still run.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

LONGEST_LINE = 4000
"""Characters of one error or warning."""


class Output:
    """Standard output whose errors name it: a full disk is one line for the user, not a traceback.

    Everything else is passed on to the stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failed = False

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            ConfigError: standard output is closed, or the disk behind it is full.
        """
        written: int = self._call("write", text)
        return written

    def flush(self) -> None:
        """Flush what was written.

        Raises:
            ConfigError: the disk behind standard output is full.
        """
        if self._stream is not None:
            self._call("flush")

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            ConfigError: standard output is closed.
        """
        number: int = self._call("fileno")
        return number

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _call(self, name: str, *words: str) -> Any:
        from andon.foundation.errors import ConfigError

        if self._stream is None:
            raise ConfigError(
                "standard output: expected an open stream, got a closed one. Redirect it, e.g. > file.txt."
            )
        try:
            return getattr(self._stream, name)(*words)
        except BrokenPipeError:  # the reader has gone, which is not an error
            self.failed = True
            raise
        except OSError as error:
            if not error.errno:  # no file behind it, as in a host or a test
                raise
            self.failed = True
            raise ConfigError(
                f"standard output: cannot be written: {error.strerror}. Redirect it elsewhere."
            ) from error


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Within: standard output is an `Output`, and standard error is never None. Afterwards both are as they were."""
    before = sys.stdout, sys.stderr
    for number, stream in enumerate(before, 1):
        if stream is None:
            _reserve(number)
    output = Output(sys.stdout)
    sys.stdout = output
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - closed below
    try:
        yield
    finally:
        if before[1] is None:
            sys.stderr.close()
        sys.stdout, sys.stderr = before
        if output.failed:
            # what is still in the buffer must go somewhere when the interpreter ends, or it complains and exits with 120
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reserve(number: int) -> None:
    """Point a closed descriptor of a standard stream at nothing: the next file that is opened must not become it."""
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Within: Ctrl-C raises KeyboardInterrupt as usual, and the event says that it happened.

    An import that is interrupted may turn KeyboardInterrupt into another error, as that of numpy does.
    """
    seen = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        seen.set()
        raise KeyboardInterrupt

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        if ours and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class PrintableFormatter(logging.Formatter):
    """One line a message: names of files in it may hold line breaks and terminal commands. Tracebacks stay as they are."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the message on one line."""
        from andon.foundation.printable import printable

        return printable(super().formatMessage(record), limit=LONGEST_LINE)
