"""Events for tests of the store."""

from typing import Any

from andon.monitor.event import Body, Event, InvalidEnded, new_key


def some_event(body: Body | None = None, **changes: Any) -> Event:
    """Return an event of line ``press-3`` with a new key."""
    facts: dict[str, Any] = {
        "key": new_key(),
        "run": "r",
        "boot": "b",
        "line": "press-3",
        "mono_ns": 1,
        "wall_us": 1_796_040_000_000_000,
        "body": body or InvalidEnded(items=1, seconds=1.0),
    }
    return Event(**(facts | changes))


def numbered(number: int, **changes: Any) -> Event:
    """Return an event that contains a number, to check order."""
    return some_event(InvalidEnded(items=number, seconds=0.0), **changes)


def number_of(event: Event) -> int:
    """Return the number of such an event."""
    assert isinstance(event.body, InvalidEnded)
    return event.body.items
