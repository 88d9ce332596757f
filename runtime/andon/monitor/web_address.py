"""Check and split web addresses to which the monitor sends requests: http only on this machine, and no password inside."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from andon.foundation.loopback import is_loopback

_VISIBLE = re.compile(r"[!-~]+")


class WebAddress(NamedTuple):
    """The parts of a web address."""

    tls: bool
    host: str
    port: int
    target: str
    """Path and query."""


def web_address(url: str, *, insecure: bool) -> WebAddress:
    """Return the parts of a web address.

    Raises:
        ValueError: it is not an address of http or https, or it is http beyond this machine. The message does not contain it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text has the address
        parts, port = urlsplit(""), None
    if not _VISIBLE.fullmatch(url) or parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("url: expected an address like https://mes.example/andon, got another text. Correct it.")
    if parts.username is not None:
        raise ValueError("url: expected an address without a user and a password. Use the key token.")
    tls = parts.scheme == "https"
    if not tls and not insecure and not is_loopback(parts.hostname):
        raise ValueError(
            "url: expected https:// for another machine, got http://. Use https, or set insecure = true if you trust this "
            "network."
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return WebAddress(tls, parts.hostname, port or (443 if tls else 80), target)
