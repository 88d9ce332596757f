"""The web application of a monitor: ``/metrics``, ``/livez``, ``/readyz``, ``/status``, ``/login``, and the pages given to it.

* ``/livez`` and ``/readyz`` answer 200 or 503, see `health`. They need the view token unless the request is from this machine
  and was not forwarded by a proxy.
* ``/metrics`` (text for Prometheus) and ``/status`` (JSON) need the right to view.

Health checks of systemd, a container or a script on the same machine therefore need no token. The reasons are shown only to a
client that may see ``/status``. These endpoints change nothing. `guard` and `rights` decide which requests are answered.

Each answer is computed at most once a second, however many clients ask.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from andon.foundation.extras import needs
from andon.monitor.health import Health, liveness, readiness
from andon.monitor.metrics import exposition
from andon.monitor.status import ProcessStatus
from andon.monitor.status_json import status_json
from andon.monitor.web.access import AccessControl
from andon.monitor.web.guard import Guard
from andon.monitor.web.login import login_routes
from andon.monitor.web.rights import access_of, answers_health_checks, refusal, refuse_undeclared, views
from andon.monitor.web.settings import WebSettings
from andon.sources.clock import Clock

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

T = TypeVar("T")

CACHED_S = 1.0


def web_app(
    status: Callable[[], ProcessStatus],
    settings: WebSettings,
    clock: Clock,
    *,
    routes: "Sequence[BaseRoute]" = (),
) -> "ASGIApp":
    """Return the application.

    Args:
        status: function that returns the present status. It is called in the thread of the server and must not wait.
        settings: settings that `check_web` has accepted.
        clock: for the cache, for sessions and for limits.
        routes: further routes. Each of them declares its right, see `rights`. Others are not served.

    Raises:
        MissingExtra: starlette is not installed.
    """
    with needs("monitor", "the web server of the monitor"):
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route

    cache = _Cache(status, clock)

    async def livez(request: "Request") -> "Response":
        return _health_answer("live", cache.get(liveness), detailed=access_of(request).may_view)

    async def readyz(request: "Request") -> "Response":
        return _health_answer("ready", cache.get(readiness), detailed=access_of(request).may_view)

    async def metrics(_request: "Request") -> "Response":
        text, content_type = cache.get(exposition)
        return Response(text, headers={"content-type": content_type})

    async def status_page(_request: "Request") -> "Response":
        return Response(cache.get(status_json), media_type="application/json")

    async def failed(_request: "Request", _error: Exception) -> "Response":
        return PlainTextResponse("an internal error; see the log\n", 500)

    control = AccessControl(settings, clock)
    served = [
        answers_health_checks(Route("/livez", livez, methods=["GET"])),
        answers_health_checks(Route("/readyz", readyz, methods=["GET"])),
        views(Route("/metrics", metrics, methods=["GET"])),
        views(Route("/status", status_page, methods=["GET"])),
        *login_routes(control),
        *routes,
    ]
    app = Starlette(
        routes=refuse_undeclared(served), exception_handlers={HTTPException: _http_error, Exception: failed}
    )
    app.router.redirect_slashes = False
    return Guard(app, control)


def routes_of(app: "ASGIApp") -> "list[BaseRoute]":
    """Return all routes of an application that `web_app` made."""
    assert isinstance(app, Guard)
    return list(app.routes)


async def _http_error(request: "Request", error: Exception) -> "Response":
    """Answer without the right to view like a refusal, so that strangers do not learn which paths exist."""
    from starlette.exceptions import HTTPException
    from starlette.responses import PlainTextResponse

    assert isinstance(error, HTTPException)
    text = error.detail
    if text == HTTPStatus.NOT_FOUND.phrase:
        text = "expected a path of this server, got another one"
    elif text == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
        text = f"expected {(error.headers or {}).get('Allow', 'another method')}, got another method"
    hidden = None if access_of(request).may_view else refusal("view", request.scope, request.headers)
    return hidden or PlainTextResponse(f"{text}\n", error.status_code, error.headers)


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
