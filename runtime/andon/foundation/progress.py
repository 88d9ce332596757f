"""Report the progress of long work: a callback, a status line on terminals, and a line every half minute in a pipe."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from andon.foundation.console import StatusLine

T = TypeVar("T")

Progress = Callable[[str, int, int | None], None]
"""A callback ``progress(what, done, total)``. It is called often and must be fast."""

PIPED_EVERY_S = 30.0
"""Time between two progress lines where the output is not a terminal."""
_KEPT_AFTER_S = 2.0
"""If a task takes at least this time, its last line stays on the terminal."""


def silent(what: str, done: int, total: int | None) -> None:
    """Report nothing."""


class ProgressLine:
    """A progress line with the remaining time.

    On a terminal it is updated at most ten times per second. In a pipe or a file it is a new line every half minute, so that
    short work prints nothing there and long work shows that it goes on.

    Args:
        stream: the output. None means stderr.
        line: an existing status line to use instead of a new one on `stream`.
    """

    def __init__(self, stream: TextIO | None = None, *, line: StatusLine | None = None) -> None:
        self._line = line or StatusLine(stream or sys.stderr, piped_every_s=PIPED_EVERY_S)
        self._what, self._begun_s = "", 0.0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show the progress of a task."""
        begins = what != self._what
        if begins:
            self._what, self._begun_s = what, time.monotonic()
        finished = total is not None and done >= total
        if not (self._line.due() or (self._line.terminal and (begins or finished))):
            return
        elapsed_s = time.monotonic() - self._begun_s
        if total:
            filled = round(24 * min(done / total, 1.0))
            left = f"{elapsed_s * (total - done) / done:.0f} s left" if done and not finished else f"{elapsed_s:.1f} s"
            text = f"{what:<24.24} [{'#' * filled}{'.' * (24 - filled)}] {done}/{total}  {left}"
        else:
            text = f"{what:<24.24} {done}  {elapsed_s:.0f} s"
        self._line.update(text)
        if finished and elapsed_s >= _KEPT_AFTER_S:
            self._line.keep()
        elif finished:
            self._line.clear()


def track(items: Iterable[T], progress: Progress, what: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, and report progress after each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    for done, item in enumerate(items, 1):
        yield item
        progress(what, done, total)
