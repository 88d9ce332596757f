"""The interface between the event store and the senders of the outputs."""

from typing import NamedTuple, Protocol


class Waiting(NamedTuple):
    """One event that an output has not delivered yet."""

    seq: int
    """Number of the event in the store."""
    key: str
    """Idempotency key, the same for each try."""
    payload: bytes
    """The event as JSON, with its `seq`."""
    refusals: int
    """Number of times that the receiver refused the event because of its content."""


class Outbox(Protocol):
    """The undelivered events of one output, in the order of the store. All methods may be called from any thread."""

    def page(self, after: int, limit: int) -> list[Waiting]:
        """Return up to `limit` undelivered events with a number above `after`, oldest first. An empty list means none.

        Events that are not committed yet are not returned.
        """
        ...

    def done(self, up_to: int) -> None:
        """Record that all events up to this number are delivered. If the process dies first, they are sent again."""
        ...

    def refused(self, seq: int) -> None:
        """Count a refusal because of the content."""
        ...

    def bury(self, seq: int, reason: str) -> None:
        """Move an event to the dead ones. It is not tried again until a person asks for it."""
        ...

    def backlog(self) -> int:
        """Return the number of undelivered events."""
        ...
