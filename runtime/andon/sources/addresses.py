"""Show paths, names and addresses that the user gave, without the secrets in them."""

import re
from urllib.parse import quote, unquote

from andon.foundation.printable import printable

# one slash is enough: pathlib reduces the two slashes of an address to one
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+")
_USER_AND_PASSWORD = re.compile(r"(?![A-Za-z]:[/\\])[^\s/\\@:]+:[^@]*@")  # a Windows drive letter does not match
_QUERY = re.compile(r"[?#]")


def redact(text: str) -> str:
    """Return an address without its possible secrets: user name, password, query and fragment.

    A password that was typed without escaping may contain any of ``/ ? # @ [``, and a token may contain ``@``. If the two cannot
    be distinguished, only the scheme is left. A text without a scheme is an address if it begins with ``USER:PASSWORD@``.

    >>> redact("rtsp://admin:secret@10.0.0.7:554/live?token=abc")
    'rtsp://***@10.0.0.7:554/live?***'
    >>> redact("admin:secret@10.0.0.7/live"), redact("folder/12.png")
    ('***@10.0.0.7/live', 'folder/12.png')
    """
    scheme = _SCHEME.match(text)
    if scheme is None and _USER_AND_PASSWORD.match(text) is None:
        return text
    begin = scheme[0] if scheme else ""
    rest = text[len(begin) :]
    user, at, after = rest.rpartition("@")
    if _QUERY.search(user):
        return f"{begin}***"
    query = _QUERY.search(after)
    place = after[: query.start()] if query else after
    return f"{begin}{'***@' if at else ''}{place}{f'{query[0]}***' if query else ''}"


def shown_address(text: str) -> str:
    """Return a path, name or address for a message: without secrets, and safe for a terminal."""
    return printable(redact(text))


def scheme_of(text: str) -> str:
    """Return the scheme of a URL in lower case, or an empty text."""
    scheme, separator, _ = text.partition("://")
    return scheme.lower() if separator else ""


class Redactor:
    """Removes the secrets of known addresses from the texts of other libraries.

    A library may print a password as it was given, decoded, or encoded anew. Every address in a text is redacted as well, known or
    not. It may be used by several threads.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def add(self, address: str) -> None:
        """Remember the secrets of an address."""
        secrets = set(self._secrets) | _secrets_of(address)
        self._secrets = tuple(sorted(secrets, key=len, reverse=True))  # replaced as a whole: readers need no lock

    def without_secrets(self, text: str) -> str:
        """Return the text with ``***`` for each secret, and with all addresses redacted."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _ADDRESS.sub(lambda found: redact(found[0]), text)


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_LEAST_SECRET = 3
"""Shortest part of an address that counts as a secret by itself. A shorter one would also remove parts of words."""


def _secrets_of(address: str) -> set[str]:
    """Return the user, the password and the values of the query, each as given, decoded and encoded."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        return set()
    rest = address[len(scheme[0]) :]
    user, _, place = rest.rpartition("@")
    parts = {user, *user.split(":", 1)}
    query = place.partition("?")[2]
    parts |= {query} | {value for pair in re.split(r"[&;#]", query) for value in (pair, pair.partition("=")[2])}
    forms = set()
    for part in parts:
        decoded = unquote(part)
        forms |= {part, decoded, quote(decoded, safe=""), quote(decoded)}
    return {form for form in forms if len(form) >= _LEAST_SECRET}
