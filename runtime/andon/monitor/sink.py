"""What a sink must do: take outcomes in order, never hold up judging for long, count what it could not keep."""

import threading
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from andon.monitor.judging import Outcome
from andon.runtime.schema import Card
from andon.sources.clock import Clock


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
        """Finish within half a second. Never raises."""
        ...

    @property
    def lost(self) -> int:
        """Outcomes that it should have kept and could not."""
        ...

    @property
    def summary(self) -> str:
        """For the last line on stderr, e.g. ``3 pictures``; empty where there is nothing to tell."""
        ...


class SinkContext(Struct, frozen=True):
    """What a sink may need to know."""

    card: Card
    """Of the model file that judges."""
    clock: Clock
    stop: threading.Event
    """Set when the monitor is to end: a sink that waits gives up soon after."""


class SinkKind(Struct, frozen=True, kw_only=True):
    """One kind of sink: the record that its file ends in."""

    name: str
    summary: str
    open: Callable[[str, SinkContext], Sink]
    """Open by its text (a path, a URL). Raises `ConfigError` where it cannot be."""
