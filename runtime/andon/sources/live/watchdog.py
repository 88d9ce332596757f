"""Decide when to report silence. The code needs no clock and no threads."""


class Watchdog:
    """Reports silence once for each period in which nothing arrived."""

    def __init__(self, period_s: float, now_s: float) -> None:
        self._period_s = period_s
        self._since_s = now_s

    def alive(self, at_s: float) -> None:
        """Record that something new arrived, or was captured, at this time."""
        self._since_s = max(self._since_s, at_s)

    def due(self, now_s: float) -> bool:
        """Return whether to report now; the next report is due a period later."""
        if now_s - self._since_s < self._period_s:
            return False
        self._since_s = now_s
        return True
