"""Send what happens on the lines to open pages, as server-sent events.

Work is done only while a page is open. Once a second the state is read and encoded once for all pages of a line. At most five
times a second the newest frame of a watched line is encoded, in one thread that uses at most a small share of a core. Each client
has one waiting message of each kind. A newer one replaces it, so that a slow client gets the newest state and costs no memory. A
client that does not read for some seconds is disconnected.
"""

import asyncio
import base64
import functools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from andon.foundation.redaction import redact
from andon.monitor.line_view import Seen
from andon.monitor.status import ProcessStatus
from andon.monitor.web.page_data import page_data
from andon.monitor.web.page_monitor import Exceeds, PageMonitor
from andon.monitor.web.pictures import Curve, live_curves, live_picture
from andon.sources.clock import Clock

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

logger = logging.getLogger(__name__)

MOST_CLIENTS = 20
_RETRY_MS = 2000
_END_S = 1.0

Kind = Literal["state", "picture"]


class Timing(Struct, frozen=True, kw_only=True):
    """Times of the streams, in seconds."""

    ping_s: float = 15.0
    """Longest silence of a stream. The right to view is checked as often."""
    send_s: float = 5.0
    """Longest time for sending one message. A client that does not read for so long is disconnected."""
    state_s: float = 1.0
    """Time between two messages about the state."""
    picture_s: float = 0.2
    """Shortest time between two pictures of a line."""
    share: float = 0.012
    """Largest share of a core for drawing pictures. A picture that takes longer to draw comes less often."""


class PictureMessage(Struct, frozen=True, kw_only=True):
    """The newest frame or window of a line."""

    seq: int
    item: str
    status: str
    age_s: float
    jpeg: str = ""
    """JPEG in base64. Empty for a window."""
    curves: tuple[Curve, ...] = ()


class _Client:
    """One open page."""

    def __init__(self, line: str | None) -> None:
        self.line = line
        self.waiting: dict[Kind, bytes] = {}
        self.changed = asyncio.Event()

    def put(self, kind: Kind, message: bytes) -> None:
        """Replace the waiting message of this kind."""
        self.waiting[kind] = message
        self.changed.set()


