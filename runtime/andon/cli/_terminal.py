"""Handle the environment of a command: closed or full standard streams, Ctrl-C, and lines on stderr.

This module imports no other part of andon at the top, because it must work while the slow imports are running.
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
"""Upper limit of characters of one error or warning."""


class Output:
    """Standard output with clear errors: a full disk gives one line for the user instead of a traceback.

    All other methods are those of the original stream.
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
        """Flush the written text.

        Raises:
            ConfigError: the disk behind standard output is full.
        """
        if self._stream is not None:
            self._call("flush")

    def fileno(self) -> int:
        """Return the file descriptor.

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
                "standard output: expected an open stream, got a closed one. Redirect it, for example > file.txt."
            )
        try:
            return getattr(self._stream, name)(*words)
        except BrokenPipeError:  # the reader has closed the pipe, which is not an error
            self.failed = True
            raise
        except OSError as error:
            if not error.errno:  # not a file, for example in a host program or a test
                raise
            self.failed = True
            raise ConfigError(
                f"standard output: cannot be written: {error.strerror}. Redirect it elsewhere."
            ) from error


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Replace standard output by an `Output`, and make sure that standard error is not None. Restore both afterwards."""
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
            # discard the rest of the buffer: otherwise the interpreter prints an error at its end and exits with 120
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reserve(number: int) -> None:
    """Redirect a closed standard stream to the null device, so that the next opened file does not get its descriptor."""
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Raise KeyboardInterrupt on Ctrl-C as usual, and set an event that records it.

    The event is needed because an import (of numpy, for example) may turn KeyboardInterrupt into another error.
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
    """A formatter that puts each message on one line. File names in it may contain line breaks and terminal commands.

    Tracebacks keep their lines. Secrets that were read are removed from both.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the message and its traceback without secrets."""
        from andon.foundation.redaction import redact

        return redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the message on one line."""
        from andon.foundation.printable import printable
        from andon.foundation.redaction import redact

        # before the text is cut, because the beginning of a secret is not recognised
        return printable(redact(super().formatMessage(record)), limit=LONGEST_LINE)
