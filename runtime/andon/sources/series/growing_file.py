"""Read the new lines of a file that another program appends to, and notice when the file is replaced or cut."""

import os
from pathlib import Path
from typing import Literal

from msgspec import Struct

from andon.sources.series.line_reader import MOST_BYTES, Oddity

_CHUNK = 1 << 20

Ending = Literal["", "rotated", "truncated"]


class Grown(Struct, frozen=True):
    """The result of one read."""

    lines: tuple[bytes | Oddity, ...]
    """Complete lines in order, without their line ends. Empty if no line was completed."""
    bytes: int
    """Number of bytes that were read."""
    ending: Ending = ""
    """``rotated`` or ``truncated`` if no more lines of this file follow. The next lines are those of the next file."""


class GrowingFile:
    """Reads complete lines only, in blocks of at most 1 MiB. It never waits.

    A file that was renamed is read to its end, and its last line counts without a line end. Then the new file at the same path is
    read from its beginning. A file that became shorter is read from its beginning, too. A file that was cut and has grown beyond
    its old length between two reads cannot be recognised.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._held = b""
        self._skipping = False
        self._replaced = False

    def read(self) -> Grown:
        """Return what was appended since the last call. The file need not exist.

        Raises:
            OSError: the file cannot be opened or read.
        """
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:  # renamed, and the new file is not there yet
                return Grown((), 0)
        chunk = os.read(self._fd, _CHUNK)
        if chunk:
            return Grown(self._lines(chunk), len(chunk))
        if self._replaced:
            last = (self._held,) if self._held and not self._skipping else ()
            self.close()
            return Grown(last, 0, "rotated")
        here = os.fstat(self._fd)
        if here.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            self.close()
            return Grown((), 0, "truncated")
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return Grown((), 0)
        # the next read takes what was appended between the read above and the replacement
        self._replaced = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        return Grown((), 0)

    def close(self) -> None:
        """Close the file. A later read begins with the first line."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._held, self._skipping, self._replaced = None, b"", False, False

    def _lines(self, chunk: bytes) -> tuple[bytes | Oddity, ...]:
        *whole, held = (self._held + chunk).split(b"\n")
        lines: list[bytes | Oddity] = []
        for line in whole:
            if self._skipping:
                self._skipping = False  # the end of a line that was already reported as too long
            else:
                lines.append(line if len(line) <= MOST_BYTES else Oddity.TOO_LONG)
        if len(held) > MOST_BYTES and not self._skipping:
            lines.append(Oddity.TOO_LONG)
            self._skipping = True
        self._held = b"" if self._skipping else held
        return tuple(lines)
