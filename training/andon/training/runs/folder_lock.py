"""Lock a folder while one process works in it: a lock file that a dead owner cannot keep for ever.

``lock`` is made with ``O_EXCL``, so that of several processes on one file system one gets it. It says who made it. It is
stale, and is taken over,

* at once where its owner was on this very machine since it was started (and in this process namespace), and is no more;
* at once where its owner was on a machine of this name before it was started anew. Machines may share a name: what has been
  touched since this one was started is another's;
* else, other processes being out of sight, when it has not been touched for `SILENT_S`. An owner touches it every
  `BEAT_S`, from a thread, however long a step takes. Ages are differences of times of one file system, so that clocks of
  machines need not agree.

An owner that was asleep so long that another took over (a suspended laptop) finds out at its next step and leaves
without a result. What it wrote until then was written atomically, file by file.
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
    """A process, as others can recognise it; what the lock file holds."""

    host: str
    space: str
    """Boot and namespace of its process number; empty where the system does not tell who is alive."""
    pid: int
    began: str
    """When it began, as the system counts: numbers of dead processes are given away again."""
    token: str
    """Of this one lock."""


class FolderLock:
    """A folder that is ours."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner
        self._over = threading.Event()

    def check(self) -> None:
        """Whether it still is.

        Raises:
            TrainingError: another process took it over.
        """
        if _read(self._path) != self._owner:
            raise TrainingError(
                f"{self._path.parent}: another process took this folder over while this one was silent for more than "
                f"{SILENT_S / 60:.0f} minutes. This one stops."
            )

    def _beat(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            # not there for a moment (a network share): the next beat will tell
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
    """Work in a folder; None where another process does. The lock is gone afterwards, however that ends.

    Raises:
        TrainingError: the folder cannot be written to.
    """
    me = this_process()
    path = folder / LOCK
    if not _taken(path, me):
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
    """Whether a living process works in a folder, as far as can be seen from here."""
    path = folder / LOCK
    return path.exists() and not _is_stale(path, _read(path), this_process())


def who_holds(folder: Path) -> str:
    """Say who holds a folder, and since when nothing was heard of it."""
    path = folder / LOCK
    owner = _read(path)
    who = f"process {owner.pid} on {printable(owner.host)}" if owner else "an unknown process"
    return f"held by {who}, last touched {max(_silent_s(path), 0.0):.0f} s ago"


def stale(owner: Owner | None, here: Owner, *, silent_s: float, began: str | None, up_s: float | None) -> bool:
    """Whether a lock's owner is no more.

    Args:
        owner: what the lock says; None where it is not readable (its owner died while writing it, or is writing now).
        here: this process.
        silent_s: since the lock was last touched.
        began: when the process of the owner's number on this machine began; None where there is none.
        up_s: since this machine was started; None where it is not known.
    """
    if owner is not None and owner.host == here.host:
        if owner.space and owner.space == here.space:
            return began != owner.began
        boots = _boot(owner.space), _boot(here.space)
        if all(boots) and boots[0] != boots[1] and up_s is not None:
            # two beats: a living owner on a machine that happens to have this name must have had its chance
            return silent_s > min(max(up_s, 2 * BEAT_S), SILENT_S)
    return silent_s > SILENT_S


def _is_stale(path: Path, owner: Owner | None, here: Owner) -> bool:
    return stale(owner, here, silent_s=_silent_s(path), began=began(owner), up_s=_up_s())


def this_process() -> Owner:
    """For a lock of our own."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(), space=_space(), pid=pid, began=_began(pid) or "", token=secrets.token_hex(8)
    )


def began(owner: Owner | None) -> str | None:
    """When the process of an owner's number on this machine began; None where there is none."""
    return None if owner is None else _began(owner.pid)


def _taken(path: Path, me: Owner) -> bool:
    for _ in range(2):  # once more after a stale lock is out of the way
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                stream.write(msgspec.json.encode(me))
        except FileExistsError:
            pass
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written: {error.strerror or error}.") from error
        else:
            return True
        owner = _read(path)
        if not _is_stale(path, owner, me):
            return False
        _remove_stale(path, owner)
    return False


def _remove_stale(path: Path, seen: Owner | None) -> None:
    """Remove a dead owner's lock, but not one that somebody made in its place meanwhile.

    Only who holds a second file removes a lock that is not its own, and looks once more before it does.
    """
    guard = path.with_name(f"{LOCK}.taking")
    try:
        guard.open("xb").close()
    except FileExistsError:
        if _silent_s(guard) > SILENT_S:  # died within these few lines; the next attempt finds it gone
            guard.unlink(missing_ok=True)
        return
    try:
        if path.exists() and _read(path) == seen:
            path.unlink(missing_ok=True)
            gone = f"process {seen.pid} on {seen.host}" if seen else "an unknown process"
            logger.info("%s: taken over from %s, which is no more", path.parent, gone)
    finally:
        guard.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def _silent_s(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its own file system."""
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
    if os.name != "posix":  # there, asking for a process by a signal would end it
        return ""
    try:
        # machines may share a name, and their first namespaces have the same number everywhere; a boot is one alone
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.name


def _boot(space: str) -> str:
    """Return the boot that a space names; empty where it names none."""
    boot, gap, _ = space.partition(" ")
    return boot if gap else ""


def _up_s() -> float | None:
    """Seconds since this machine was started, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else None


def _began(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return _alive(pid)
    return None if fields[0] == "Z" else fields[19]  # state, and start time in ticks since boot


def _alive(pid: int) -> str | None:
    """Where /proc does not tell when a process began: empty for one that is there."""
    if os.name != "posix" or Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""
