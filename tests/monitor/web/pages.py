"""A small page with a state, and people and programs that use it. For tests of rights, logins and hostile requests."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct
from tests.monitor.statuses import FULL
from tests.monitor.web.asgi import Answer, request
from tests.sources.fake_clock import FakeClock

from andon.foundation.secret import Secret
from andon.monitor.web.app import web_app
from andon.monitor.web.json_body import json_body
from andon.monitor.web.rights import acts, csrf_token, may_still_view, views
from andon.monitor.web.settings import WebSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

VIEW = "0123456789abcdef" * 2
ACT = "fedcba9876543210" * 2
ORIGIN = ("Origin", "http://127.0.0.1:8420")
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
Headers = tuple[tuple[str, str], ...]


class Shelving(Struct, forbid_unknown_fields=True):
    minutes: Annotated[int, Meta(ge=1, le=480)]


class Line:
    """The state that hostile requests must not change: shelved alarms."""

    def __init__(self) -> None:
        self.shelved: list[int] = []
        self.on_tick: Callable[[], None] = lambda: None
        """Called after each message of a stream."""

    def routes(self) -> "Sequence[BaseRoute]":
        from starlette.exceptions import HTTPException
        from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
        from starlette.routing import Route

        async def page(request: "Request") -> "Response":
            return HTMLResponse(f'<meta name="andon-csrf" content="{csrf_token(request)}"><p>the line</p>')

        async def shelve(request: "Request") -> "Response":
            shelving = await json_body(request, Shelving)
            self.shelved.append(shelving.minutes)
            return JSONResponse({"shelved": len(self.shelved)})

        async def evidence(request: "Request") -> "Response":
            if request.path_params["seq"] != 7:
                raise HTTPException(404, "no such evidence")
            return JSONResponse({"seq": 7})

        async def stream(request: "Request") -> "Response":
            async def lines() -> Any:
                while may_still_view(request):
                    yield "data: 1\n\n"
                    self.on_tick()
                    await asyncio.sleep(0)

            return StreamingResponse(lines(), media_type="text/event-stream")

        return [
            views(Route("/", page, methods=["GET"])),
            views(Route("/evidence/{seq:int}", evidence, methods=["GET"])),
            views(Route("/stream", stream, methods=["GET"])),
            acts(Route("/shelve", shelve, methods=["POST"])),
        ]


class Site:
    """An application with this line. Requests go to it without a server."""

    def __init__(self, settings: WebSettings | None = None) -> None:
        self.line = Line()
        self.clock = FakeClock()
        self.settings = settings or protected()
        self.app = web_app(lambda: FULL, self.settings, self.clock, routes=self.line.routes())

    def get(self, path: str, *headers: tuple[str, str], client: str = "10.0.0.9") -> Answer:
        return request(self.app, path, headers=headers, client=client)

    def post(self, path: str, *headers: tuple[str, str], body: bytes = b"", client: str = "10.0.0.9") -> Answer:
        return request(self.app, path, method="POST", headers=headers, body=body, client=client)

    def shelve(self, *headers: tuple[str, str], body: bytes = b'{"minutes": 5}', client: str = "10.0.0.9") -> Answer:
        return self.post("/shelve", JSON, *headers, body=body, client=client)

    def log_in(self, token: str, *headers: tuple[str, str], name: str = "", client: str = "10.0.0.9") -> Answer:
        body = urlencode({"token": token, "name": name}).encode()
        return self.post("/login", FORM, *headers, body=body, client=client)

    def person(self, token: str, name: str = "") -> "Person":
        answer = self.log_in(token, name=name)
        assert answer.status == 303, answer
        return Person(self, ("Cookie", answer.headers["set-cookie"].partition(";")[0]))


class Person:
    """A person who has logged in with a browser."""

    def __init__(self, site: Site, cookie: tuple[str, str]) -> None:
        self.site = site
        self.cookie = cookie

    @property
    def csrf(self) -> tuple[str, str]:
        found = re.search('content="([^"]+)"', self.site.get("/", self.cookie).text)
        assert found is not None
        return "X-Andon-CSRF", found[1]

    def shelve(self, *headers: tuple[str, str]) -> Answer:
        return self.site.shelve(self.cookie, *headers)


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def protected(**other: Any) -> WebSettings:
    """Return settings with both tokens. The variables are set by the fixture ``tokens``."""
    return WebSettings(
        **{
            "view_token": Secret(env="ANDON_TEST_VIEW"),
            "act_token": Secret(env="ANDON_TEST_ACT"),
            **other,
        }
    )


def json_of(answer: Answer) -> Any:
    return msgspec.json.decode(answer.text)
