"""Lines from a file descriptor, with an eye on the clock and on the stop: a pipe may be silent for hours."""

import os
import select
import threading
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

from andon.sources.clock import Clock

MOST_BYTES = 1_000_000
"""Longest line, in bytes; a longer one is read past and never held."""

_CHUNK = 1 << 16
_NAP_S = 0.1


class Oddity(Enum):
    """What came instead of a line."""

    TOO_LONG = auto()
    SILENCE = auto()


class Read(Struct, frozen=True):
    """What one look at the pipe gave: whole lines, without their ends, in order."""

    lines: tuple[bytes | Oddity, ...]


def read_lines(fd: int, clock: Clock, stop: threading.Event, *, silent_after_s: float) -> Iterator[Read]:
    """All lines until the end or the stop, as many at once as are there; a last one without an end counts.

    Args:
        fd: readable; where `select` cannot look at it (a pipe on Windows) the stop is noticed at the next line only.
        clock: for the silence.
        stop: looked at ten times a second.
        silent_after_s: `Oddity.SILENCE` is given each time that nothing has come for this long.
    """
    held = b""
    skipping = False
    heard_s = clock.mono_s()
    while not stop.is_set():
        if not _ready(fd):
            if clock.mono_s() - heard_s >= silent_after_s:
                heard_s = clock.mono_s()
                yield Read((Oddity.SILENCE,))
            continue
        chunk = os.read(fd, _CHUNK)
        heard_s = clock.mono_s()
        if not chunk:
            if held and not skipping:
                yield Read((held,))
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
        if lines:
            yield Read(tuple(lines))


def _ready(fd: int) -> bool:
    try:
        return bool(select.select([fd], [], [], _NAP_S)[0])
    except (OSError, ValueError):
        return True  # not selectable: the read itself waits
