"""Refer to a secret by the place where it is stored. The value is read when it is used.

No object keeps the value, except `andon.foundation.redaction`, which removes it from logs and messages.
"""

import os
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.redaction import REVEALED

MAX_BYTES = 65_536
"""Largest secret file, in bytes. A larger file is a wrong path."""
EXPECTED = 'a secret as { env = "NAME" } or { file = "PATH" }'
"""Both forms of a secret in a TOML file, for error messages."""


class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The place of a password, token or address: an environment variable or a file.

    `repr` and JSON show the place. They cannot show the value, because the object does not hold it.

    >>> Secret(env="CAMERA_URL")
    Secret(env='CAMERA_URL', file=None)
    """

    env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of an environment variable."""
    file: Annotated[str, Meta(min_length=1)] | None = None
    """Path of a file whose content is the secret. One line break at the end does not count."""

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError(f"expected {EXPECTED}, got both or neither")

    @property
    def place(self) -> str:
        """The place as text for messages, for example ``the environment variable CAMERA_URL``."""
        if self.env is not None:
            return f"the environment variable {printable(self.env)}"
        return f"the secret file {printable(str(self.file))}"

    def reveal(self) -> str:
        """Read the value. Never log or print it. From now on `redaction.redact` removes it from texts.

        Raises:
            ConfigError: the variable or file is missing or empty, or the file is not UTF-8 text of at most 64 KiB. The message
                contains the place but not the value.
        """
        value = self._variable() if self.env is not None else self._content()
        if not value:
            raise ConfigError(f"{self.place}: expected a secret, found an empty text. Put the secret there.")
        REVEALED.register(value)
        return value

    def _variable(self) -> str:
        value = os.environ.get(str(self.env))
        if value is None:
            raise ConfigError(f"{self.place}: expected a secret, found no such variable. Set it before the start.")
        return value

    def _content(self) -> str:
        try:
            with Path(str(self.file)).open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the path is invalid"
            raise ConfigError(f"{self.place}: cannot be read: {reason}.") from error
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if text is None or len(data) > MAX_BYTES:  # not inside `except`: that error holds the content
            raise ConfigError(f"{self.place}: expected UTF-8 text of at most {MAX_BYTES} bytes, found other content.")
        return text.removesuffix("\n").removesuffix("\r")
