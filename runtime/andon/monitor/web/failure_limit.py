"""Slow down the guessing of tokens: after some wrong ones an address is refused until the oldest is a minute old."""

import ipaddress
from collections import OrderedDict, deque

MOST_FAILURES = 5
WINDOW_S = 60.0
MOST_ADDRESSES = 1024
"""Largest number of addresses in memory. The one with the oldest last failure is forgotten first."""


class FailureLimit:
    """Count wrong tokens by address. It has no clock: each call has the monotonic time."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of addresses in memory."""
        return len(self._failures)

    def wait_s(self, address: str, now_s: float) -> float:
        """Return the seconds until the address may try again. 0 if it may try now."""
        failures = self._failures.get(network(address))
        if failures is None or len(failures) < MOST_FAILURES:
            return 0.0
        return max(0.0, failures[0] + WINDOW_S - now_s)

    def failed(self, address: str, now_s: float) -> None:
        """Count a wrong token."""
        key = network(address)
        self._failures.setdefault(key, deque(maxlen=MOST_FAILURES)).append(now_s)
        self._failures.move_to_end(key)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)


def network(address: str) -> str:
    """Return the key by which an address is counted. One machine has a whole /64 of IPv6 addresses, so that they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
