"""Declare which right each route of the server needs. A route without a declared right is refused.

    Route("/", page, methods=["GET"])              # refused: no right
    views(Route("/", page, methods=["GET"]))       # needs the right to view
    acts(Route("/shelve", shelve, methods=["POST"]))

A request that changes something is a POST. It needs a JSON body, and either a token in its header or a session together with the
header ``X-Andon-CSRF``. The whole body is read before the endpoint runs.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from andon.monitor.web.access import Access, AccessControl
from andon.monitor.web.origin import may_change
from andon.monitor.web.sessions import is_csrf_of

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Mount, Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    AnyRoute = TypeVar("AnyRoute", Route, Mount)

logger = logging.getLogger(__name__)

Right = Literal["anyone", "health", "view", "act"]
"""``health`` is the right to view, or a request from this machine itself."""
READING = ("GET", "HEAD")
LONGEST_BODY = 65_536
"""Largest body of a request, in bytes."""
BODY_S = 5.0
"""Longest time for sending a body."""
CSRF_HEADER = "X-Andon-CSRF"
_CONTROL = "andon.control"
_ACCESS = "andon.access"


def views(route: "AnyRoute") -> "AnyRoute":
    """Require the right to view.

    Raises:
        ValueError: the route also answers other methods than GET and HEAD. A change needs `acts`.
    """
    methods = set(getattr(route, "methods", None) or ())
    if not methods <= set(READING):
        raise ValueError(
            f"{route!r}: expected the methods GET and HEAD only, got {sorted(methods)}. Use acts for a change."
        )
    return _requiring("view", route)


def acts(route: "AnyRoute") -> "AnyRoute":
    """Require the right to act. Without ``act_token`` in the settings, each request is refused."""
    return _requiring("act", route)


def answers_anyone(route: "AnyRoute") -> "AnyRoute":
    """Declare that a route needs no right, for example the page for logging in. It must not show or change a state."""
    return _requiring("anyone", route)


def answers_health_checks(route: "AnyRoute") -> "AnyRoute":
    """Require the right to view, except for requests from this machine that no proxy has forwarded."""
    return _requiring("health", route)


def right_of(route: "BaseRoute") -> Right | None:
    """Return the declared right of a route, or None if it has none."""
    app = getattr(route, "app", None)
    return app.right if isinstance(app, _Requiring) else None


def refuse_undeclared(routes: "Sequence[BaseRoute]") -> "list[BaseRoute]":
    """Return the routes that have a declared right. The others are left out, and each of them is logged as an error."""
    for route in routes:
        if right_of(route) is None:
            logger.error("%r: expected a declared right, found none. The route is not served.", route)
    return [route for route in routes if right_of(route) is not None]


def access_of(request: "Request") -> Access:
    """Return what the request may do, and the session of its person."""
    access: Access = request.scope[_ACCESS]
    return access


def csrf_token(request: "Request") -> str:
    """Return the text that a page must send back as `CSRF_HEADER`. Empty if the request has no session.

    Use it in a template: ``<meta name="andon-csrf" content="{{ csrf_token(request) }}">``.
    """
    session = access_of(request).session
    return "" if session is None else session.csrf


def may_still_view(request: "Request") -> bool:
    """Return whether the request could view now. A stream asks it again and again, because sessions and tokens end."""
    control: AccessControl = request.scope[_CONTROL]
    return control.access(request.scope, request.headers, counted=False).may_view


def admit(scope: "Scope", headers: "Headers", control: AccessControl) -> None:
    """Store in the scope what the request may do. The guard calls it before routing."""
    scope[_CONTROL] = control
    scope[_ACCESS] = control.access(scope, headers)


def refusal(right: Right, scope: "Scope", headers: "Headers") -> "Response | None":
    """Return the answer to a request that does not have a right, or None if it has it."""
    access: Access = scope[_ACCESS]
    control: AccessControl = scope[_CONTROL]
    if scope["method"] not in READING and not may_change(headers.get("sec-fetch-site")):
        return _text(403, "expected a request from a page of this server, got one of another site")
    refused = _refusal_without_right(right, scope, headers, access, control)
    if refused is None and scope["method"] not in READING:
        refused = _refusal_of_change(right, headers, access) or _refusal_of_haste(
            control.change_wait_s(scope, headers, access)
        )
    return refused


def _refusal_without_right(
    right: Right, scope: "Scope", headers: "Headers", access: Access, control: AccessControl
) -> "Response | None":
    has = {
        "anyone": True,
        "health": access.may_view or access.local,
        "view": access.may_view,
        "act": access.may_act,
    }
    if has[right]:
        return None
    if access.broken:
        return _text(503, "the token of the server cannot be read; see its log")
    if access.wait_s > 0.0:
        return _text(429, "too many wrong tokens; try again later", {"retry-after": _seconds(access.wait_s)})
    if right == "act" and control.settings.act_token is None:
        return _text(403, "acting is switched off: expected act_token in [web], found none. Make one with: andon token")
    if right == "act" and (access.session is not None or access.with_token):
        return _text(403, "expected the act token, got the view token. Log in with the act token.")
    return _invitation(right, scope, headers)


def _invitation(right: Right, scope: "Scope", headers: "Headers") -> "Response":
    """Send a browser to the page for logging in. Ask a program for a token."""
    if scope["method"] in READING and "text/html" in headers.get("accept", "") and "authorization" not in headers:
        from starlette.responses import RedirectResponse

        return RedirectResponse("/login", 303)
    name = "act" if right == "act" else "view"
    return _text(401, f"expected the {name} token as Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})


def _refusal_of_change(right: Right, headers: "Headers", access: Access) -> "Response | None":
    if right == "anyone":  # the endpoint decides: the form for logging in is not JSON, and has no session yet
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _text(415, "Content-Type: expected application/json, got another type")
    if access.with_token:
        return None
    if access.session is None or not is_csrf_of(access.session, headers.get(CSRF_HEADER)):
        return _text(
            403, f"{CSRF_HEADER}: expected the text of the page's session, got another one. Load the page again."
        )
    return None


def _refusal_of_haste(wait_s: float) -> "Response | None":
    if wait_s <= 0.0:
        return None
    return _text(429, "too many changes; try again later", {"retry-after": _seconds(wait_s)})


def _seconds(wait_s: float) -> str:
    return str(max(1, math.ceil(wait_s)))


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> "Response":
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(f"{text}\n", status, headers)


def _requiring(right: Right, route: "AnyRoute") -> "AnyRoute":
    if right_of(route) is not None:
        raise ValueError(f"{route!r}: expected a route without a declared right, got one with {right_of(route)!r}.")
    route.app = _Requiring(right, route.app)
    return route


class _Requiring:
    """Refuse requests without the right. Read the body of the others, and let the endpoint answer them."""

    def __init__(self, right: Right, app: "ASGIApp") -> None:
        assert right in get_args(Right)
        self.right = right
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one request."""
        from starlette.datastructures import Headers

        refused = refusal(self.right, scope, Headers(scope=scope))
        if refused is None and scope["method"] not in READING:
            body = await _whole_body(receive)
            if isinstance(body, bytes):
                receive = _replay(body, receive)
            else:
                refused = body
        await (self._app if refused is None else refused)(scope, receive, send)


async def _whole_body(receive: "Receive") -> "bytes | Response":
    """Return the body, or a refusal if it is too long or too slow: a client that sends one byte a minute must not stay."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return _text(400, "expected a whole body, got a part of it")
                body += message.get("body", b"")
                if len(body) > LONGEST_BODY:
                    return _text(413, f"expected a body of at most {LONGEST_BODY} bytes, got a larger one")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return _text(408, f"expected a whole body within {BODY_S:g} s, got a part of it")


def _replay(body: bytes, receive: "Receive") -> "Receive":
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> "Message":
        return messages.pop() if messages else await receive()

    return again
