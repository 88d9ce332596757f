"""The endpoints of the page that change something: POST with a small JSON body, for a client that may act (see `rights`)."""

import functools
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from andon.foundation.errors import AndonError
from andon.foundation.printable import printable
from andon.monitor.event import Answer
from andon.monitor.operator_actions import Truth
from andon.monitor.web.json_body import json_body
from andon.monitor.web.page_monitor import PageMonitor
from andon.monitor.web.rights import access_of, acts

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PREFIX = "/act/"
"""Beginning of the paths of all actions."""

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]
Number = Annotated[int, Meta(ge=0, le=2**53)]


class Acknowledge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Acknowledge an alarm."""

    line: Name
    alarm: Name
    number: Number
    by: Text


class Shelve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shelve an alarm."""

    line: Name
    alarm: Name
    seconds: float
    reason: Text
    by: Text


class Unshelve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End a shelf."""

    line: Name
    alarm: Name
    by: Text


class ConfirmItem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State the truth about one of the newest items."""

    line: Name
    seq: Number
    item: Text
    truth: Literal["good", "defective"]
    by: Text


class ConfirmEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """State the truth about the item of an event."""

    line: Name
    event: Number
    truth: Answer
    by: Text


class Propose(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Propose a recalibration from the confirmed random sample."""

    line: Name
    by: Text


class Swap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Put the proposed model file in place."""

    line: Name
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    by: Text


Act = Acknowledge | Shelve | Unshelve | ConfirmItem | ConfirmEvent | Propose | Swap

ACTS: dict[str, type[Act]] = {
    "acknowledge": Acknowledge,
    "shelve": Shelve,
    "unshelve": Unshelve,
    "confirm-item": ConfirmItem,
    "confirm-event": ConfirmEvent,
    "propose": Propose,
    "swap": Swap,
}
"""The body of each action by the last part of its path."""


def perform(monitor: PageMonitor, act: Act) -> None:
    """Do what was asked.

    Raises:
        AndonError: see `OperatorActions` and `Recalibration`.
    """
    actions = monitor.actions
    match act:
        case Acknowledge():
            actions.acknowledge(act.line, act.alarm, act.number, by=act.by)
        case Shelve():
            actions.shelve(act.line, act.alarm, act.seconds, reason=act.reason, by=act.by)
        case Unshelve():
            actions.unshelve(act.line, act.alarm, by=act.by)
        case ConfirmItem():
            truth: Truth = act.truth
            actions.confirm_item(act.line, act.seq, act.item, truth, by=act.by)
        case ConfirmEvent():
            actions.confirm_event(act.line, act.event, act.truth, by=act.by)
        case Propose():
            monitor.recalibration.propose(act.line, by=act.by)
        case Swap():
            monitor.recalibration.swap(act.line, act.digest, by=act.by)


def action_routes(monitor: PageMonitor) -> "list[BaseRoute]":
    """Return the routes of all actions."""
    from starlette.routing import Route

    return [acts(Route(PREFIX + name, _endpoint(monitor, body), methods=["POST"])) for name, body in ACTS.items()]


def _endpoint(monitor: PageMonitor, kind: type[Act]) -> "Callable[[Request], Awaitable[Response]]":
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse

    async def endpoint(request: "Request") -> "Response":
        act = await json_body(request, kind)
        session = access_of(request).session
        if session is not None and session.name:  # the name of the login is recorded, not another one
            act = replace(act, by=session.name)
        try:
            await run_in_threadpool(functools.partial(perform, monitor, act))
        except AndonError as error:
            return PlainTextResponse(f"{printable(str(error), limit=500)}\n", 409)
        except sqlite3.Error:
            return PlainTextResponse("the event store cannot be read now; see the log\n", 503)
        return JSONResponse({"done": True})

    return endpoint
