"""A connection that delivers one message after the other, for a protocol in which each message waits for its answer."""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from andon.monitor.output import Connected, Gone, Message, Reply

_CLOSE_S = 0.4


class Exchange(Protocol):
    """A connection whose methods wait for the receiver."""

    def deliver(self, message: Message) -> Reply:
        """Deliver a message and return the reply. An exception counts as `Gone`, and its text is not shown."""
        ...

    def interrupt(self) -> None:
        """End a running `deliver` soon. It is called from another thread, must not block, and no `deliver` follows."""
        ...

    def close(self) -> None:
        """Release the connection. It is called once, from the thread that called `deliver`."""
        ...


class OneAtATime:
    """Run an exchange in a thread of its own, so that the sender never waits for the receiver.

    Args:
        exchange: the connection, which is not open yet.
        hear: gets the replies.
    """

    def __init__(self, exchange: Exchange, hear: Callable[[Reply], None]) -> None:
        self._exchange = exchange
        self._hear = hear
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="output connection", daemon=True)
        self._thread.start()
        hear(Connected(window=1, checked=False))

    def send(self, message: Message) -> None:
        """Begin to deliver a message."""
        self._messages.put(message)

    def close(self) -> None:
        """End a running delivery and the thread."""
        self._messages.put(None)
        with contextlib.suppress(Exception):
            self._exchange.interrupt()
        self._thread.join(_CLOSE_S)

    @property
    def hung(self) -> bool:
        """True if the thread still runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (message := self._messages.get()) is not None:
                reply = self._deliver(message)
                self._hear(reply)
                if isinstance(reply, Gone):
                    return
        finally:
            self._exchange.close()

    def _deliver(self, message: Message) -> Reply:
        try:
            return self._exchange.deliver(message)
        except Exception as error:  # noqa: BLE001 - the text of a foreign error may contain a secret
            return Gone(f"unexpected {type(error).__name__}")
