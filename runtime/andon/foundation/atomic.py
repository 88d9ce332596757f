"""Write files atomically: after a power failure a file has either its old or its complete new content."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from andon.foundation.errors import ConfigError


def write_atomically(path: Path | str, data: bytes | bytearray) -> None:
    """Write to a temporary file in the same folder, flush it to the disk, and rename it. On failure the old file stays.

    Missing folders are created. A symbolic link is kept, and its target is replaced. A missing target is created, but not its
    folder, which may be on a disk that is not mounted. The new file gets the permissions of the old one, and its owner and
    group if this process may set them. Other hard links to the old file keep the old content.

    Raises:
        ConfigError: the path cannot be written, or it exists and is not a regular file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = _regular_file(path)
        target = Path(os.path.realpath(path))
        # a short name, because the target's name may have the maximum length of the file system
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        mode = stat.S_IMODE(old.st_mode) & 0o777 if old else 0o666

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags, mode)  # from the start not readable by more users than the old file

        try:
            with open(temporary, "xb", opener=opener) as stream:
                if old and hasattr(os, "fchown"):
                    _keep_owner(stream.fileno(), old, mode)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}.") from error


def _regular_file(path: Path) -> os.stat_result | None:
    """Return the status of the file at the end of all links, or None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            f"{path}: expected a regular file or a new name, got {_kind(found.st_mode)}. Choose another output path."
        )
    return found


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _keep_owner(handle: int, old: os.stat_result, mode: int) -> None:
    new = os.fstat(handle)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, mode)  # after fchown, and because the umask has reduced the mode given to open
