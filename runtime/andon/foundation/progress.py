"""How far along something long is: a callback, and a line for terminals. Quiet when piped."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TextIO, TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int | None], None]
"""``progress(what, done, total)``: called often, must be cheap."""


def silent(what: str, done: int, total: int | None) -> None:
    """Report nothing."""


class ProgressLine:
    """One line on a terminal, renewed at most ten times a second, with the time left; nothing where stderr is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._what, self._begun_s, self._last_s = "", 0.0, 0.0

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show progress."""
        if not self._shown:
            return
        now_s = time.monotonic()
        if what != self._what:
            self._what, self._begun_s, self._last_s = what, now_s, 0.0
        finished = total is not None and done >= total
        if now_s - self._last_s < 0.1 and not finished:
            return
        self._last_s = now_s
        elapsed_s = now_s - self._begun_s
        if total:
            filled = round(24 * min(done / total, 1.0))
            left = f"{elapsed_s * (total - done) / done:.0f} s left" if done and not finished else f"{elapsed_s:.1f} s"
            text = f"{what:<24.24} [{'#' * filled}{'.' * (24 - filled)}] {done}/{total}  {left}"
        else:
            text = f"{what:<24.24} {done}  {elapsed_s:.0f} s"
        self._stream.write("\r\x1b[2K" + text + ("\n" if finished and elapsed_s >= 2.0 else "\r" if finished else ""))
        if finished and elapsed_s < 2.0:
            self._stream.write("\x1b[2K")
        self._stream.flush()


def track(items: Iterable[T], progress: Progress, what: str, total: int | None = None) -> Iterator[T]:
    """The items, reporting after each."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    for done, item in enumerate(items, 1):
        yield item
        progress(what, done, total)
