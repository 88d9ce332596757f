"""Lines from a file descriptor. The caller regains control ten times a second: a pipe may be silent for hours."""

import os
import select
import threading
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

MOST_BYTES = 1_000_000
"""Longest line, in bytes; a longer one is read past and never held."""

_CHUNK = 1 << 16
_NAP_S = 0.1


class Oddity(Enum):
    """What came instead of a line."""

    TOO_LONG = auto()


class Read(Struct, frozen=True):
    """The result of one look at the pipe."""

    lines: tuple[bytes | Oddity, ...]
    """Whole lines without their ends, in order. Empty when no line was completed."""
    bytes: int
    """Number of bytes that arrived."""


def read_lines(fd: int, stop: threading.Event) -> Iterator[Read]:
    """Yield all lines until the end or the stop, as many at once as are there. A last line without an end counts.

    Yields at least ten times a second, also when nothing arrives, so that the caller can watch the time.

    Args:
        fd: readable. Where `select` does not support it (a pipe on Windows), the stop is noticed at the next line only.
        stop: checked ten times a second.
    """
    held = b""
    skipping = False
    while not stop.is_set():
        if not _ready(fd):
            yield Read((), 0)
            continue
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:  # the sender made the pipe non-blocking and another reader was faster
            yield Read((), 0)
            continue
        if not chunk:
            if held and not skipping:
                yield Read((held,), 0)
            return
        *whole, held = (held + chunk).split(b"\n")
        lines: list[bytes | Oddity] = []
        for line in whole:
            if skipping:
                skipping = False  # the end of a line already reported
            else:
                lines.append(line if len(line) <= MOST_BYTES else Oddity.TOO_LONG)
        if len(held) > MOST_BYTES and not skipping:
            lines.append(Oddity.TOO_LONG)
            skipping = True
        if skipping:
            held = b""
        yield Read(tuple(lines), len(chunk))


def _ready(fd: int) -> bool:
    try:
        return bool(select.select([fd], [], [], _NAP_S)[0])
    except (OSError, ValueError):
        return True  # not selectable: the read itself waits
