"""The web application of a monitor: ``/metrics``, ``/livez``, ``/readyz`` and ``/status``, all read-only.

* ``/livez`` and ``/readyz`` answer 200 or 503, see `health`. They need the view token unless the request is from this machine
  and was not forwarded by a proxy.
* ``/metrics`` (text for Prometheus) and ``/status`` (JSON) need the view token if there is one.

Health checks of systemd, a container or a script on the same machine therefore need no token. The reasons are shown only to a
client that may see ``/status``. No endpoint changes anything.

Each answer is computed at most once a second, however many clients ask.
"""

import hmac
import ipaddress
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.monitor.health import Health, liveness, readiness
from andon.monitor.metrics import exposition
from andon.monitor.status import ProcessStatus
from andon.monitor.status_json import status_json
from andon.monitor.web.failure_limit import FailureLimit
from andon.monitor.web.settings import WebSettings, view_token
from andon.sources.clock import Clock

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

T = TypeVar("T")

CACHED_S = 1.0
LONGEST_BODY = 65_536
"""Largest body of a request, in bytes."""
METHODS = ("GET", "HEAD")
OPEN_ON_THIS_MACHINE = frozenset({"/livez", "/readyz"})
"""Paths without a token for requests from this machine."""
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every answer, also of errors."""
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def web_app(status: Callable[[], ProcessStatus], settings: WebSettings, clock: Clock) -> "ASGIApp":
    """Return the application.

    Args:
        status: function that returns the present status. It is called in the thread of the server and must not wait.
        settings: settings that `check_web` has accepted.
        clock: for the cache and for the limit of wrong tokens.

    Raises:
        MissingExtra: starlette is not installed.
    """
    with needs("monitor", "the web server of the monitor"):
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route

    cache = _Cache(status, clock)

    async def livez(request: "Request") -> "Response":
        return _health_answer("live", cache.get(liveness), detailed=request.scope["andon.may_view"])

    async def readyz(request: "Request") -> "Response":
        return _health_answer("ready", cache.get(readiness), detailed=request.scope["andon.may_view"])

    async def metrics(_request: "Request") -> "Response":
        text, content_type = cache.get(exposition)
        return Response(text, headers={"content-type": content_type})

    async def status_page(_request: "Request") -> "Response":
        return Response(cache.get(status_json), media_type="application/json")

    async def not_found(_request: "Request", _error: Exception) -> "Response":
        return PlainTextResponse("expected /metrics, /livez, /readyz or /status, got another path\n", 404)

    async def failed(_request: "Request", _error: Exception) -> "Response":
        return PlainTextResponse("an internal error; see the log\n", 500)

    app = Starlette(
        routes=[
            Route("/livez", livez, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/status", status_page, methods=["GET"]),
        ],
        exception_handlers={404: not_found, Exception: failed},
    )
    app.router.redirect_slashes = False
    return _Guard(app, settings, clock)


class _Cache:
    """Values computed from the status, each kept for a second. Used by one thread."""

    def __init__(self, status: Callable[[], ProcessStatus], clock: Clock) -> None:
        self._status = status
        self._clock = clock
        self._now: tuple[float, ProcessStatus] | None = None
        self._values: dict[object, Any] = {}

    def get(self, compute: Callable[[ProcessStatus], T]) -> T:
        """Return the value of this function for a status that is at most a second old."""
        now_s = self._clock.mono_s()
        if self._now is None or now_s - self._now[0] >= CACHED_S:
            self._now = now_s, self._status()
            self._values.clear()
        if compute not in self._values:
            self._values[compute] = compute(self._now[1])
        value: T = self._values[compute]
        return value


def _health_answer(what: str, health: Health, *, detailed: bool) -> "Response":
    from starlette.responses import PlainTextResponse

    reasons = "".join(f"{reason}\n" for reason in health.reasons) if detailed else ""
    return PlainTextResponse(f"{what if health.ok else f'not {what}'}\n{reasons}", 200 if health.ok else 503)


class _Guard:
    """Refuse requests before they reach the application, and add security headers to all answers."""

    def __init__(self, app: "ASGIApp", settings: WebSettings, clock: Clock) -> None:
        self._app = app
        self._settings = settings
        self._clock = clock
        self._hosts = settings.known_hosts
        self._failures = FailureLimit()
        self._logged = ""

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one request."""
        from starlette.datastructures import Headers

        if scope["type"] != "http":  # the server is set up without websockets and lifespan
            return

        async def send_safely(message: "Message") -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message.get("headers", [])}
                added = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message = {
                    **message,
                    "headers": [*message.get("headers", []), *(one for one in added if one[0] not in own)],
                }
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
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
        return self._refusal_without_token(scope, headers)

    def _is_known_host(self, headers: "Headers") -> bool:
        """Compare the header ``Host``. A page that another site made resolve to this machine has another name (DNS rebinding)."""
        hosts = [value.lower() for value in headers.getlist("host")]
        if len(hosts) != 1:
            return False
        name, colon, port = hosts[0].rpartition(":")
        return hosts[0] in self._hosts or bool(colon and port.isdecimal() and name in self._hosts)

    def _refusal_without_token(self, scope: "Scope", headers: "Headers") -> "Response | None":
        """Store in the scope whether the client may see everything. Return a refusal if it may see nothing."""
        from starlette.responses import PlainTextResponse

        scope["andon.may_view"] = False
        wait_s = 0.0
        refusal = None
        try:
            scope["andon.may_view"], wait_s = self._may_view(scope, headers)
        except ConfigError as error:  # the file was removed or changed while the monitor runs
            self._log_once(str(error))
            refusal = PlainTextResponse("the token of the server cannot be read; see its log\n", 503)
        if scope["andon.may_view"] or self._is_open(scope, headers):
            return None
        if refusal is None and wait_s > 0.0:
            again = {"retry-after": str(math.ceil(wait_s))}
            refusal = PlainTextResponse("too many wrong tokens; try again later\n", 429, again)
        return refusal or PlainTextResponse(
            "expected the view token as Authorization: Bearer TOKEN\n", 401, {"www-authenticate": "Bearer"}
        )

    def _may_view(self, scope: "Scope", headers: "Headers") -> tuple[bool, float]:
        """Return whether the request has the token, and the seconds until its address may try again.

        Raises:
            ConfigError: see `view_token`.
        """
        token = view_token(self._settings)
        self._logged = ""
        if token is None:
            return True, 0.0
        address, now_s = self._client(scope, headers), self._clock.mono_s()
        wait_s = self._failures.wait_s(address, now_s)
        given = _bearer(headers)
        if given is None or wait_s > 0.0:
            return False, wait_s
        if not hmac.compare_digest(given, token):
            self._failures.failed(address, now_s)
            return False, 0.0
        return True, 0.0

    def _log_once(self, text: str) -> None:
        if text != self._logged:
            logger.error("%s", text)
        self._logged = text

    def _is_open(self, scope: "Scope", headers: "Headers") -> bool:
        """Return whether the request may be answered without a token: a health check from this machine itself."""
        forwarded = any(name in headers for name in _FORWARDED)
        return scope["path"] in OPEN_ON_THIS_MACHINE and not forwarded and is_loopback(_peer(scope))

    def _client(self, scope: "Scope", headers: "Headers") -> str:
        """Return the address that wrong tokens are counted for. Only the proxy's own entry of the header can be trusted."""
        peer = _peer(scope)
        if not self._settings.behind_proxy:
            return peer
        entries = headers.getlist("x-forwarded-for")
        last = entries[-1].rpartition(",")[2].strip() if entries else ""
        try:
            return str(ipaddress.ip_address(last))
        except ValueError:
            return peer


def _peer(scope: "Scope") -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _bearer(headers: "Headers") -> bytes | None:
    given = headers.get("authorization")
    if given is None:
        return None
    kind, _, token = given.partition(" ")
    # headers are Latin-1; compare_digest refuses text that is not ASCII, so bytes are compared
    return token.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def _length(headers: "Headers") -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) <= 12 else LONGEST_BODY + 1
