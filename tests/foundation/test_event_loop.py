"""An event loop in a thread of its own runs coroutines for other threads, and can be ended in any state."""

import asyncio
import threading
import time

import pytest

from andon.foundation.event_loop import EventLoop


async def _stubborn() -> None:
    """Ignore each cancellation, as a faulty library does."""
    while True:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            continue


def test_a_coroutine_gives_its_result_or_its_error() -> None:
    async def half(number: int) -> int:
        await asyncio.sleep(0)
        return number // 2 if number else 1 // number

    loop = EventLoop("andon test")

    assert loop.run(half(8), 10.0) == 4
    with pytest.raises(ZeroDivisionError):
        loop.run(half(0), 10.0)
    loop.close(10.0)


def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    ended = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            ended.set()

    loop = EventLoop("andon test")
    with pytest.raises(TimeoutError):
        loop.run(wait(), 0.05)

    assert ended.wait(10.0)
    loop.close(10.0)


def test_the_end_cancels_what_runs_and_leaves_no_thread() -> None:
    ended = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            ended.set()

    loop = EventLoop("andon test")
    loop.submit(wait())
    loop.run(asyncio.sleep(0), 10.0)
    loop.close(10.0)
    loop.close(10.0)

    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "andon test"]


def test_a_coroutine_that_ignores_the_end_delays_it_only_for_a_bounded_time() -> None:
    # complaint 17: waiting for a library that swallows cancellations
    loop = EventLoop("andon test")
    loop.submit(_stubborn())
    loop.run(asyncio.sleep(0), 10.0)
    began_s = time.monotonic()
    loop.close(5.0)

    assert time.monotonic() - began_s < 3.0
