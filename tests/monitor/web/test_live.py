"""Streams to open pages. Complaint 27: they have limits and time-outs, and they end before the server does."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.monitor.outcomes import some_outcome
from tests.monitor.web.watched import Watched

from andon.monitor.web.live import MOST_CLIENTS, Live, Timing
from andon.sources.clock import SystemClock

pytest.importorskip("starlette")


class Page:
    """An open page. It can stop reading, and it can go away."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.reads.wait()
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    def of(self, kind: str) -> list[Any]:
        """Return the content of the messages of this kind."""
        start = f"event: {kind}\ndata: ".encode()
        bodies = [one["body"] for one in self.messages if one["type"] == "http.response.body"]
        return [msgspec.json.decode(body.removeprefix(start)) for body in bodies if body.startswith(start)]

    async def has(self, kind: str, number: int = 1) -> list[Any]:
        """Wait until this many messages of a kind have arrived."""
        async with asyncio.timeout(10.0):
            while len(self.of(kind)) < number:
                await asyncio.sleep(0.01)
        return self.of(kind)


@asynccontextmanager
async def opened(
    live: Live, line: str | None = "bottles", **how: Any
) -> AsyncIterator[tuple[Page, "asyncio.Task[None]"]]:
    page = Page()
    task = asyncio.create_task(live.stream(page.receive, page.send, line=line, **how))
    await asyncio.sleep(0)
    try:
        yield page, task
    finally:
        page.left.set()
        page.reads.set()
        async with asyncio.timeout(10.0):
            await task


def watched_line(**timing: float) -> tuple[Watched, Live]:
    """Return a monitor and its streams, five times as fast as usual."""
    clock = SystemClock()
    watched = Watched(clock)
    times = Timing(**({"state_s": 0.2, "picture_s": 0.04, "share": 1.0} | timing))
    return watched, Live(watched.status, watched, clock, timing=times)


def test_a_page_gets_the_state_at_once_and_the_newest_picture() -> None:
    async def run() -> None:
        watched, live = watched_line()
        watched.views["bottles"].put(some_outcome(7))
        async with opened(live) as (page, _):
            (state, *_) = await page.has("state")
            (picture, *_) = await page.has("picture")
            assert [line["name"] for line in state["lines"]] == ["bottles"]
            assert (picture["seq"], picture["status"]) == (7, "OK")
            assert picture["jpeg"]
            assert picture["age_s"] < 5.0

    asyncio.run(run())


def test_the_page_of_all_lines_gets_no_pictures() -> None:
    async def run() -> None:
        watched, live = watched_line()
        watched.views["bottles"].put(some_outcome(7))
        async with opened(live, None) as (page, _):
            state = (await page.has("state", 2))[-1]
            assert [line["name"] for line in state["lines"]] == ["bottles", "caps"]
            assert not page.of("picture")

    asyncio.run(run())


def test_without_an_open_page_no_work_is_done() -> None:
    async def run() -> None:
        watched, live = watched_line()
        watched.views["bottles"].put(some_outcome(7))
        async with opened(live) as (page, _):
            await page.has("picture")
        calls = watched.status_calls
        await asyncio.sleep(0.5)  # more than the time between two messages
        assert watched.status_calls == calls
        assert live.clients == 0
        assert not [one for one in threading.enumerate() if one.name.startswith("andon pictures") and one.is_alive()]

    asyncio.run(run())


def test_a_picture_is_made_once_for_all_pages_and_an_unchanged_one_is_not_made_again() -> None:
    async def run() -> None:
        watched, live = watched_line()
        watched.views["bottles"].put(some_outcome(7))
        async with opened(live) as (one, _), opened(live) as (other, _):
            first, second = await one.has("picture"), await other.has("picture")
            assert first[0]["jpeg"] == second[0]["jpeg"]
            await one.has("state", 2)
            assert len(one.of("picture")) == 1

    asyncio.run(run())


