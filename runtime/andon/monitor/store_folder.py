"""The state folder of a monitor: its file system, its lock, its free space and its ballast file."""

import contextlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from andon.foundation.errors import ConfigError

DATABASE = "events.sqlite"
EVIDENCE = "evidence"
BALLAST = "ballast"
LOCK = "lock"

_MOUNTS = Path("/proc/self/mountinfo")
_REFUSED = re.compile(r"nfs\d*|cifs|smb\d*|smbfs|fuse|fuse\..*|fuseblk|9p|ceph|glusterfs|afs")
_OCTAL = re.compile(r"\\([0-7]{3})")


class StoreFolder:
    """A state folder that this process has locked.

    Only one process may write to a store. The operating system frees the lock when the process ends, also after a crash.

    Args:
        path: the folder, created if it is missing.
        any_file_system: also accept a network or FUSE file system. Locks and flushing may not work there.

    Raises:
        ConfigError: the folder cannot be created or is on a refused file system, or another process uses it.
    """

    def __init__(self, path: Path, *, any_file_system: bool = False) -> None:
        self.path = path
        self.has_ballast = False
        """True if space is reserved."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not any_file_system:
                require_local(path)
            self._lock = _locked(path / LOCK)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot store events in this folder: {error.strerror or error}. Choose a folder on a local disk "
                "that this user may write to."
            ) from error

    @property
    def database(self) -> Path:
        """Path of the SQLite file."""
        return self.path / DATABASE

    @property
    def evidence(self) -> Path:
        """Path of the folder with evidence."""
        return self.path / EVIDENCE

    @property
    def free_bytes(self) -> int:
        """Free space of the disk for this user."""
        return free_bytes(self.path)

    def make_ballast(self, size: int, *, spare_bytes: int | None = None) -> bool:
        """Reserve disk space that is freed when the disk is full. Return False if there is not enough space.

        SQLite needs space to delete rows. Without a reserve, a full disk would stay full.

        Args:
            size: size in bytes.
            spare_bytes: space that must stay free next to it. Default: a quarter of the size.
        """
        ballast = self.path / BALLAST
        try:
            if ballast.is_file() and ballast.stat().st_size == size:
                self.has_ballast = True
                return True
            ballast.unlink(missing_ok=True)
            if self.free_bytes < size + (size // 4 if spare_bytes is None else spare_bytes):
                return False
            handle = os.open(ballast, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                _reserve(handle, size)
            finally:
                os.close(handle)
        except OSError:
            self.drop_ballast()
            return False
        self.has_ballast = True
        return True

    def move_damaged(self, wall_s: float) -> str:
        """Give a damaged database and its evidence other names, so that new ones can begin. Return the name of the database.

        Nothing is deleted: the file may still be readable with the tools of SQLite.

        Args:
            wall_s: wall time for the names, in seconds since 1970.

        Raises:
            OSError: a file cannot be renamed.
        """
        stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        number, mark = 1, f"damaged-{stamp}"
        while (self.path / f"{mark}-{DATABASE}").exists() or (self.path / f"{mark}-{EVIDENCE}").exists():
            number += 1
            mark = f"damaged-{stamp}-{number}"
        # the log first: a database that stays alone would be taken for a whole one
        for name in (f"{DATABASE}-wal", f"{DATABASE}-shm", EVIDENCE, DATABASE):
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(self.path / f"{mark}-{name}")
        return f"{mark}-{DATABASE}"

    def drop_ballast(self) -> None:
        """Free the reserved space."""
        self.has_ballast = False
        with contextlib.suppress(OSError):
            (self.path / BALLAST).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        """Return this folder."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Release the lock."""
        self.close()


def free_bytes(path: Path) -> int:
    """Return the free space of the disk of a folder for this user."""
    if hasattr(os, "statvfs"):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
    import shutil

    return shutil.disk_usage(path).free


def disk_bytes(path: Path) -> int:
    """Return the size of the disk of a folder."""
    import shutil

    return shutil.disk_usage(path).total


def require_local(path: Path) -> None:
    """Refuse a network or FUSE file system: SQLite's locks and flushes are not reliable there.

    Systems without ``/proc/self/mountinfo`` are not checked.

    Raises:
        ConfigError: the folder is on such a file system.
    """
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    found = file_system(mounts, os.path.realpath(path))
    if _REFUSED.fullmatch(found):
        raise ConfigError(
            f"{path}: expected a folder on a local disk, got the file system {found!r}, where the event store can be damaged. "
            "Choose a local folder, or set any_file_system = true if you know that locks and flushing work there."
        )


def file_system(mounts: str, path: str) -> str:
    """Return the type of the file system of an absolute path, from the text of ``/proc/self/mountinfo``. Empty if unknown.

    >>> mounts = "25 1 8:1 / / rw - ext4 /dev/sda1 rw\\n40 25 0:40 / /mnt/my\\\\040share rw - nfs4 srv:/x rw"
    >>> file_system(mounts, "/mnt/my share/a")
    'nfs4'
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # a later mount at the same place hides the earlier one
            best, kind = len(point), after.split(" ")[0]
    return kind


def _locked(path: Path) -> int:
    """Return the open file of a lock that this process holds until it closes the file or ends."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _lock_now(handle)
    except OSError as error:
        owner = os.pread(handle, 20, 0).decode("ascii", errors="replace").strip() if hasattr(os, "pread") else ""
        os.close(handle)
        who = f"process {owner}" if owner.isdigit() else "another process"
        raise ConfigError(
            f"{path.parent}: expected a folder for events that no other process uses, found one in use by {who}. Stop that "
            "process, or choose another folder."
        ) from error
    with contextlib.suppress(OSError):  # on a full disk the number is missing in the error, nothing else
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode("ascii"))
    return handle


def holder(folder: Path) -> int | None:
    """Return the number of the process that uses a state folder. None if there is no such process.

    Raises:
        ConfigError: the lock cannot be read.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be read: {error.strerror}. Run the command as the user of the monitor."
        ) from error
    try:
        _lock_now(handle)
    except OSError:
        owner = os.read(handle, 20).decode("ascii", errors="replace").strip()
        return int(owner) if owner.isdigit() else None
    finally:
        os.close(handle)  # this also ends the lock, if it was free
    return None


def _flock() -> Callable[[int], None]:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        return lambda handle: msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    return lambda handle: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_lock_now = _flock()


def _reserve(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    for _ in range(0, size, 1 << 16):
        os.write(handle, b"\0" * (1 << 16))
