"""Make a scratch folder that ends with its process, and remove the folders that killed processes left.

The owner holds a lock on a file in the folder. The system releases the lock when the process ends, however it ends. So a free
lock means that the owner is dead, also if its process number belongs to another process now.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".owner"
"""Name of the locked file."""
_PROCESSES = Path("/proc")


@contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only this user may enter, and remove it at the end.

    Args:
        prefix: beginning of its name. Left folders with this prefix are removed first.
        parent: where to make it. Default: the folder of the system for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_left_folders(prefix, parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_folders(prefix: str, parent: Path) -> list[Path]:
    """Remove the folders of dead owners, and return them.

    A folder stays if other users own it or may write into it. It also stays if its owner lives or has not locked it yet, or if
    the command line of a process contains its name. Links are not followed.
    """
    try:
        found = [path for path in parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return []
    removed = []
    for folder in found:
        with contextlib.suppress(OSError):
            if _is_own(folder) and _is_left(folder) and not _is_named_by_a_process(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _is_own(folder: Path) -> bool:
    status = folder.lstat()
    return (
        os.name == "posix"
        and stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: nothing is removed there
        yield
        return
    # locked under another name: a file with the final name is never unlocked while its owner lives
    temporary = folder / f"{LOCK}.tmp"
    with temporary.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.rename(folder / LOCK)
        yield


def _is_left(folder: Path) -> bool:
    import fcntl

    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _is_named_by_a_process(folder: Path) -> bool:
    """Return whether a process of this machine still works there, for example a worker of Ray that finishes its task."""
    name = os.fsencode(folder.name)
    for process in _PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if name in (process / "cmdline").read_bytes():
                return True
    return False
