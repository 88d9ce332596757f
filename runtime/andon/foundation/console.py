"""Show the status of long work.

On a terminal, one line is updated. In a file or a pipe, a line is written rarely or not at all.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TextIO

_ERASE = "\r\x1b[2K"
"""Control sequence: return to the beginning of the line and erase it."""


class StatusLine:
    """A status line, and permanent lines above it.

    If the stream is closed or its reader has ended, nothing is shown and nothing is raised.

    Args:
        stream: the output. None shows nothing: Python uses None for a stream that was closed before the start.
        every_s: time between two updates on a terminal.
        piped_every_s: time between two updates elsewhere, each on a new line. None disables them.
        now_s: monotonic clock, in seconds.
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
        """Replace the text that is shown, even if no update is due."""
        if self._every_s is None:
            return
        self._updated_s = self._now_s()
        self._write(f"{_ERASE}{text}" if self.terminal else f"{text}\n")
        self._open = self.terminal

    def print(self, text: str) -> None:
        """Write a permanent line in place of the status line."""
        self._write(f"{_ERASE if self._open else ''}{text}\n")
        self._open = False

    def keep(self) -> None:
        """Keep the current text and start a new line."""
        if self._open:
            self._write("\n")
        self._open = False

    def clear(self) -> None:
        """Remove the current text, so that the next output starts on an empty line."""
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
