"""Recognise addresses that stay on this machine. Traffic to any other address needs encryption."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine. Names are not looked up: only ``localhost`` is known.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "[::1]", "::ffff:127.0.0.1")]
    [True, True, True, True, True]
    >>> [is_loopback(host) for host in ("10.0.0.1", "0.0.0.0", "::ffff:10.0.0.1", "broker.example")]
    [False, False, False, False]
    """
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