class Live:
    """All open pages. Everything except `close` runs in the event loop of the server.

    Args:
        status: returns the present status.
        monitor: see `PageMonitor`.
        clock: for ages.
        exceeds: see `Exceeds`.
        timing: other times than the usual ones, for tests.
    """

    def __init__(
        self,
        status: Callable[[], ProcessStatus],
        monitor: PageMonitor,
        clock: Clock,
        *,
        exceeds: Exceeds | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._status = status
        self._monitor = monitor
        self._clock = clock
        self._exceeds = exceeds
        self._timing = timing or Timing()
        self._clients: set[_Client] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._drawn: dict[str, tuple[Seen, bytes]] = {}
        self._drawing: set[str] = set()
        self._next_drawing_s = 0.0
        self._failed = False
        self._closed = False
        self._empty = threading.Event()
        self._empty.set()

    @property
    def clients(self) -> int:
        """Number of open pages."""
        return len(self._clients)

    def close(self) -> None:
        """End all streams, and wait for their end for at most a second. It may be called from any thread."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)
            if not self._empty.wait(_END_S):
                logger.warning("%d pages were still open when the web server ended", len(self._clients))

    async def stream(
        self, receive: "Receive", send: "Send", *, line: str | None, may_view: Callable[[], bool] = lambda: True
    ) -> None:
        """Answer a request with the stream of one line, or of all lines without pictures.

        Args:
            receive: of the request.
            send: of the request.
            line: name of the line. None: all lines.
            may_view: asked every 15 s. The stream ends when it returns False, because sessions and tokens end.
        """
        if self._closed or len(self._clients) >= MOST_CLIENTS:
            await _refuse(send)
            return
        self._loop = asyncio.get_running_loop()
        client = _Client(line)
        self._clients.add(client)
        self._empty.clear()
        if self._ticker is None or self._ticker.done():
            self._ticker = self._loop.create_task(self._tick())
        gone = self._loop.create_task(_gone(receive))
        gone.add_done_callback(lambda _task: client.changed.set())
        try:
            async with asyncio.timeout(self._timing.send_s):
                await send(_start())
                await send(_piece(f"retry: {_RETRY_MS}\n\n".encode()))
            self._put_state([client])
            if line in self._drawn:
                client.put("picture", self._drawn[line][1])
            await self._follow(client, gone, send, may_view)
        except TimeoutError:
            logger.info("a page did not read for %g s and was disconnected", self._timing.send_s)
        except OSError:
            pass  # the client has gone
        finally:
            gone.cancel()
            self._clients.discard(client)
            if not self._clients:
                self._rest()

    async def _follow(
        self, client: _Client, gone: "asyncio.Task[None]", send: "Send", may_view: Callable[[], bool]
    ) -> None:
        asked_s = self._clock.mono_s()
        while not (gone.done() or self._closed):
            if self._clock.mono_s() - asked_s >= self._timing.ping_s:
                asked_s = self._clock.mono_s()
                if not may_view():
                    break
            try:
                async with asyncio.timeout(self._timing.ping_s):
                    await client.changed.wait()
            except TimeoutError:
                client.waiting["state"] = b": ping\n\n"
            client.changed.clear()
            waiting, client.waiting = client.waiting, {}
            for message in waiting.values():
                async with asyncio.timeout(self._timing.send_s):
                    await send(_piece(message))
        if not gone.done():
            async with asyncio.timeout(self._timing.send_s):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _rest(self) -> None:
        """Stop all work: no page is open."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None
        self._drawn.clear()
        self._drawing.clear()
        self._empty.set()

    def _wake(self) -> None:
        for client in self._clients:
            client.changed.set()

    async def _tick(self) -> None:
        next_state_s = self._clock.mono_s() + self._timing.state_s
        while True:
            await asyncio.sleep(self._timing.picture_s)
            try:
                self._put_pictures()
                if self._clock.mono_s() >= next_state_s:
                    next_state_s = self._clock.mono_s() + self._timing.state_s
                    self._put_state(list(self._clients))
            except Exception:
                if not self._failed:  # once, and not each second
                    logger.exception("the page could not be updated; judging continues. Report this as a bug.")
                self._failed = True

    def _put_state(self, clients: list[_Client]) -> None:
        status = self._status()
        for line in {client.line for client in clients}:
            data = page_data(status, self._monitor, only=line, exceeds=self._exceeds)
            message = _event("state", msgspec.json.encode(data))
            for client in clients:
                if client.line == line:
                    client.put("state", message)

    def _put_pictures(self) -> None:
        """Begin to draw the newest item of each watched line, unless it is drawn already. One at a time."""
        if self._drawing or self._clock.mono_s() < self._next_drawing_s:
            return
        watched = {client.line for client in self._clients if client.line is not None}
        # the line with the oldest picture first, so that several watched lines take turns
        for line in sorted(watched, key=lambda name: self._drawn[name][0].at_s if name in self._drawn else 0.0):
            seen = self._monitor.views[line].seen
            if seen is None or (line in self._drawn and self._drawn[line][0] is seen):
                continue
            self._drawing.add(line)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="andon pictures")
            drawing = asyncio.get_running_loop().run_in_executor(self._pool, self._draw, seen)
            drawing.add_done_callback(functools.partial(self._put_picture, line, seen))
            return

    def _put_picture(self, line: str, seen: Seen, done: "asyncio.Future[bytes]") -> None:
        self._drawing.discard(line)
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            if not self._failed:
                logger.error("%s: the live picture could not be made; judging continues", line, exc_info=error)
            self._failed = True
            return
        watching = [client for client in self._clients if client.line == line]
        if watching:
            self._drawn[line] = (seen, done.result())
        for client in watching:
            client.put("picture", done.result())

    def _draw(self, seen: Seen) -> bytes:
        began_s = time.thread_time()
        message = self._message(seen)
        self._next_drawing_s = self._clock.mono_s() + (time.thread_time() - began_s) / self._timing.share
        return message

    def _message(self, seen: Seen) -> bytes:
        jpeg = live_picture(seen.outcome)
        message = PictureMessage(
            seq=seen.outcome.seq,
            item=redact(seen.outcome.ref.key),
            status=seen.outcome.verdict.status.name,
            age_s=max(0.0, self._clock.mono_s() - seen.at_s),
            jpeg=base64.b64encode(jpeg).decode() if jpeg is not None else "",
            curves=live_curves(seen.outcome) if jpeg is None else (),
        )
        return _event("picture", msgspec.json.encode(message))


def _event(kind: Kind, data: bytes) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def _start() -> "Message":
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _piece(body: bytes) -> "Message":
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _refuse(send: "Send") -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"10")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    text = f"expected at most {MOST_CLIENTS} open pages, got one more. Close a page.\n"
    await send({"type": "http.response.body", "body": text.encode()})


async def _gone(receive: "Receive") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
