"""Lock a folder while one process works in it. The lock of a dead process becomes stale, and another process takes it over.

The file ``lock`` is created with ``O_EXCL``. Therefore, only one of several processes on a file system succeeds. The file
identifies its owner. A lock is stale in three cases:

* The owner ran on this machine, in the current boot and process namespace, and has ended. The lock is stale at once.
* The owner ran on a machine with this host name, before that machine was restarted. The lock is stale at once, unless it was
  renewed after the start of this machine: then it belongs to another machine with the same host name.
* In all other cases the owner's process cannot be checked. The lock is stale when it was not renewed for `SILENT_S` seconds.
  A thread of the owner renews its time stamp every `BEAT_S` seconds, even during long steps. Ages are differences of times of
  one file system, so the clocks of the machines need not agree.

An owner may sleep so long that another process takes over (a suspended laptop). The owner notices this at its next step and
stops without a result. All files that it had written until then were written atomically.
"""

import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from andon.foundation.errors import TrainingError
from andon.foundation.printable import printable

LOCK = "lock"
BEAT_S = 30.0
SILENT_S = 600.0

logger = logging.getLogger(__name__)


class Owner(Struct, frozen=True, kw_only=True):
    """The process that holds a lock, described so that other processes can recognise it.

    The lock file contains this description.
    """

    host: str
    space: str
    """Boot and process namespace of `pid`; empty where the system cannot report whether a process is alive."""
    pid: int
    began: str
    """Start time of the process, in the system's own count. It is needed because systems reuse process numbers."""
    token: str
    """Random token of this lock."""


class FolderLock:
    """The lock that this process holds on a folder."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner
        self._over = threading.Event()

    def check(self) -> None:
        """Check that this process still holds the lock.

        Raises:
            TrainingError: another process has taken the folder over.
        """
        if _read(self._path) != self._owner:
            raise TrainingError(
                f"{self._path.parent}: another process took this folder over, because this process was inactive for more "
                f"than {SILENT_S / 60:.0f} minutes. This process stops."
            )

    def _beat(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            # a network share can be unreachable for a moment: the next beat tries again
            with contextlib.suppress(OSError):
                if _read(self._path) == self._owner:
                    os.utime(self._path)

    def _release(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            if _read(self._path) == self._owner:
                self._path.unlink()


@contextlib.contextmanager
def lock_folder(folder: Path, *, beat_s: float = BEAT_S) -> Iterator[FolderLock | None]:
    """Lock a folder and yield the lock. Yield None if another process holds it. The lock is always removed at the end.

    Raises:
        TrainingError: the folder is not writable.
    """
    me = this_process()
    path = folder / LOCK
    if not _acquire(path, me):
        yield None
        return
    lock = FolderLock(path, me)
    thread = threading.Thread(target=lock._beat, args=(beat_s,), daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        lock._release()
        thread.join()


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder and the lock is not stale."""
    path = folder / LOCK
    return path.exists() and not _is_stale(path, _read(path), this_process())


def who_holds(folder: Path) -> str:
    """Return a text that names the process that holds a folder, and when it last renewed its lock."""
    path = folder / LOCK
    owner = _read(path)
    who = f"process {owner.pid} on {printable(owner.host)}" if owner else "an unknown process"
    return f"in use by {who}, which last renewed its lock {max(_silent_s(path), 0.0):.0f} s ago"


def stale(owner: Owner | None, here: Owner, *, silent_s: float, began: str | None, up_s: float | None) -> bool:
    """Return whether a lock is stale, that is, its owner has ended.

    Args:
        owner: content of the lock; None if it is not readable (its owner died while writing it, or is writing it now).
        here: this process.
        silent_s: seconds since the lock was last renewed.
        began: start time of the process on this machine that has the owner's pid; None if there is no such process.
        up_s: seconds since this machine was started; None if unknown.
    """
    if owner is not None and owner.host == here.host:
        if owner.space and owner.space == here.space:
            return began != owner.began
        boots = _boot(owner.space), _boot(here.space)
        if all(boots) and boots[0] != boots[1] and up_s is not None:
            # two beats: gives a living owner, on another machine with the same host name, the time to touch its lock
            return silent_s > min(max(up_s, 2 * BEAT_S), SILENT_S)
    return silent_s > SILENT_S


def _is_stale(path: Path, owner: Owner | None, here: Owner) -> bool:
    return stale(owner, here, silent_s=_silent_s(path), began=began(owner), up_s=_up_s())


def this_process() -> Owner:
    """Return an `Owner` that describes this process, with a new random token."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(), space=_space(), pid=pid, began=_began(pid) or "", token=secrets.token_hex(8)
    )


def began(owner: Owner | None) -> str | None:
    """Return the start time of the process on this machine that has an owner's pid; None if there is no such process."""
    return None if owner is None else _began(owner.pid)


def _acquire(path: Path, me: Owner) -> bool:
    for _ in range(2):  # a second time after a stale lock was removed
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                stream.write(msgspec.json.encode(me))
        except FileExistsError:
            pass
        except OSError as error:
            raise TrainingError(f"{path}: cannot write the lock file: {error.strerror or error}.") from error
        else:
            return True
        owner = _read(path)
        if not _is_stale(path, owner, me):
            return False
        _remove_stale(path, owner)
    return False


def _remove_stale(path: Path, seen: Owner | None) -> None:
    """Remove the lock of a dead owner, but not a new lock that another process has made in its place.

    A process must create a second file (the guard) before it removes the lock of another, and reads the lock again first.
    """
    guard = path.with_name(f"{LOCK}.taking")
    try:
        guard.open("xb").close()
    except FileExistsError:
        if _silent_s(guard) > SILENT_S:  # its owner died between these lines; the next attempt finds no guard
            guard.unlink(missing_ok=True)
        return
    try:
        if path.exists() and _read(path) == seen:
            path.unlink(missing_ok=True)
            gone = f"process {seen.pid} on {seen.host}" if seen else "an unknown process"
            logger.info("%s: taken over from %s, which has ended", path.parent, gone)
    finally:
        guard.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def _silent_s(path: Path) -> float:
    """Return the seconds since a file was last modified, by the clock of its own file system."""
    probe = path.with_name(f".now.{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _space() -> str:
    if os.name != "posix":  # on Windows, os.kill(pid, 0) would end the process instead of checking it
        return ""
    try:
        # machines may share a host name, and the first namespace has the same number everywhere; the boot id is unique
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.name


def _boot(space: str) -> str:
    """Return the boot id in a space; empty if it contains none."""
    boot, gap, _ = space.partition(" ")
    return boot if gap else ""


def _up_s() -> float | None:
    """Return the seconds since this machine was started, including time asleep; None where the system is not Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else None


def _began(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return _alive(pid)
    return None if fields[0] == "Z" else fields[19]  # 0: state (Z: zombie); 19: start time in ticks since boot


def _alive(pid: int) -> str | None:
    """Return "" if the process exists, else None. Used where /proc does not report start times."""
    if os.name != "posix" or Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""
