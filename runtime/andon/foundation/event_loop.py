"""Run an asyncio event loop in a thread of its own, for a library that has only coroutines."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_LAST_S = 0.8
"""Longest time in which cancelled tasks may end."""


class EventLoop:
    """An event loop in a daemon thread. All methods are for other threads."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Start a coroutine in the loop, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine in the loop and return its result.

        Raises:
            TimeoutError: it has not ended within the time. It is cancelled. A library may ignore that, so this call does not
                wait for its end.
        """
        future = self.submit(work)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def close(self, timeout_s: float) -> None:
        """Cancel all tasks and end the thread. Return after `timeout_s` at the latest, even if a task does not end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(_ended(tasks))
        self._loop.close()


async def _ended(tasks: set["asyncio.Task[Any]"]) -> None:
    """Wait for cancelled tasks, and give closed sockets two rounds of the loop to be released."""
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=_LAST_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # an exception that no one reads would be logged
    for _ in range(2):
        await asyncio.sleep(0)
