"""Choose the image of one line that a controller gets next: each result once, in order, and never an old result as a new one.

It uses no clock and no threads. Times are monotonic seconds. The caller writes the image of `next_image`, and calls `confirmed`
when the controller has confirmed it.
"""

from collections import deque

from msgspec import Struct

from andon.monitor.process_image import LineResult, ProcessImage, after_result, in_doubt, with_counters

CAPACITY = 1000
"""Largest number of results that wait. If another one comes, the oldest is dropped as late."""


class _Waiting(Struct, frozen=True):
    image: ProcessImage
    at_s: float
    """Time of the decision."""


class ResultQueue:
    """See the module.

    Args:
        line: name of the line.
        max_age_s: age from which a result is not written any more.
    """

    def __init__(self, line: str, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._newest = ProcessImage(line=line)
        self._passed = self._newest
        """The image after the last result that was written or dropped. It has the counters to show."""
        self._shown = self._newest
        """The image that the controller has confirmed last."""
        self._shown_s = 0.0
        """Time at which its result was confirmed."""
        self._tried: ProcessImage | None = None
        """An image with a result that the controller may have, but has not confirmed."""
        self._acknowledged = True
        self.taken = True
        """False if the controller had not acknowledged the result before the last one when that was written."""
        self._acknowledges = True
        """False if the controller does not acknowledge results."""
        self._waiting: deque[_Waiting] = deque()
        self.late = 0
        """Number of results that were dropped because they were too old, or because too many waited."""
        self.written = 0
        """Number of results that the controller has confirmed."""
        self.longest_s = 0.0
        """Longest time from a decision to the confirmation of its result."""

    def add(self, result: LineResult) -> None:
        """Add a result. It returns at once."""
        self._newest = after_result(self._newest, result)
        if len(self._waiting) == CAPACITY:
            self._drop()
        self._waiting.append(_Waiting(self._newest, result.at_s))

    def drop_late(self, now_s: float) -> None:
        """Drop the results that are too old."""
        while self._waiting and now_s - self._waiting[0].at_s > self._max_age_s:
            self._drop()

    @property
    def waiting(self) -> int:
        """Number of results that wait."""
        return len(self._waiting)

    @property
    def asks(self) -> bool:
        """True if a result waits until the controller has acknowledged the last one. See `hear`."""
        return bool(self._waiting) and not self._acknowledged and not self._repeats

    def hear(self, number: int | None) -> None:
        """Take the number of the last result that the controller has acknowledged. None: it acknowledges no results."""
        self._acknowledges = number is not None
        if number is None or number == self._shown.number:
            self._acknowledged = True

    def due_s(self, now_s: float) -> float | None:
        """Return the time of the decision whose result may be written now. None if no result may be written."""
        if not self._waiting:
            return None
        patient = now_s - self._shown_s <= self._max_age_s
        if self.asks and patient:
            return None
        return self._waiting[0].at_s

    def next_image(self, now_s: float) -> ProcessImage:
        """Return the image to write now: with the next result if one is due, else with the result that the controller has."""
        self.drop_late(now_s)
        if self.due_s(now_s) is not None:
            self._tried = self._waiting[0].image
            return self._tried
        if self._tried is not None:
            self._tried = in_doubt(with_counters(self._tried, self._passed))
            return self._tried
        return with_counters(self._shown, self._passed)

    def confirmed(self, image: ProcessImage, now_s: float) -> None:
        """Take the confirmation of an image of `next_image`."""
        if image.number != self._shown.number:
            self.taken = self._acknowledged
            self._shown_s, self._acknowledged = now_s, not self._acknowledges
        self._shown, self._tried = image, None
        if self._waiting and self._waiting[0].image.number == image.number:
            done = self._waiting.popleft()
            self._passed = done.image
            self.written += 1
            self.longest_s = max(self.longest_s, now_s - done.at_s)

    @property
    def _repeats(self) -> bool:
        """True if the next result was tried before. The controller may have it already, so its acknowledgement is not due."""
        return self._tried is not None and bool(self._waiting) and self._waiting[0].image.number == self._tried.number

    def _drop(self) -> None:
        self._passed = self._waiting.popleft().image
        self.late += 1
