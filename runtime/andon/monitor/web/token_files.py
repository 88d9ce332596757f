"""Make the two tokens of the web server, each in a file that only its owner can read."""

import os
import secrets
import stat
from pathlib import Path

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable

NAMES = {"view_token": "view-token", "act_token": "act-token"}
"""File names by setting."""
_BYTES = 16


def write_tokens(folder: Path, *, replace: bool = False) -> dict[str, Path]:
    """Write a new random token into each file. Return the absolute paths by setting. The tokens are not returned or printed.

    The folder is created with mode 0700 if it does not exist. Existing links are replaced and never followed.

    Args:
        folder: folder for both files.
        replace: replace existing tokens. A running monitor uses the new ones at once, and all logins end.

    Raises:
        ConfigError: a file exists, the folder is open to changes by other users, or it cannot be written.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    paths = {setting: folder / name for setting, name in NAMES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_folder(folder)
        for path in paths.values():
            if not replace and os.path.lexists(path):
                raise ConfigError(
                    f"{printable(str(path))}: expected a new name, got an existing file. Choose another folder, or give "
                    "--force to replace both tokens."
                )
        for path in paths.values():
            _write(path, secrets.token_hex(_BYTES))
    except OSError as error:
        raise ConfigError(f"{printable(str(folder))}: cannot be written: {error.strerror or error}.") from error
    return paths


def settings_lines(paths: dict[str, Path]) -> str:
    """Return the lines of a configuration that name the files."""
    lines = (f"{setting} = {{ file = {_toml_text(str(path))} }}" for setting, path in paths.items())
    return "\n".join(["[web]", *lines])


def _check_folder(folder: Path) -> None:
    mode = folder.stat().st_mode
    if os.name == "posix" and mode & 0o022 and not mode & stat.S_ISVTX:
        raise ConfigError(
            f"{printable(str(folder))}: expected a folder that only its owner can change, got mode {stat.S_IMODE(mode):04o}. "
            f"Run: chmod go-w {printable(str(folder))}"
        )


def _write(path: Path, token: str) -> None:
    """Write a new file and rename it. The file is never readable by others, not even before the rename."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii", newline="\n") as stream:
            stream.write(f"{token}\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _toml_text(text: str) -> str:
    """Return a TOML string.

    >>> print(_toml_text('a"b'))
    "a\\\\"b"
    """
    escaped = "".join(
        f"\\{character}" if character in '"\\' else character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in text
    )
    return f'"{escaped}"'
