"""The pages that people open: all lines, one line, and one event with its evidence. They are the same for all visitors.

A page is a frame of HTML. Its script fills it with messages of `Live`. Nothing is fetched from other servers. Names and texts
from outside are escaped by the template, or set as text by the script.
"""

import functools
import sqlite3
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.redaction import redact
from andon.monitor.event import AlarmChanged, Event, InvalidBegan, LateScore, Rejected, Sampled, ToReview
from andon.monitor.event_text import event_content
from andon.monitor.records import iso
from andon.monitor.sample_questions import Tally, tally
from andon.monitor.store import EVIDENCE_NAME
from andon.monitor.web.actions import action_routes
from andon.monitor.web.html_templates import environment, rendered
from andon.monitor.web.live import Live
from andon.monitor.web.page_monitor import PageMonitor
from andon.monitor.web.rights import access_of, csrf_token, may_still_view, views
from andon.monitor.web.texts import texts

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

STATIC = {
    "andon.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "drawing.js": "text/javascript; charset=utf-8",
    "questions.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The static files with their types."""
PAGE_EVENTS = 20
"""Number of events in one answer."""
_NOT_LISTED = ("sample", "confirmation")
"""Kinds of events that are not in the list: there are many, and they need no look."""
_HTML = "text/html; charset=utf-8"


class EventRow(Struct, frozen=True, kw_only=True):
    """One event for the list."""

    seq: int
    at: str
    kind: str
    text: str
    item: str
    """Key of the item, if a person can confirm it. Empty for other events."""
    pictures: list[int]
    """Numbers of the pictures of the evidence. The first one shows the moment of the event."""


class EvidenceFile(Struct, frozen=True, kw_only=True):
    """One file of evidence."""

    number: int
    moment: str
    offset_s: float
    is_picture: bool
    """False for the text of a window."""


class QuestionRow(Struct, frozen=True, kw_only=True):
    """A question about a part. The verdict is not part of it, so that it cannot influence the answer."""

    seq: int
    at: str
    item: str
    files: list[EvidenceFile]


class QuestionData(Struct, frozen=True, kw_only=True):
    """The next question of a line, and the numbers of all."""

    sample: Tally
    question: QuestionRow | None


def page_routes(monitor: PageMonitor, live: Live) -> "list[BaseRoute]":
    """Return the routes of the page with its data, its stream and its actions.

    Raises:
        MissingExtra: starlette or jinja2 is not installed.
    """
    with needs("monitor", "the page of the monitor"):
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route

    environment()  # reports a missing package now and not at the first request

    def html(request: "Request", template: str, **values: Any) -> "Response":
        text = rendered(
            template,
            lines=list(monitor.views),
            texts_json=msgspec.json.encode(texts()).decode(),
            csrf=csrf_token(request),
            may_act=access_of(request).may_act,
            person=access_of(request).name,
            **values,
        )
        return Response(text, media_type=_HTML)

    def missing(what: str) -> "Response":
        return PlainTextResponse(f"{what}\n", 404)

    def known(endpoint: Callable[["Request"], "Response"]) -> Callable[["Request"], "Response"]:
        """Answer 404 for an unknown line."""

        @functools.wraps(endpoint)
        def checked(request: "Request") -> "Response":
            if request.path_params["line"] not in monitor.views:
                return missing("expected the name of a line, got another one")
            return endpoint(request)

        return checked

    def stored(endpoint: Callable[["Request"], "Response"]) -> Callable[["Request"], "Response"]:
        """Answer 503 while the event store cannot be read."""

        @functools.wraps(endpoint)
        def checked(request: "Request") -> "Response":
            try:
                return endpoint(request)
            except (sqlite3.Error, ConfigError):
                return PlainTextResponse("the event store cannot be read now; see the log\n", 503)

        return checked

    def overview(request: "Request") -> "Response":
        return html(request, "overview.html")

    @known
    def line_page(request: "Request") -> "Response":
        return html(request, "line.html", line=request.path_params["line"])

    @known
    def history(request: "Request") -> "Response":
        seconds = monitor.views[request.path_params["line"]].seconds()
        return Response(msgspec.json.encode(seconds), media_type="application/json")

    @known
    @stored
    def events(request: "Request") -> "Response":
        reader = monitor.reader()
        before = request.query_params.get("before", "")
        found = (
            reader.recent(
                line=request.path_params["line"], before=_number(before), without=_NOT_LISTED, limit=PAGE_EVENTS
            )
            if reader is not None
            else []
        )
        return Response(msgspec.json.encode([event_row(event) for event in found]), media_type="application/json")

    @known
    def confirm_page(request: "Request") -> "Response":
        return html(request, "confirm.html", line=request.path_params["line"])

    @known
    @stored
    def question(request: "Request") -> "Response":
        found = next_question(monitor, request.path_params["line"], _number(request.query_params.get("after", "")) or 0)
        return Response(msgspec.json.encode(found), media_type="application/json")

    @known
    @stored
    def recalibration_page(request: "Request") -> "Response":
        line = request.path_params["line"]
        return html(request, "recalibration.html", line=line, state=monitor.recalibration.state(line), iso=iso)

    @stored
    def event_page(request: "Request") -> "Response":
        reader = monitor.reader()
        seq = _number(request.path_params["seq"])
        event = reader.event(seq) if reader is not None and seq is not None else None
        if event is None:
            return missing("expected the number of a stored event, got another one")
        return html(request, "event.html", line=event.line, event=event_row(event), files=evidence_files(event))

    @stored
    def evidence(request: "Request") -> "Response":
        reader = monitor.reader()
        seq, number = (_number(request.path_params[name]) for name in ("seq", "number"))
        data = None if reader is None or seq is None or number is None else reader.evidence_file(seq, number)
        if data is None:
            return missing("expected the number of a file of evidence, got another one")
        # the content decides: a file of evidence is a JPEG or CSV text that andon wrote
        return Response(data, media_type="image/jpeg" if data[:2] == b"\xff\xd8" else "text/plain; charset=utf-8")

    def static(request: "Request") -> "Response":
        name = request.path_params["name"]
        if name not in STATIC:
            return missing("expected the name of a static file, got another one")
        return Response(static_file(name), headers={"content-type": STATIC[name], "cache-control": "no-cache"})

    class Stream:
        """An endpoint that is an ASGI application, so that the stream sends by itself."""

        def __init__(self, *, of_line: bool) -> None:
            self._of_line = of_line

        async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
            line = scope["path_params"]["line"] if self._of_line else None
            if line is not None and line not in monitor.views:
                await missing("expected the name of a line, got another one")(scope, receive, send)
                return
            request = Request(scope)
            await live.stream(receive, send, line=line, may_view=lambda: may_still_view(request))

    paths: dict[str, Any] = {
        "/": overview,
        "/live": Stream(of_line=False),
        "/lines/{line}": line_page,
        "/lines/{line}/live": Stream(of_line=True),
        "/lines/{line}/history": history,
        "/lines/{line}/events": events,
        "/lines/{line}/confirm": confirm_page,
        "/lines/{line}/question": question,
        "/lines/{line}/recalibration": recalibration_page,
        "/events/{seq}": event_page,
        "/events/{seq}/evidence/{number}": evidence,
        "/static/{name}": static,
    }
    return [
        *(views(Route(path, endpoint, methods=["GET"])) for path, endpoint in paths.items()),
        *action_routes(monitor),
    ]


def event_row(event: Event) -> EventRow:
    """Return an event for the list."""
    body = event.body
    return EventRow(
        seq=event.seq,
        at=iso(event.wall_us / 1e6),
        kind=f"alarm-{body.change}" if isinstance(body, AlarmChanged) else event.kind,
        text=redact(event_content(event)),
        item=redact(body.verdict.item) if isinstance(body, _CONFIRMABLE) else "",
        pictures=[file.number for file in evidence_files(event) if file.is_picture],
    )


_CONFIRMABLE = Rejected | ToReview | InvalidBegan | LateScore | Sampled


def next_question(monitor: PageMonitor, line: str, after: int) -> QuestionData:
    """Return the first open question of a line with a larger number than `after`, and the numbers of all its questions.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    asked = monitor.recalibration.sample(line)
    waiting = next((one for one in asked if one.answer is None and one.seq > after), None)
    reader = monitor.reader()
    event = reader.event(waiting.seq) if waiting is not None and reader is not None else None
    return QuestionData(sample=tally(asked), question=question_row(event) if event is not None else None)


def question_row(event: Event) -> QuestionRow:
    """Return a question without the verdict of the part."""
    assert isinstance(event.body, Sampled)
    return QuestionRow(
        seq=event.seq,
        at=iso(event.wall_us / 1e6),
        item=redact(event.body.verdict.item),
        files=[one for one in evidence_files(event) if one.moment == "at"],
    )


def evidence_files(event: Event) -> list[EvidenceFile]:
    """Return the files of evidence of an event. Their numbers are a part of their names."""
    return [
        EvidenceFile(
            number=int(one.name.rpartition("-")[2].partition(".")[0]),
            moment=one.moment,
            offset_s=one.offset_s,
            is_picture=one.name.endswith(".jpg"),
        )
        for one in event.evidence
        if EVIDENCE_NAME.fullmatch(one.name)
    ]


@functools.cache
def static_file(name: str) -> bytes:
    """Return the content of a static file."""
    return resources.files("andon.monitor.web").joinpath("static", name).read_bytes()


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
