"""Files that are either the old ones or the whole new ones, whenever the power fails."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from andon.foundation.errors import ConfigError


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write to a temporary file in the same folder, flush to the disk, rename. On any failure the old file stays.

    Missing folders are made. A link stays and the file that it points to is replaced. If that file is missing, it is
    made, but not its folder, which may lie on a disk that is not mounted. The new file gets the permissions of the old
    one, and its owner and group where this process may set them. Other hard links to the old file keep the old content.

    Raises:
        ConfigError: the place cannot be written to, or holds something else than a regular file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = _regular_file(path)
        target = Path(os.path.realpath(path))
        # a short name: the target's own may be as long as the file system allows
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        mode = stat.S_IMODE(old.st_mode) & 0o777 if old else 0o666

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags, mode)  # never readable by more than the old file, not even for a moment

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
    """Return what stands at the end of all links, None where nothing does."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            f"{path}: expected a regular file or a free name, got {_kind(found.st_mode)}. Choose another output path."
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
    os.fchmod(handle, mode)  # after fchown; the umask does not count for a file that has a mode already
