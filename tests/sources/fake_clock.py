"""A clock that a test controls."""


class FakeClock:
    """A clock that moves only when a test sets `now_s`, or when the tested code sleeps."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s

    def mono_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)
