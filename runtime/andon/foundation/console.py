"""One line that says how far something is: rewritten on a terminal, rare or absent where the stream is a file or a pipe."""

import contextlib
import time
from collections.abc import Callable
from typing import TextIO

_ERASE = "\r\x1b[2K"
"""Back to the beginning of the line, and erase it."""


class StatusLine:
    """A status line, and lines that stay above it.

    A stream that is closed or has lost its reader is no reason to stop: nothing is shown then, and nothing raises.

    Args:
        stream: None, which Python has for a stream that was closed before the start, shows nothing.
        every_s: time between two updates on a terminal.
        piped_every_s: time between two updates elsewhere, each a line of its own; None: there are none.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        every_s: float = 0.1,
        piped_every_s: float | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._now_s = now_s
        self.terminal = _is_terminal(stream)
        self._every_s = every_s if self.terminal else piped_every_s
        self._updated_s = now_s()
        self._open = False

    def due(self) -> bool:
        """Return whether it is time for the next update."""
        return self._every_s is not None and self._now_s() - self._updated_s >= self._every_s

    def update(self, text: str) -> None:
        """Show a text instead of the one before, whether or not it is due."""
        if self._every_s is None:
            return
        self._updated_s = self._now_s()
        self._write(f"{_ERASE}{text}" if self.terminal else f"{text}\n")
        self._open = self.terminal

    def print(self, text: str) -> None:
        """Write a line that stays, in the place of the status line."""
        self._write(f"{_ERASE if self._open else ''}{text}\n")
        self._open = False

    def keep(self) -> None:
        """Let the text that is shown stay, and begin a new line."""
        if self._open:
            self._write("\n")
        self._open = False

    def clear(self) -> None:
        """Remove the text that is shown: what others write next begins on an empty line."""
        if self._open:
            self._write(_ERASE)
        self._open = False

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
