"""Read the body of a change as JSON of a given type. All other content is refused with 400."""

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")


async def json_body(request: "Request", kind: type[T]) -> T:
    """Return the body as this type, usually a `msgspec.Struct` with ``forbid_unknown_fields`` and bounds.

    Raises:
        HTTPException: 400. The message names the place and what was expected there.
    """
    from starlette.exceptions import HTTPException

    body = await request.body()
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        reason = str(error)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        reason = "it is not JSON"
    raise HTTPException(400, f"body: expected {kind.__name__} as JSON, got other content: {_ascii(reason)}")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:300]
