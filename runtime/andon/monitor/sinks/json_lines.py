"""Verdicts as JSON lines, to a file or to stdout.

Each line is one write, so that killing the process leaves whole lines. What a kill or a full disk cut off nevertheless is
repaired: at once while the process lives, else when the file is opened again. A disk that is full is a state: judging goes
on, lost lines are counted, and every further line tries again. A file that was renamed or removed (log rotation) is created
again within a second.

The system has the line when `put` returns: it outlives the process, but not a loss of power.
"""

import contextlib
import errno
import logging
import os
import select
import stat
import sys
import threading
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.records import Record, line, record
from andon.monitor.sink import ConsumerGoneError, SinkContext, SinkKind
from andon.sources.clock import Clock

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LONGEST_LINE = 1 << 16
"""Upper limit of a line, bytes. The end of a file is checked and mended within so many."""
_PIECE = 4096
"""Bytes that a pipe takes without blocking once it is ready (POSIX: PIPE_BUF is at least 512, on Linux 4096)."""
_GRACE_S = 0.5
"""After a stop, for a consumer that does not read to take the rest of a line."""
_LOOK_EVERY_S = 1.0


class Settings(Struct, frozen=True, kw_only=True):
    """Where the lines go."""

    path: Annotated[str, Meta(min_length=1, description="the file to append to; - is stdout")] = "-"


class JsonLines:
    """Appends one line for each outcome.

    Args:
        target: a path, or ``-`` for stdout.
        clock: for looking once a second whether the file is still the one of that name.
        stop: set when a consumer that does not read is to be waited for no longer.

    Raises:
        ConfigError: cannot be opened; holds something else than lines of ours, and is left as it is; another process appends
            to it; it is stdout, and closed.
    """

    def __init__(self, target: str, *, clock: Clock, stop: threading.Event) -> None:
        self._name = "stdout" if target == "-" else target
        self._path = None if target == "-" else Path(target)
        self._clock = clock
        self._stop = stop
        self._fd = _open(self._path)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._looked_s = clock.mono_s()
        self._failing = 0
        self.lost = 0

    @property
    def summary(self) -> str:
        """Empty where all is well."""
        return f"{self.lost} lines lost at {self._name}" if self.lost else ""

    def put(self, outcome: Outcome) -> None:
        """Append one line.

        Raises:
            ConsumerGoneError: the reader of a pipe is gone.
        """
        text = line(record(outcome))
        try:
            self._follow_name()
            if self._regular:
                self._append(text)
            else:
                self._send(text)
        except BrokenPipeError as error:
            raise ConsumerGoneError(f"nobody reads {self._name} any more") from error
        except (OSError, ConfigError) as error:
            self._failed(error)
        else:
            self._succeeded()

    def close(self) -> None:
        """Give the file back."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _append(self, text: bytes) -> None:
        written = os.write(self._fd, text)
        if written == len(text):
            return
        # a disk that is nearly full takes the beginning of a line: only whole ones may stay
        end = os.lseek(self._fd, 0, os.SEEK_CUR) - written
        os.ftruncate(self._fd, end)
        os.lseek(self._fd, end, os.SEEK_SET)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _send(self, text: bytes) -> None:
        """To a pipe, whose reader may be slow: waits for it, but not beyond a stop."""
        left = memoryview(text)
        while left:
            if not self._ready():
                raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._fd, left[:_PIECE]) :]

    def _ready(self) -> bool:
        if sys.platform == "win32":  # select knows only sockets there
            return True
        given_up_s: float | None = None
        while not select.select([], [self._fd], [], 0.1)[1]:
            if self._stop.is_set():
                given_up_s = given_up_s if given_up_s is not None else self._clock.mono_s() + _GRACE_S
                if self._clock.mono_s() >= given_up_s:
                    return False
        return True

    def _follow_name(self) -> None:
        """Open the file again where the one of our name is no longer the one that we hold."""
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
        renewed = _open(self._path)
        os.close(self._fd)
        self._fd = renewed

    def _failed(self, error: Exception) -> None:
        # once a loss, not once a line: a disk stays full for hours
        if not self._failing:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            logger.warning("%s: cannot be written (%s); judging goes on, lines are lost", self._name, reason)
        self._failing += 1
        self.lost += 1

    def _succeeded(self) -> None:
        if self._failing:
            logger.warning("%s: is written again; %d lines were lost", self._name, self._failing)
            self._failing = 0


def _open(path: Path | None) -> int:
    if path is None:
        if sys.stdout is None:
            raise ConfigError("stdout: expected an open one, but it is closed. Give a file.")
        sys.stdout.flush()
        return os.dup(sys.stdout.fileno())
    try:
        regular = not path.exists() or path.is_file()
        # not blocking: a named pipe without a reader must be refused, not waited for
        flags = os.O_RDWR | os.O_CREAT if regular else os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)
        # O_BINARY: Windows would else write other bytes than it counts, and read fewer than the file has
        flags |= os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        fd = os.open(path, flags, 0o644)
    except OSError as error:
        why = "it is a pipe that nobody reads" if error.errno == errno.ENXIO else error.strerror
        raise ConfigError(f"{path}: cannot be written to: {why}.") from error
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            _claim(fd, path)
            _mend(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _claim(fd: int, path: Path) -> None:
    """Be the only one: mending would cut another's line in the middle."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{path}: another monitor writes to it; give each its own file.") from error
    except OSError as error:  # a network share without locks
        logger.info("%s: cannot be locked: %s", path, error.strerror)


def _mend(fd: int, path: Path) -> None:
    """Cut off a last line without an end, if the file is a verdict log of ours; refuse every other file as it is.

    Ours are files whose first line and whose complete lines at the end are records, and whose torn rest begins as a record
    does. A slip of tab completion must not cost somebody's configuration.
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
        lines = lines[1:]  # cut by where we began to look
    ours = all(map(_is_record, lines)) and (_is_record(first) if ended else whole == 0 and place == 0)
    # a loss of power leaves zeros where a line should be
    if not ours or not (_may_begin_record(torn) or (lines and not torn.strip(b"\0"))):
        raise ConfigError(
            f"{path}: expected a new file, or one with JSON lines that andon monitor wrote, found something else. "
            "It is left as it is. Give another file."
        )
    if torn:
        os.ftruncate(fd, place + whole)
        logger.warning("%s: its last line was torn and is cut off", path)
    os.lseek(fd, 0, os.SEEK_END)


def _is_record(text: bytes) -> bool:
    if not _may_begin_record(text):
        return False
    try:
        _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _may_begin_record(text: bytes) -> bool:
    """Return whether a line of ours may begin like this; nothing at all may."""
    number = text[len(_SEQ) :].lstrip(b"0123456789")
    return _SEQ.startswith(text[: len(_SEQ)]) and (number.startswith(_AT) or _AT.startswith(number))


_SEQ, _AT = b'{"seq":', b',"at":"'
_decoder = msgspec.json.Decoder(Record)


def _open_sink(settings: Settings, context: SinkContext) -> JsonLines:
    return JsonLines(settings.path, clock=context.clock, stop=context.stop)


SINK = SinkKind(
    name="json_lines",
    summary="one JSON line for each verdict, appended to a file or written to stdout",
    settings=Settings,
    open=_open_sink,
)
