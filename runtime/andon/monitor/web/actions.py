"""The endpoints that change something: POST with a small JSON body, for a client that may act.

The guard of the application decides whether a client may act (`andon.may_act` in the scope). Without its decision every action is
refused.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.monitor.operator_actions import OperatorActions, Truth

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PREFIX = "/act/"
"""Beginning of the paths of all actions."""
LONGEST_BODY = 4096

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
    truth: Literal["good", "defective"]
    by: Text


Act = Acknowledge | Shelve | Unshelve | ConfirmItem | ConfirmEvent

ACTS: dict[str, type[Act]] = {
    "acknowledge": Acknowledge,
    "shelve": Shelve,
    "unshelve": Unshelve,
    "confirm-item": ConfirmItem,
    "confirm-event": ConfirmEvent,
}
"""The body of each action by the last part of its path."""


def perform(actions: OperatorActions, act: Act) -> None:
    """Do what was asked.

    Raises:
        ConfigError: see `OperatorActions`.
    """
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


def action_routes(actions: OperatorActions) -> "list[BaseRoute]":
    """Return the routes of all actions."""
    from starlette.routing import Route

    return [Route(PREFIX + name, _endpoint(actions, body), methods=["POST"]) for name, body in ACTS.items()]


def _endpoint(actions: OperatorActions, kind: type[Act]) -> Callable[["Request"], object]:
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    def refused(status: int, text: str) -> "Response":
        return JSONResponse({"error": text}, status)

    async def endpoint(request: "Request") -> "Response":
        if request.scope.get("andon.may_act") is not True:
            return refused(403, "expected a client that may act. Log in with the act token.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return refused(415, "expected a body of the type application/json")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST_BODY:
                return refused(413, f"expected a body of at most {LONGEST_BODY} bytes")
        try:
            act = msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            return refused(400, printable(str(error), limit=300))
        try:
            await run_in_threadpool(functools.partial(perform, actions, act))
        except ConfigError as error:
            return refused(409, printable(str(error), limit=500))
        return JSONResponse({"done": True})

    return endpoint
