"""Decide whether the time stamps of a camera are nanoseconds. The code needs no clock and no threads.

Some cameras count other ticks, for example of 8 ns, and some drivers give 0. The age of a frame would then be wrong, and all
frames would be dropped as too old.
"""

AFTER_S = 2.0
"""Time after which the rate of the stamps is known well enough."""
TOLERANCE = 0.02
"""Largest difference of the rates, as a share. `source_time` checks the rate again with the same tolerance."""


class TrustedStamps:
    """Passes on the stamps of one connection as soon as they have advanced at the rate of this machine's clock."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._trusted = False

    def trusted(self, now_s: float, stamp_ns: int | None) -> int | None:
        """Return the stamp of a frame, or None if it is not trusted.

        Args:
            now_s: monotonic seconds at which the frame arrived.
            stamp_ns: the stamp, or None if the frame has none.
        """
        if stamp_ns is None or self._trusted:
            return stamp_ns
        if self._first is None:
            self._first = now_s, stamp_ns
        elapsed_s = now_s - self._first[0]
        if elapsed_s >= AFTER_S:
            rate = (stamp_ns - self._first[1]) / 1e9 / elapsed_s
            self._trusted = abs(rate - 1.0) <= TOLERANCE
        return stamp_ns if self._trusted else None
