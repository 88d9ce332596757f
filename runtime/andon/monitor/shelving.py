"""Shelve an alarm: hide its signal for a limited time, with a reason (ISA 18.2). Pure rules without a clock.

A shelved alarm is still raised, cleared and recorded. Only its signal on the page is quiet. The page shows that it is shelved.
A shelf ends by its time limit or by a person. It does not survive a restart of the monitor: the alarm then signals again.
"""

from collections.abc import Mapping

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable

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
