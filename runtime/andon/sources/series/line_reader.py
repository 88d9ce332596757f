"""Read lines from a file descriptor.

The caller regains control ten times a second, because a pipe may be silent for hours.
"""

import os
import select
import threading
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

MOST_BYTES = 1_000_000
"""Longest line, in bytes. A longer one is skipped and never held in memory."""

_CHUNK = 1 << 16
_NAP_S = 0.1


class Oddity(Enum):
    """The reason why there is no line."""

    TOO_LONG = auto()


class Read(Struct, frozen=True):
    """The result of one read."""

    lines: tuple[bytes | Oddity, ...]
    """Complete lines in order, without their line ends. Empty if no line was completed."""
    bytes: int
    """Number of bytes that arrived."""


def read_lines(fd: int, stop: threading.Event) -> Iterator[Read]:
    """Yield all lines until the end of the file or the stop. Each result has all lines that are available.

    A last line without a line end counts as a line. There is a result at least ten times a second, even if nothing arrives, so
    that the caller can check the time.

    Args:
        fd: a readable descriptor. If `select` does not support it (a pipe on Windows), a stop is noticed only at the next line.
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
                skipping = False  # the end of a line that was already reported as too long
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
        return True  # `select` does not support the descriptor: the read itself waits
