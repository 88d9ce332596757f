"""Limit the rate of changes by address: a token bucket for each address."""

from collections import OrderedDict

from andon.monitor.web.failure_limit import MOST_ADDRESSES, network

MOST_AT_ONCE = 30
"""Changes that one address can make without a pause."""
PER_SECOND = 1.0
"""Changes in each second after that."""


class RateLimit:
    """Count the changes of each address. It has no clock: each call has the monotonic time."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of addresses in memory."""
        return len(self._left)

    def wait_s(self, address: str, now_s: float) -> float:
        """Count one change and return 0, or return the seconds until the next one is allowed."""
        key = network(address)
        left, before_s = self._left.get(key, (float(MOST_AT_ONCE), now_s))
        left = min(MOST_AT_ONCE, left + max(0.0, now_s - before_s) * PER_SECOND)
        allowed = left >= 1.0
        self._left[key] = (left - 1.0 if allowed else left), now_s
        self._left.move_to_end(key)
        while len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / PER_SECOND
