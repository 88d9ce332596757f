"""A sender of events with a real output, for the tests of outputs."""

import random

from msgspec import Struct
from tests.monitor.receivers import put, until

from andon.monitor.event import EventsLost
from andon.monitor.memory_outbox import MemoryOutbox
from andon.monitor.output import OutputContext, OutputKind
from andon.monitor.retry import Backoff
from andon.monitor.sender import Sender
from andon.sources.clock import SystemClock


class RunningOutput:
    """A sender with an output, closed at the end."""

    def __init__(
        self,
        kind: OutputKind,
        settings: Struct,
        *numbers: int,
        name: str = "plant",
        detail: str = "",
        outbox: MemoryOutbox | None = None,
    ) -> None:
        """Begin to send the events with these numbers."""
        self.outbox, self.lost = outbox or MemoryOutbox(), list[EventsLost]()
        put(self.outbox, *numbers, detail=detail)
        self.sender = Sender(
            name,
            kind.name,
            kind.open(settings, OutputContext(name=name, clock=SystemClock())),
            self.outbox,
            clock=SystemClock(),
            lost=self.lost.append,
            backoff=Backoff(first_s=0.01, cap_s=0.1),
            rng=random.Random(0),
        )
        self.sender.start()

    def __enter__(self) -> "RunningOutput":
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.close(2.0)

    def finish(self, timeout_s: float = 30.0) -> None:
        """Wait until all events are delivered or dropped."""
        until(lambda: self.outbox.backlog() == 0, timeout_s)

    @property
    def failing(self) -> str:
        return self.sender.status().failing
