"""A connection that delivers one message after the other with a function that waits for the receiver."""

import contextlib
import queue
import threading
from collections.abc import Callable

from andon.monitor.output import Connected, Gone, Message, Reply

_CLOSE_S = 0.4


class OneAtATime:
    """Run a function that delivers one message in a thread of its own, so that the sender never waits for the receiver.

    Args:
        deliver: delivers a message and returns the reply. An exception counts as `Gone`; its text is not shown.
        interrupt: ends a running `deliver` soon, from another thread. It must not block.
        hear: gets the replies.
    """

    def __init__(
        self, deliver: Callable[[Message], Reply], interrupt: Callable[[], None], hear: Callable[[Reply], None]
    ) -> None:
        self._deliver = deliver
        self._interrupt = interrupt
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
            self._interrupt()
        self._thread.join(_CLOSE_S)

    @property
    def hung(self) -> bool:
        """True if the thread still runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                reply = self._deliver(message)
            except Exception as error:  # noqa: BLE001 - the text of a foreign error may contain a secret
                reply = Gone(f"unexpected {type(error).__name__}")
            self._hear(reply)
            if isinstance(reply, Gone):
                return
