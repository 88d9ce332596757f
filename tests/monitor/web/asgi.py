"""A client that calls a web application directly, without a server."""

import asyncio
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


def request(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    host: str | None = "127.0.0.1:8420",
    client: str = "127.0.0.1",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> Answer:
    """Send one request and return the answer. Of several headers with one name, the last is returned."""
    path, _, query = path.partition("?")
    given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if host is not None:
        given.append((b"host", host.encode("latin-1")))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": given,
        "client": (client, 50_000),
        "server": ("127.0.0.1", 8420),
    }
    sent: list[dict[str, Any]] = []

    unread = [body]

    async def receive() -> dict[str, Any]:
        if not unread:
            await asyncio.Event().wait()  # the client stays connected
        unread.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    begin, *rest = sent
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in begin["headers"]}
    content = b"".join(one.get("body", b"") for one in rest)
    is_text = not found.get("content-type", "").startswith("image/jpeg")
    return Answer(begin["status"], found, content.decode("utf-8" if is_text else "latin-1"))
