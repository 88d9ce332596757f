"""Show paths, names and addresses that the user gave, without the secrets in them."""

import re

from andon.foundation.printable import printable
from andon.foundation.redaction import REVEALED

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


def register_secrets(address: str) -> None:
    """Remove the secret parts of an address from all later log lines, in every spelling that a library may use."""
    scheme = _SCHEME.match(address)
    user, _, place = address[len(scheme[0]) if scheme else 0 :].rpartition("@")
    for secret in (user, user.partition(":")[2], place.partition("?")[2]):
        if secret:
            REVEALED.register(secret)
