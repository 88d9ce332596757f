"""Keys that the tables of plug-ins in the settings have in common: ``kind``, ``name``, and lists of lines.

Errors name the place of the key. They show the type of a wrong value and not the value, which may be a secret in the wrong place.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.registry import Group, load
from andon.foundation.settings import nearest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def kind_in(table: Mapping[str, object], group: Group, *, at: str, example: str) -> Any:
    """Load the plug-in that the key ``kind`` names, and return its record.

    Args:
        table: the keys and values.
        group: group of the plug-in.
        at: path of the table in its file, for example ``line.toml: output[0]``.
        example: a kind, for the error.

    Raises:
        ConfigError: the key is missing or no text, or the kind is unknown or broken.
    """
    name = table.get("kind")
    if not isinstance(name, str):
        raise ConfigError(f'{at}.kind: expected a kind, for example kind = "{example}", got {shown_type(name)}.')
    try:
        return load(group, name)
    except ConfigError as error:
        raise ConfigError(f"{at}.kind: {error}") from error


def name_in(table: Mapping[str, object], *, at: str, example: str) -> str:
    """Return the value of the key ``name``.

    Args:
        table: the keys and values.
        at: path of the table in its file.
        example: a name, for the error.

    Raises:
        ConfigError: the key is missing or no text, or the text has other characters than letters, digits, - and _.
    """
    name = table.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ConfigError(
            f'{at}.name: expected 1 to 64 letters, digits, - or _, for example name = "{example}", got {shown_type(name)}.'
        )
    return name


def listed_in(
    table: Mapping[str, object], key: str, *, at: str, what: str, known: Collection[str] | None
) -> tuple[str, ...] | None:
    """Return the names in a list, or None if the key is missing.

    Args:
        table: the keys and values.
        key: the key of the list.
        at: path of the table in its file.
        what: what the list contains, for example ``line``.
        known: the names that are allowed. None: all.

    Raises:
        ConfigError: the value is not a list of at least one text, or a name is unknown or occurs twice.
    """
    value, place = table.get(key), f"{at}.{key}"
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value or not all(isinstance(one, str) for one in value):
        raise ConfigError(
            f'{place}: expected a list of at least one {what}, for example ["a", "b"], got {shown_type(value)}.'
        )
    for number, one in enumerate(value):
        if known is not None and one not in known:
            raise ConfigError(
                f"{place}: expected a known {what}, got {printable(repr(one))}{nearest(one, known)}. "
                f"Known: {', '.join(known) or 'none'}."
            )
        if one in value[:number]:
            raise ConfigError(
                f"{place}: expected each {what} once, got {printable(repr(one))} again. Leave out one of them."
            )
    return tuple(value)


def shown_type(value: object) -> str:
    """Return the type of a TOML value as text.

    >>> shown_type(3)
    'int'
    """
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "another text" if value.strip() else "an empty text"
    return "an empty list" if value == [] else type(value).__name__
