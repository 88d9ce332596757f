"""A clock as an argument: code that depends on time takes a clock, so that a test can control the time."""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock and a wall clock, in seconds."""

    def mono_s(self) -> float:
        """Return monotonic seconds, for ages, deadlines and order."""
        ...

    def wall_s(self) -> float:
        """Return the seconds since 1970, for display only."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for this long."""
        ...


class SystemClock:
    """The machine's clock."""

    def mono_s(self) -> float:
        """Return `time.monotonic`."""
        return time.monotonic()

    def wall_s(self) -> float:
        """Return `time.time`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Call `time.sleep`."""
        time.sleep(seconds)


def pause(clock: Clock, seconds: float, over: Callable[[], bool]) -> None:
    """Wait for `seconds`, but return within a tenth of a second after `over` becomes true.

    A source must end within two seconds of a stop.
    """
    until_s = clock.mono_s() + seconds
    while not over() and (left_s := until_s - clock.mono_s()) > 0:
        clock.sleep(min(left_s, 0.1))
