"""Files that are either the old ones or the whole new ones, whenever the power fails."""

import os
import secrets
from pathlib import Path

from andon.runtime.errors import ConfigError


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write beside the target, flush to the disk, rename. On any failure the old file stands as it was.

    Raises:
        ConfigError: the place cannot be written to.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:  # not mkstemp: its file would be readable by its owner alone
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror or error}.") from error
