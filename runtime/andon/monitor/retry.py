"""Rules for trying a delivery again: when, and when to give up on one event. They use no clock and no threads."""

import random
from typing import Literal

from msgspec import Struct

POISON_AFTER = 3
"""Number of refusals because of the content after which an event is dead."""


class Backoff(Struct, frozen=True, kw_only=True):
    """Upper limits of the pauses between tries. They double from `first_s` to `cap_s`."""

    first_s: float = 0.5
    cap_s: float = 60.0

    def limit_s(self, tries: int) -> float:
        """Return the longest pause after this number of failed tries, counted from 0.

        >>> [Backoff().limit_s(tries) for tries in (0, 1, 2, 6, 7, 10_000)]
        [0.5, 1.0, 2.0, 32.0, 60.0, 60.0]
        """
        return min(self.cap_s, self.first_s * 2.0 ** min(tries, 64))  # a float overflows beyond 2**1023

    def delay_s(self, tries: int, rng: random.Random) -> float:
        """Draw a pause between 0 and the limit (full jitter), so that many monitors do not come back at the same moment."""
        return rng.uniform(0.0, self.limit_s(tries))


def is_poison(refusals: int) -> bool:
    """Return whether an event that was refused this many times because of its content is dead."""
    return refusals >= POISON_AFTER


BreakerState = Literal["closed", "open", "half_open"]


class Breaker(Struct, frozen=True, kw_only=True):
    """The circuit breaker of one output.

    It is closed while deliveries succeed. A failure opens it for a pause that grows with each further failure. After the pause
    it is half open: one event is tried alone, and a success closes the breaker.
    """

    failures: int = 0
    """Number of failures in a row."""
    until_s: float = 0.0
    """Monotonic time at which the next try is allowed."""

    def state(self, now_s: float) -> BreakerState:
        """Return the state at this monotonic time."""
        if self.failures == 0:
            return "closed"
        return "open" if now_s < self.until_s else "half_open"

    def failed(self, now_s: float, backoff: Backoff, rng: random.Random, *, at_least_s: float = 0.0) -> "Breaker":
        """Return the breaker after a failed try.

        Args:
            now_s: monotonic time of the failure.
            backoff: limits of the pauses.
            rng: source of the jitter.
            at_least_s: pause that the receiver asked for. At most `Backoff.cap_s` of it counts.
        """
        pause_s = max(backoff.delay_s(self.failures, rng), min(at_least_s, backoff.cap_s))
        return Breaker(failures=self.failures + 1, until_s=now_s + pause_s)

    def succeeded(self) -> "Breaker":
        """Return the breaker after a success."""
        return Breaker()
