"""What a sink must do: take outcomes in order, never hold up judging for long, count what it could not keep."""

from typing import Protocol

from andon.monitor.judging import Outcome


class ConsumerGoneError(Exception):
    """Whoever read our lines has gone (``| head``): no failure, but the end of the work."""


class Sink(Protocol):
    """An opened sink, used by one thread."""

    def put(self, outcome: Outcome) -> None:
        """Take one outcome. A disk that is full or away is a state, not an exception.

        Raises:
            ConsumerGoneError: nobody is there any more to be told.
        """
        ...

    def close(self) -> None:
        """Finish within a second or two. Never raises."""
        ...

    @property
    def lost(self) -> int:
        """Outcomes that it should have kept and could not."""
        ...

    @property
    def summary(self) -> str:
        """For the last line on stderr, e.g. ``3 pictures``; empty where there is nothing to tell."""
        ...
