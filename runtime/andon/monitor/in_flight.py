"""The events of an output that are sent and not recorded as delivered yet. It uses no clock, no threads and no network."""

from collections import deque

from andon.monitor.output import Message


class InFlight:
    """Messages in the order of their numbers. Only a finished beginning without a gap leaves it."""

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._open: dict[int, Message] = {}

    def __len__(self) -> int:
        """Return the number of messages, with those that are finished but follow an unfinished one."""
        return len(self._order)

    def add(self, message: Message) -> None:
        """Add a message with a higher number than all others.

        Raises:
            ValueError: the number is not higher.
        """
        if self._order and message.seq <= self._order[-1]:
            raise ValueError(f"message {message.seq}: expected a number above {self._order[-1]}")
        self._order.append(message.seq)
        self._open[message.seq] = message

    def open(self, seq: int) -> Message | None:
        """Return a message that is not finished, or None for other numbers."""
        return self._open.get(seq)

    def finish(self, seq: int) -> bool:
        """Record that a message needs no further delivery. Return False if it was not open."""
        return self._open.pop(seq, None) is not None

    def take_prefix(self) -> int | None:
        """Remove the finished beginning and return its last number. Return None if the first message is not finished."""
        last = None
        while self._order and self._order[0] not in self._open:
            last = self._order.popleft()
        return last
