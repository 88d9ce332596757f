"""Append one line of text for each verdict to a file or to stdout, in a format such as JSON lines or CSV.

Each line is one write. Therefore, all lines are complete if the process is killed. A line that is cut off by a full disk is
removed at once. A line that is cut off by a kill is removed when the file is opened again. With a full disk judging continues,
lost lines are counted, and each further line is tried again. A file that was renamed or removed (log rotation) is created again
within a second.

When `put` returns, the operating system has the line. The line then survives the end of the process, but not a power failure.
"""

import contextlib
import errno
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.sink import ConsumerGoneError
from andon.sources.clock import Clock

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LONGEST_LINE = 1 << 16
"""Upper limit of a line, in bytes. As many bytes at the end of a file are checked and repaired."""
_PIECE = 4096
"""Bytes that a pipe accepts without blocking once it is ready (POSIX: PIPE_BUF is at least 512, on Linux 4096)."""
_GRACE_S = 0.5
"""Time after a stop for a slow consumer to read the rest of a line."""
_LOOK_EVERY_S = 1.0


class LineFormat(Struct, frozen=True, kw_only=True):
    """A format with one line for each verdict."""

    what: str
    """Name of the lines, for example ``JSON lines``."""
    line: Callable[[Outcome], bytes]
    """Function that returns the line of an outcome, with its line break at the end and no other one."""
    is_line: Callable[[bytes], bool]
    """Function that recognises a line of this format, without its line break."""
    may_begin: Callable[[bytes], bool]
    """Function that recognises the beginning of a line of this format. An empty text is one."""
    header: bytes = b""
    """First line of a file, with its line break. Empty for none."""


