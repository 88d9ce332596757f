"""Refuse bad requests before they reach any endpoint, and add security headers to all answers.

Checked here for each request: the name of the server, the method, the size of the body, the path, and the site that caused the
request. `rights` checks after routing what a client may do.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from andon.monitor.web.access import AccessControl
from andon.monitor.web.origin import is_own_origin, may_read
from andon.monitor.web.rights import LONGEST_BODY, READING, admit

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = (*READING, "POST")
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer, also of errors. An endpoint can replace some of them, see `REPLACEABLE`."""
REPLACEABLE = frozenset({"referrer-policy", "cache-control"})
LONGEST_PATH = 1024
"""Characters of a path. Python refuses to read a number of more than 4300 digits, which would be an internal error."""
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~@:+,=() -]*)+")
"""Paths that are routed: printable ASCII without back slashes and without the names ``.`` and ``..``."""


class Guard:
    """The outermost application of the server.

    Args:
        app: the application with all routes.
        control: tokens, sessions and limits.
    """

    def __init__(self, app: "ASGIApp", control: AccessControl) -> None:
        self._app = app
        self._control = control
        self._hosts = control.settings.known_hosts
        settings = control.settings
        own = "http" if settings.tls_cert is None else "https"
        self._schemes = {"http", "https"} if settings.behind_proxy else {own}
        self._proxied = settings.allowed_hosts if settings.behind_proxy else ()

    @property
    def routes(self) -> "Sequence[BaseRoute]":
        """All routes of the application."""
        routes: Sequence[BaseRoute] = vars(self._app)["router"].routes
        return routes

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one request."""
        from starlette.datastructures import Headers

        if scope["type"] != "http":  # the server is set up without websockets and lifespan
            return

        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        # an unread body must not be taken for the next request of the connection
        closes = refusal is not None or (scope["method"] in READING and headers.get("content-length", "0") != "0")

        async def send_safely(message: "Message") -> None:
            if message["type"] == "http.response.start":
                unread = scope["method"] not in READING and message["status"] >= 400
                message = {**message, "headers": _safe(message.get("headers", ()), closes=closes or unread)}
            await send(message)

        if refusal is None:
            admit(scope, headers, self._control)
        await (self._app if refusal is None else refusal)(scope, receive, send_safely)

    def _refusal(self, scope: "Scope", headers: "Headers") -> "Response | None":
        from starlette.responses import PlainTextResponse

        if not self._is_known_host(headers):
            return PlainTextResponse(
                "Host: expected a name of this server, got another one. Add it to allowed_hosts in [web].\n", 421
            )
        if scope["method"] not in METHODS:
            allowed = ", ".join(METHODS)
            return PlainTextResponse(f"expected {allowed}, got another method\n", 405, {"allow": allowed})
        if "transfer-encoding" in headers or _length(headers) > LONGEST_BODY:
            return PlainTextResponse(
                f"expected a body of at most {LONGEST_BODY} bytes with a length, got another one\n", 413
            )
        if not self._is_own_page(headers):
            return PlainTextResponse("expected a request from a page of this server, got one of another site\n", 403)
        path = scope["path"]
        if len(path) > LONGEST_PATH or not _PATH.fullmatch(path):
            return PlainTextResponse("expected a path of this server, got another one\n", 404)
        return None

    def _is_known_host(self, headers: "Headers") -> bool:
        """Compare the header ``Host``. A page that another site made resolve to this machine has another name (DNS rebinding)."""
        hosts = [value.lower() for value in headers.getlist("host")]
        if len(hosts) != 1:
            return False
        name, colon, port = hosts[0].rpartition(":")
        return hosts[0] in self._hosts or bool(colon and port.isdecimal() and name in self._hosts)

    def _is_own_page(self, headers: "Headers") -> bool:
        """Return whether the browser names this server as the site of the request, or does not name a site."""
        origins = headers.getlist("origin")
        if any(not is_own_origin(one, headers["host"], self._schemes, self._proxied) for one in origins):
            return False
        names = ("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")
        return may_read(*(headers.get(name) for name in names))


def _safe(given: Iterable[tuple[bytes, bytes]], *, closes: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer with the security headers."""
    fixed = SECURITY_HEADERS.keys() - REPLACEABLE
    kept = [(name, value) for name, value in given if name.decode("latin-1").lower() not in fixed]
    own = {name.decode("latin-1").lower() for name, _ in kept}
    added = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items() if name not in own]
    return [*kept, *added, *([(b"connection", b"close")] if closes else [])]


def _length(headers: "Headers") -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 12 else LONGEST_BODY + 1
