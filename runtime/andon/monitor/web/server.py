"""Run the web application in a thread of its own. A failure of the server does not disturb judging.

The thread runs uvicorn without signal handlers and without its own logging. A connection that does not send a whole request in
time is closed, because open connections count against the limit.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.printable import printable
from andon.monitor.status import ProcessStatus
from andon.monitor.web.app import web_app
from andon.monitor.web.settings import WebSettings, check_web, tls_context
from andon.sources.clock import Clock, SystemClock

if TYPE_CHECKING:
    import uvicorn
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64
LARGEST_HEAD = 16_384
"""Largest request line with headers, in bytes."""
REQUEST_S = 5.0
"""Longest time for sending the head of a request, and longest pause between two requests of a connection."""
_START_S = 10.0
_END_S = 2.0
"""Longest duration of `close`."""


class WebServer:
    """A running web server.

    Args:
        status: function that returns the present status. It is called in the thread of the server and must not wait.
        settings: the settings. They are checked here.
        clock: for the cache, for sessions and for limits.
        routes: further routes, see `web_app`.
        before_close: called at the beginning of `close`. It ends the open streams, for which uvicorn would wait.

    Raises:
        ConfigError: the settings are not safe, the port is in use, or the address does not exist on this machine. Nothing
            is left running.
        MissingExtra: an optional package is not installed.
    """

    def __init__(
        self,
        status: Callable[[], ProcessStatus],
        settings: WebSettings,
        *,
        clock: Clock | None = None,
        routes: "Sequence[BaseRoute]" = (),
        before_close: Callable[[], None] = lambda: None,
    ) -> None:
        check_web(settings)
        self._before_close = before_close
        app = web_app(status, settings, clock if clock is not None else SystemClock(), routes=routes)
        with needs("monitor", "the web server of the monitor"):
            server = _server(app, settings)
        self._server = server
        self._socket = _listen(settings)
        self._address: tuple[Any, ...] = self._socket.getsockname()
        self._scheme = "http" if settings.tls_cert is None else "https"
        # a daemon: a hung request must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="andon-web", daemon=True)
        self._thread.start()
        if not self._has_started():
            self.close()
            raise ConfigError(f"[web]: the server did not start within {_START_S:g} s; see the log.")

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._address[1])

    @property
    def url(self) -> str:
        """The address of the server, for messages."""
        host = str(self._address[0])
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def running(self) -> bool:
        """True until the server was closed or has failed."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the server within two seconds. Requests in progress get one of them. A second call has no effect."""
        self._before_close()
        self._server.should_exit = True
        self._thread.join(_END_S - 0.2)
        if self._thread.is_alive():  # for example a status function that waits
            self._server.force_exit = True
            self._thread.join(0.2)
            if self._thread.is_alive():
                logger.warning("the web server is still busy with a request and is left behind")
                return  # its thread closes the port as soon as the request ends
        self._socket.close()

    def __enter__(self) -> "WebServer":
        """Return the server itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the server."""
        self.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:
            logger.exception("the web server has ended with an error; judging continues")

    def _has_started(self) -> bool:
        waited = threading.Event()
        for _ in range(int(_START_S / 0.01)):
            if self._server.started:
                return True
            if not self._thread.is_alive():
                return False
            waited.wait(0.01)
        return False


def _listen(settings: WebSettings) -> socket.socket:
    """Open the port here and not in uvicorn, which would end the process if the port is in use."""
    host, port = settings.host, settings.port
    opened = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # with the protocol named, asyncio switches off Nagle's algorithm; without, each answer took 40 ms longer
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # on Windows this would allow a second server on the port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(MOST_CONNECTIONS)
    except OSError as error:
        if opened is not None:
            opened.close()
        reason = error.strerror or str(error)
        raise ConfigError(
            f"[web]: cannot listen on {printable(host)} port {port}: {reason}. Choose another port, or end the program that "
            "uses it."
        ) from error
    return opened


def _server(app: "ASGIApp", settings: WebSettings) -> "uvicorn.Server":
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

    # uvicorn warns about each malformed request: a stranger could fill the journal
    quiet = logging.getLogger("uvicorn.error.andon")
    quiet.setLevel(logging.ERROR)

    class Impatient(H11Protocol):
        """Close a connection that has no whole request within `REQUEST_S`. Uvicorn waits for the first one without a limit."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Start to look at the connection."""
            super().connection_made(transport)
            self.logger = quiet
            self.access_log = False  # uvicorn switches it on if the root logger has a handler
            self.loop.call_later(REQUEST_S, self._look, None)

        def _look(self, before: object) -> None:
            """Compare the last request with the one at the last look."""
            if self.transport.is_closing():
                self.transport.abort()  # the client did not read the rest in time
                return
            last: RequestResponseCycle | None = vars(self)[
                "cycle"
            ]  # None before the first request, which the type hint of uvicorn hides
            if last is before and (last is None or last.response_complete):
                self.transport.abort()
            else:
                self.loop.call_later(REQUEST_S, self._look, last)

    class Ending(uvicorn.Server):
        """Leave no open connection behind."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Wait for the requests in progress, then disconnect the rest."""
            await super().shutdown(sockets)
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # the transports are closed in the next round of the loop

    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        loop="asyncio",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=int(REQUEST_S),
        timeout_graceful_shutdown=1,
        backlog=MOST_CONNECTIONS,
    )
    config.load()
    config.ssl = tls_context(settings)
    return Ending(config)
