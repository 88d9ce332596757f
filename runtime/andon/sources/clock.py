"""Time as an argument: decisions take a clock, so that a test can set it."""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Seconds, from a clock that never steps, and from the one on the wall."""

    def mono_s(self) -> float:
        """Monotonic seconds: for ages, deadlines and order."""
        ...

    def wall_s(self) -> float:
        """Seconds since 1970, for display only."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def mono_s(self) -> float:
        """`time.monotonic`."""
        return time.monotonic()

    def wall_s(self) -> float:
        """`time.time`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """`time.sleep`."""
        time.sleep(seconds)


def pause(clock: Clock, seconds: float, over: Callable[[], bool]) -> None:
    """Wait, and end within a tenth of a second once `over` is true: a source must end within two seconds of a stop."""
    until_s = clock.mono_s() + seconds
    while not over() and (left_s := until_s - clock.mono_s()) > 0:
        clock.sleep(min(left_s, 0.1))
