"""The typical time of one call of a judge, to leave out calls whose result would be late."""

import collections
import statistics

KEPT = 9
"""Number of calls. Four slow calls among them do not change the median."""


class JudgeCost:
    """The median of the last calls. All methods are used by one thread.

    >>> cost = JudgeCost()
    >>> for seconds in (0.010, 0.012, 0.500):
    ...     cost.add(seconds)
    >>> cost.median_s
    0.012
    """

    def __init__(self) -> None:
        self._taken_s: collections.deque[float] = collections.deque(maxlen=KEPT)
        self.median_s = 0.0
        """Median in seconds. 0 before the first call."""

    def add(self, seconds: float) -> None:
        """Count a call."""
        self._taken_s.append(seconds)
        self._update()

    def forget(self) -> None:
        """Remove the oldest call. Call it for each item that was left out: the line then tries again after a slow period."""
        if self._taken_s:
            self._taken_s.popleft()
            self._update()

    def clear(self) -> None:
        """Remove all calls, because another model file judges now."""
        self._taken_s.clear()
        self._update()

    def _update(self) -> None:
        self.median_s = statistics.median(self._taken_s) if self._taken_s else 0.0
