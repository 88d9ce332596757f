"""Map the time stamps of a camera to this machine's clock, and check their rate. The code needs no clock and no threads.

A stamp is the time at which a frame was taken, on the camera's own clock. The difference between arrival and stamp is the
difference of the two clocks plus the delay of the frame. The smallest difference of the last minute belongs to the frames with
the least delay. A frame with a larger difference is older by the excess, its `lag_s`.

After a stall, decoders and networks deliver frames that are as old as the stall. Their arrival does not show it, but their lag
does.
"""

from collections import deque

from msgspec import Struct

WINDOW_S = 60.0
"""Length of the window of the minimum, and time over which the rate is measured, in seconds."""
RATE_TOLERANCE = 0.02
"""Largest difference between the rate of the stamps and the rate of arrival, as a share."""
STALL_S = 1.0
"""A pause between two frames above which the two do not count for the rate."""


class Mapped(Struct, frozen=True):
    """The age of one frame when it arrived."""

    lag_s: float
    """Seconds between its capture and its arrival, beyond the least delay of the last minute. 0 if only the arrival is known."""
    by_arrival: bool
    """True if the frame has no usable stamp. Its lag is then unknown, and the time of capture is the time of arrival."""
    wrong_rate: float | None = None
    """Seconds of source time per second of arrival, if they differ too much. Set once, for the frame at which it was noticed."""


class SourceTime:
    """Maps the stamps of one camera over all its connections.

    The minimum starts again when a stamp is missing or earlier than its predecessor, and with each connection. A stamp that leaps
    ahead of the present needs no rule, because it is a new minimum. A leap that stays in the past does not start it again: frames
    were lost in a stall, and the next frame may still be old.

    A camera can state a rate and send another one. If the two rates differ by more than `RATE_TOLERANCE` over a minute, all later
    frames are mapped by their arrival.
    """

    def __init__(self) -> None:
        self._least: deque[tuple[float, float]] = deque()  # arrival and difference, both ascending
        self._before: tuple[float, float] | None = None
        self._arrival_s = self._source_s = 0.0
        self.by_arrival = False
        """True after the rate was found to be wrong."""

    def connected(self) -> None:
        """Start again, because the camera was (re)connected. Its stamps may begin anywhere."""
        self._least.clear()
        self._before = None

    def map(self, arrived_s: float, source_s: float | None) -> Mapped:
        """Return the age of a frame.

        Args:
            arrived_s: monotonic seconds, not less than in the previous call.
            source_s: the frame's stamp in seconds, or None if it has none.
        """
        if source_s is None or self.by_arrival:
            self.connected()
            return Mapped(0.0, by_arrival=True)
        rate = self._rate(arrived_s, source_s)
        if rate is not None:
            self.by_arrival = True
            self.connected()
            return Mapped(0.0, by_arrival=True, wrong_rate=rate)
        if self._before is not None and source_s < self._before[1]:
            self._least.clear()
        self._before = (arrived_s, source_s)
        difference_s = arrived_s - source_s
        while self._least and self._least[-1][1] >= difference_s:
            self._least.pop()
        self._least.append((arrived_s, difference_s))
        while self._least[0][0] < arrived_s - WINDOW_S:
            self._least.popleft()
        return Mapped(difference_s - self._least[0][1], by_arrival=False)

    def _rate(self, arrived_s: float, source_s: float) -> float | None:
        """Count the time since the previous frame. Return the rate of the stamps if it was wrong over a complete minute."""
        if self._before is None:
            return None
        arrival_s, source_step_s = arrived_s - self._before[0], source_s - self._before[1]
        if arrival_s > STALL_S or not 0.0 <= source_step_s <= STALL_S:
            return None
        self._arrival_s += arrival_s
        self._source_s += source_step_s
        if self._arrival_s < WINDOW_S:
            return None
        rate = self._source_s / self._arrival_s
        self._arrival_s = self._source_s = 0.0
        return rate if abs(rate - 1.0) > RATE_TOLERANCE else None
