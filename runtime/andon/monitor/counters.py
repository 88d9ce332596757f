"""What became of every item: counted when its outcome is known, so that the sums are exact at any moment."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict

DropReason = Literal["busy", "stale", "warming", "source", "stopped"]
"""Why an item was seen and never judged.

``busy``: displaced by a newer one. ``stale``: old when it came. ``warming``: one of the first after a camera was (re)connected.
``source``: dropped by a source that does not say why. ``stopped``: read but not judged when the end came.
"""


class Dropped(Struct, frozen=True):
    """Items that were seen and never judged."""

    reason: DropReason
    number: int = 1


class Counters(Struct, frozen=True, kw_only=True):
    """Totals since the start. Always ``grabbed == judged + invalid + dropped``."""

    grabbed: int = 0
    """Items whose outcome is known; one silence of a live source that is reported as INVALID is one."""
    judged: int = 0
    invalid: int = 0
    dropped: int = 0
    by_status: Mapping[str, int] = {}
    """OK, REVIEW, REJECT: adds up to `judged`."""
    by_reason: Mapping[str, int] = {}
    """Of the INVALID ones, by name of the reason: adds up to `invalid`."""
    by_drop: Mapping[str, int] = {}
    """Adds up to `dropped`."""
    waiting: int = 0
    """Read by now, outcome not known yet: not within `grabbed`."""


def count(counters: Counters, outcome: Verdict | Dropped) -> Counters:
    """Return the totals after one more outcome.

    >>> count(Counters(), Dropped("busy", 3)).grabbed
    3
    """
    if isinstance(outcome, Dropped):
        return msgspec.structs.replace(
            counters,
            grabbed=counters.grabbed + outcome.number,
            dropped=counters.dropped + outcome.number,
            by_drop=_more(counters.by_drop, outcome.reason, outcome.number),
        )
    if outcome.status is Status.INVALID:
        return msgspec.structs.replace(
            counters,
            grabbed=counters.grabbed + 1,
            invalid=counters.invalid + 1,
            by_reason=_more(counters.by_reason, outcome.reason.name, 1),
        )
    return msgspec.structs.replace(
        counters,
        grabbed=counters.grabbed + 1,
        judged=counters.judged + 1,
        by_status=_more(counters.by_status, outcome.status.name, 1),
    )


def counters_text(counters: Counters) -> str:
    """Return the totals as one line for people.

    >>> counters_text(count(Counters(), Dropped("busy", 3)))
    'grabbed 3 = judged 0 + invalid 0 + dropped 3 (busy 3)'
    """
    return (
        f"grabbed {counters.grabbed} = judged {counters.judged}{_listed(counters.by_status)}"
        f" + invalid {counters.invalid}{_listed(counters.by_reason)}"
        f" + dropped {counters.dropped}{_listed(counters.by_drop)}"
        + (f"; waiting {counters.waiting}" if counters.waiting else "")
    )


def _more(numbers: Mapping[str, int], name: str, by: int) -> dict[str, int]:
    # a new mapping each time: counters that were given out do not change
    return {**numbers, name: numbers.get(name, 0) + by}


def _listed(numbers: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {number}' for name, number in sorted(numbers.items()))})" if numbers else ""