class LineSink:
    """A sink that appends one line for each outcome.

    Args:
        target: a path, or ``-`` for stdout.
        lines: format of the lines.
        clock: for checking once per second whether the open file still has this name.
        stop: event after which the sink no longer waits for a slow consumer.

    Raises:
        ConfigError: the file cannot be opened, another process appends to it, or stdout is closed. Or the file has other
            content than lines of this sink; it is then left unchanged.
    """

    def __init__(self, target: str, lines: LineFormat, *, clock: Clock, stop: threading.Event) -> None:
        self._name = "stdout" if target == "-" else target
        self._path = None if target == "-" else Path(target)
        self._clock = clock
        self._stop = stop
        self._lines = lines
        self._fd = _open(self._path, lines)
        self._headed = False
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._looked_s = clock.mono_s()
        self._failing = 0
        self.lost = 0

    @property
    def summary(self) -> str:
        """Number of lost lines as text. Empty without losses."""
        return f"{self.lost} lines lost at {self._name}" if self.lost else ""

    def put(self, outcome: Outcome) -> None:
        """Append one line.

        Raises:
            ConsumerGoneError: the reader of the pipe has gone.
        """
        text = self._lines.line(outcome)
        try:
            self._follow_name()
            if self._needs_header():
                text = self._lines.header + text
            if self._regular:
                self._append(text)
            else:
                self._send(text)
            self._headed = True
        except BrokenPipeError as error:
            raise ConsumerGoneError(f"{self._name}: the reader has closed the pipe") from error
        except (OSError, ConfigError) as error:
            self._failed(error)
        else:
            self._succeeded()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _needs_header(self) -> bool:
        """Return whether the header comes before the next line. Log rotation may have emptied the open file."""
        if not self._lines.header:
            return False
        return os.fstat(self._fd).st_size == 0 if self._regular else not self._headed

    def _append(self, text: bytes) -> None:
        written = os.write(self._fd, text)
        if written == len(text):
            return
        # a disk that is nearly full stores the beginning of a line: remove it, because only complete lines may stay
        end = os.lseek(self._fd, 0, os.SEEK_CUR) - written
        os.ftruncate(self._fd, end)
        os.lseek(self._fd, end, os.SEEK_SET)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _send(self, text: bytes) -> None:
        """Write to a pipe. Wait for a slow reader, but not after a stop."""
        left = memoryview(text)
        while left:
            if not self._ready():
                raise TimeoutError(errno.ETIMEDOUT, "the program that reads it is blocked")
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._fd, left[:_PIECE]) :]

    def _ready(self) -> bool:
        if sys.platform == "win32":  # select supports only sockets there
            return True
        given_up_s: float | None = None
        while not select.select([], [self._fd], [], 0.1)[1]:
            if self._stop.is_set():
                given_up_s = given_up_s if given_up_s is not None else self._clock.mono_s() + _GRACE_S
                if self._clock.mono_s() >= given_up_s:
                    return False
        return True

    def _follow_name(self) -> None:
        """Open the file again if its name now refers to another file or to none."""
        now_s = self._clock.mono_s()
        if self._path is None or not self._regular or now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        held = os.fstat(self._fd)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        if named is not None and (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return
        renewed = _open(self._path, self._lines)
        os.close(self._fd)
        self._fd = renewed

    def _failed(self, error: Exception) -> None:
        # one warning per failure, not per line: a disk stays full for hours
        if not self._failing:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            logger.warning("%s: cannot be written (%s); judging continues, lines are lost", self._name, reason)
        self._failing += 1
        self.lost += 1

    def _succeeded(self) -> None:
        if self._failing:
            logger.warning("%s: writing works again; %d lines were lost", self._name, self._failing)
            self._failing = 0


def _open(path: Path | None, lines: LineFormat) -> int:
    if path is None:
        if sys.stdout is None:
            raise ConfigError(
                "stdout: expected an open stream, got a closed one. Give a file, for example --out out.jsonl."
            )
        sys.stdout.flush()
        return os.dup(sys.stdout.fileno())
    try:
        regular = not path.exists() or path.is_file()
        # non-blocking, so that a named pipe without a reader is refused instead of waiting for one
        flags = os.O_RDWR | os.O_CREAT if regular else os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)
        # O_BINARY: otherwise Windows translates line breaks, and byte counts are wrong
        flags |= os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        fd = os.open(path, flags, 0o644)
    except OSError as error:
        why = "it is a pipe without a reader" if error.errno == errno.ENXIO else error.strerror
        raise ConfigError(f"{path}: cannot be written: {why}.") from error
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _lock(fd, path)
            _repair(fd, path, lines)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int, path: Path) -> None:
    """Lock the file for this process, because a repair would cut off a line that another process is writing."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{path}: another monitor writes to this file. Give each monitor its own file.") from error
    except OSError as error:  # a network share without locks
        logger.info("%s: cannot be locked: %s", path, error.strerror)


def _repair(fd: int, path: Path, form: LineFormat) -> None:
    """Cut off an incomplete last line if the file is of this format. Refuse every other file and leave it unchanged.

    In such a file the first line and the complete lines at the end are of the format, and an incomplete last line begins like
    one. The check protects other files from a wrong tab completion.
    """
    size = os.lseek(fd, 0, os.SEEK_END)
    if size == 0:
        return
    os.lseek(fd, 0, os.SEEK_SET)
    first, ended, _ = os.read(fd, LONGEST_LINE).partition(b"\n")
    place = os.lseek(fd, max(0, size - LONGEST_LINE), os.SEEK_SET)
    tail = os.read(fd, LONGEST_LINE)
    whole = tail.rfind(b"\n") + 1
    lines, torn = tail[:whole].split(b"\n")[:-1], tail[whole:]
    if place > 0:
        lines = lines[1:]  # the first one may be incomplete because of the start position
    checked = lines[1:] if place == 0 else lines
    ours = all(map(form.is_line, checked)) and (_is_first(first, form) if ended else whole == 0 and place == 0)
    begins = _may_begin_file(torn, form) if place == 0 and not lines else form.may_begin(torn)
    # a power failure can leave zeros in place of a line
    if not ours or not (begins or (lines and not torn.strip(b"\0"))):
        raise ConfigError(
            f"{path}: expected a new file, or a file of {form.what} from andon monitor, got other content. The file is "
            "unchanged. Give another file."
        )
    if torn:
        os.ftruncate(fd, place + whole)
        logger.warning("%s: the last line was incomplete and was removed", path)
    os.lseek(fd, 0, os.SEEK_END)


def _is_first(text: bytes, form: LineFormat) -> bool:
    """Return whether a file of this format may have this first line, without its line break."""
    return text + b"\n" == form.header if form.header else form.is_line(text)


def _may_begin_file(text: bytes, form: LineFormat) -> bool:
    """Return whether an incomplete first line may be of this format."""
    return form.header.startswith(text) if form.header else form.may_begin(text)


def check(target: str, form: LineFormat) -> None:
    """Look at an existing file for ``andon check``, without a lock, so that a running monitor does not matter.

    Raises:
        ConfigError: the file cannot be read, or has other content.
    """
    path = Path(target)
    if target == "-" or not path.is_file():
        return
    try:
        with path.open("rb") as opened:
            first, ended, _ = opened.readline(LONGEST_LINE).partition(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    if not (_is_first(first, form) if ended else _may_begin_file(first, form)):
        raise ConfigError(f"{path}: expected a new file, or one of {form.what} from andon monitor, got other content.")
