"""A disk of 2 MB for tests of a full disk. It needs the right to mount."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE = 2 << 20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a tmpfs of 2 MB below a folder and yield its path. Yield None if this is not allowed."""
    path = folder / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=20)


def fill(path: Path, *, leave: int = 0) -> None:
    """Create or extend a file until only `leave` bytes of the disk are free."""
    with path.open("ab", buffering=0) as stream:
        while (found := os.statvfs(path)).f_bavail * found.f_frsize > leave:
            try:
                stream.write(b"\0" * min(1 << 16, max(4096, found.f_bavail * found.f_frsize - leave)))
            except OSError:
                return