def test_drawing_uses_at_most_its_share_of_a_core() -> None:
    async def run() -> None:
        watched, live = watched_line(share=1e-9)  # the first picture uses the share of years
        watched.views["bottles"].put(some_outcome(1))
        async with opened(live) as (page, _):
            await page.has("picture")
            watched.views["bottles"].put(some_outcome(2))
            await page.has("state", 4)
            assert [one["seq"] for one in page.of("picture")] == [1]

    asyncio.run(run())


def test_two_watched_lines_take_turns() -> None:
    async def run() -> None:
        watched, live = watched_line()
        async with opened(live, "bottles") as (bottles, _), opened(live, "caps") as (caps, _):
            for seq in range(1, 30):
                watched.views["bottles"].put(some_outcome(seq))
                watched.views["caps"].put(some_outcome(seq))
                await asyncio.sleep(0.02)
            assert len(await bottles.has("picture", 2)) - len(await caps.has("picture", 2)) in range(-2, 3)

    asyncio.run(run())


def test_c27_a_page_that_does_not_read_gets_only_the_newest_message_of_each_kind() -> None:
    async def run() -> None:
        watched, live = watched_line()
        async with opened(live) as (page, _):
            await page.has("state")
            page.reads.clear()
            for seq in range(1, 6):
                watched.views["bottles"].put(some_outcome(seq))
                await asyncio.sleep(0.1)
            page.reads.set()
            await page.has("picture")
            await asyncio.sleep(0.5)
            assert [one["seq"] for one in page.of("picture")][-1] == 5
            assert len(page.of("picture")) <= 2  # the one that was being sent, and the newest

    asyncio.run(run())


def test_c27_a_page_that_never_reads_is_disconnected() -> None:
    async def run() -> None:
        _, live = watched_line(send_s=0.2)
        async with opened(live) as (page, task):
            await page.has("state")
            page.reads.clear()
            async with asyncio.timeout(10.0):
                await task
            assert live.clients == 0

    asyncio.run(run())


def test_c27_more_pages_than_the_limit_are_refused_and_a_place_is_free_again_later() -> None:
    async def run() -> None:
        _, live = watched_line()
        pages = [Page() for _ in range(MOST_CLIENTS)]
        tasks = [asyncio.create_task(live.stream(page.receive, page.send, line=None)) for page in pages]
        await asyncio.sleep(0.05)
        async with opened(live) as (refused, _):
            await asyncio.sleep(0.05)
            assert refused.status == 503
        pages[0].left.set()
        await tasks[0]
        async with opened(live) as (accepted, _):
            await accepted.has("state")
            assert accepted.status == 200
        for page in pages:
            page.left.set()
        await asyncio.gather(*tasks)
        assert live.clients == 0

    asyncio.run(run())


def test_c27_all_streams_end_when_the_server_closes_and_no_new_one_begins() -> None:
    async def run() -> None:
        _, live = watched_line()
        async with opened(live) as (one, first), opened(live, None) as (_, second):
            await one.has("state")
            began_s = time.monotonic()
            await asyncio.to_thread(live.close)  # from another thread, as the monitor does
            await asyncio.gather(first, second)
            assert time.monotonic() - began_s < 1.0
            assert one.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        async with opened(live) as (late, _):
            await asyncio.sleep(0.05)
            assert late.status == 503

    asyncio.run(run())


def test_a_quiet_stream_is_pinged_and_ends_with_the_right_to_view() -> None:
    answers = [True, True, False]

    async def run() -> None:
        _, live = watched_line(ping_s=0.1, state_s=1000.0)
        async with opened(live, may_view=lambda: answers.pop(0)) as (page, task):
            async with asyncio.timeout(10.0):
                await task
            bodies = [one["body"] for one in page.messages if one["type"] == "http.response.body"]
            assert b": ping\n\n" in bodies
            assert answers == []

    asyncio.run(run())


def test_a_bug_in_the_content_is_logged_once_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        watched, live = watched_line()
        async with opened(live) as (page, _):
            await page.has("state")
            watched.status_now = None  # type: ignore[assignment]
            await asyncio.sleep(0.6)
            assert live.clients == 1
        assert len([one for one in caplog.records if "could not be updated" in one.message]) == 1

    asyncio.run(run())
