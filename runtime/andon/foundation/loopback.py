"""Recognise addresses that stay on this machine. Traffic to any other address needs encryption."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine. Names are not looked up: only ``localhost`` is known.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "[::1]", "10.0.0.1", "broker.example")]
    [True, True, True, True, False, False]
    """
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
