"""Count the outcomes of all items. An item is counted when its outcome is known, so that the sums are always exact."""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict

DropReason = Literal["busy", "stale", "warming", "skipped", "source", "stopped"]
"""Reason why an item was detected but not judged.

``busy``: displaced by a newer item. ``stale``: already old on arrival. ``warming``: one of the first after a camera was
(re)connected. ``skipped``: left out, because only every n-th item is judged. ``source``: dropped by a source without a reason.
``stopped``: read but not judged before the end.
"""


class Dropped(Struct, frozen=True):
    """A number of items that were detected but not judged."""

    reason: DropReason
    number: int = 1


class Counters(Struct, frozen=True, kw_only=True):
    """Totals since the start. ``grabbed == judged + invalid + dropped`` always holds."""

    grabbed: int = 0
    """Number of items with a known outcome. Each reported silence of a live source counts as one INVALID item."""
    judged: int = 0
    invalid: int = 0
    dropped: int = 0
    by_status: Mapping[str, int] = {}
    """Judged items by status (OK, REVIEW, REJECT). The sum is `judged`."""
    by_reason: Mapping[str, int] = {}
    """INVALID items by name of the reason. The sum is `invalid`."""
    by_drop: Mapping[str, int] = {}
    """Dropped items by reason. The sum is `dropped`."""
    waiting: int = 0
    """Number of items that were read and have no outcome yet. They are not part of `grabbed`."""


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


def total(several: Iterable[Counters]) -> Counters:
    """Return the sum of the totals of several lines.

    >>> total([count(Counters(), Dropped("busy", 3)), count(Counters(), Dropped("busy", 1))]).by_drop
    {'busy': 4}
    """
    one = Counters()
    for other in several:
        one = Counters(
            grabbed=one.grabbed + other.grabbed,
            judged=one.judged + other.judged,
            invalid=one.invalid + other.invalid,
            dropped=one.dropped + other.dropped,
            by_status=_sum(one.by_status, other.by_status),
            by_reason=_sum(one.by_reason, other.by_reason),
            by_drop=_sum(one.by_drop, other.by_drop),
            waiting=one.waiting + other.waiting,
        )
    return one


def counters_text(counters: Counters) -> str:
    """Return the totals as one readable line.

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
    # a new mapping each time, so that earlier counters do not change
    return {**numbers, name: numbers.get(name, 0) + by}


def _sum(numbers: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {name: numbers.get(name, 0) + others.get(name, 0) for name in {**numbers, **others}}


def _listed(numbers: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {number}' for name, number in sorted(numbers.items()))})" if numbers else ""
