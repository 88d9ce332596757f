"""Shelve an alarm: hide its signal for a limited time, with a reason (ISA 18.2). Pure rules without a clock.

A shelved alarm is still raised, cleared and recorded. Only its signal on the page is quiet. The page shows that it is shelved.
A shelf ends by its time limit or by a person. The event store keeps it over a restart of the monitor.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.monitor.event import AlarmShelved, Event

LONGEST_S = 8 * 3600.0
"""Longest time on the shelf, in seconds."""
LONGEST_REASON = 200
"""Largest number of characters of a reason."""


class Shelf(Struct, frozen=True, kw_only=True):
    """The state of one shelved alarm."""

    until_s: float
    """Monotonic time of the end."""
    reason: str
    by: str


Shelves = Mapping[tuple[str, str], Shelf]
"""The shelved alarms by line and alarm."""


def shelved(shelves: Shelves, line: str, alarm: str, now_s: float, seconds: float, *, reason: str, by: str) -> Shelves:
    """Return the shelves with one more alarm. An alarm that is already shelved gets the new time and reason.

    Raises:
        ConfigError: the time is not above 0 or longer than 8 hours, or the reason or the name is empty or too long.

    >>> shelves = shelved({}, "press-3", "rejects", 100.0, 60.0, reason="trial batch", by="Ana")
    >>> shelves["press-3", "rejects"].until_s
    160.0
    """
    if not 0.0 < seconds <= LONGEST_S:
        raise ConfigError(f"seconds: expected a time above 0 and at most {LONGEST_S:g} s (8 h), got {seconds:g}.")
    shelf = Shelf(until_s=now_s + seconds, reason=plain_text(reason, "reason", LONGEST_REASON), by=person(by))
    return {**shelves, (line, alarm): shelf}


def unshelved(shelves: Shelves, line: str, alarm: str) -> Shelves:
    """Return the shelves without an alarm."""
    return {key: shelf for key, shelf in shelves.items() if key != (line, alarm)}


def ended(shelves: Shelves, now_s: float) -> list[tuple[str, str]]:
    """Return line and name of the alarms whose time has ended."""
    return [key for key, shelf in shelves.items() if now_s >= shelf.until_s]


def resumed(events: Iterable[Event], *, boot: str, now_s: float, wall_s: float) -> Shelves:
    """Return the shelves that an earlier start of the monitor has left, from its events, oldest first.

    Time passes while the monitor does not run. It is the monotonic time if the machine has not been started again since, and
    otherwise the wall time. A wall clock that was set back does not make a shelf longer than the person asked for.

    Args:
        events: events of the store. Other kinds than ``shelve`` are ignored.
        boot: name of this start of the machine. Empty if unknown.
        now_s: monotonic time.
        wall_s: wall time, in seconds since 1970.
    """
    found: dict[tuple[str, str], Shelf] = {}
    for event in events:
        body = event.body
        if not isinstance(body, AlarmShelved):
            continue
        found.pop((event.line, body.alarm), None)
        age_s = now_s - event.mono_ns / 1e9 if boot and event.boot == boot else wall_s - event.wall_us / 1e6
        left_s = min(body.seconds, LONGEST_S) - max(0.0, age_s)
        if body.change == "shelved" and left_s > 0.0:
            found[event.line, body.alarm] = Shelf(until_s=now_s + left_s, reason=body.reason, by=body.by)
    return found


def person(name: str) -> str:
    """Return the name of a person for an event.

    Raises:
        ConfigError: the name is empty or longer than 64 characters.
    """
    return plain_text(name, "by", 64)


def plain_text(text: str, what: str, longest: int) -> str:
    """Return a text from a person on one line, with unprintable characters escaped.

    Raises:
        ConfigError: the text is empty or too long.
    """
    text = " ".join(text.split())
    if not 1 <= len(text) <= longest:
        raise ConfigError(f"{what}: expected 1 to {longest} characters, got {len(text)}. Enter another text.")
    return printable(text)
