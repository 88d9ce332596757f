"""The decision step from an item of a source to its outcome. It uses no clock and no files, and never raises."""

import logging

from msgspec import Struct

from andon.monitor.alarms import EventKind
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.judge import Judge, Unit, judge_item, unjudged
from andon.runtime.schema import Card, Reason, Status
from andon.runtime.verdict import Verdict

logger = logging.getLogger(__name__)


class LineAlarm(Struct, frozen=True, kw_only=True):
    """Change of one alarm of the line with an item."""

    name: str
    kind: EventKind
    number: int
    """Number of the alarm of this name, from 1."""


class Outcome(Struct, frozen=True, kw_only=True):
    """One item and its verdict, as passed to sinks."""

    seq: int
    """Number of the item, from 1 in the order of the source. A missing number means that the item was dropped."""
    wall_s: float
    """Time of the verdict, in seconds since 1970. For display only, not for ordering."""
    ref: Ref
    unit: Unit
    verdict: Verdict
    detail: str = ""
    """Detailed, readable description of the problem of an item with a reason."""
    data: Data | None = None
    """The frame or window. None if the item could not be read."""
    alarms: tuple[LineAlarm, ...] = ()
    """Changes of the line's alarms with this item."""
    line: str = ""
    """Name of the line. Empty if the user gave none."""
    arrived_s: float | None = None
    """Monotonic time at which the reader of the source had the item."""
    channel: str = ""
    """Sensor channel to look at first, for a window that is not OK. Empty if no single channel is the cause."""
    card: Card | None = None
    """Card of the model file that judged. A line may load another file while it runs."""


def decide(item: Item | Lost, judge: Judge, *, seq: int, wall_s: float) -> Outcome:
    """Judge one item. An item with any problem becomes INVALID with a reason."""
    try:
        one = judge_item(judge, item, on_failure="invalid")
    except Exception as bug:
        # one item must not end the monitoring of all others; the traceback goes to the log
        logger.exception(
            "%s: judging failed with an unexpected error. The item is INVALID, and the monitor continues. Report this as a bug.",
            item.ref.key,
        )
        one = unjudged(judge, item, Reason.FAILED, f"judging failed: {type(bug).__name__}: {bug}")
    else:
        if one.verdict.reason is Reason.FAILED:  # a failure of the runtime and not a bug, so no traceback
            logger.error("%s: %s", item.ref.key, one.detail)
    return Outcome(
        seq=seq,
        wall_s=wall_s,
        ref=item.ref,
        unit=judge.unit,
        verdict=one.verdict,
        detail="" if one.judged and one.verdict.status is Status.INVALID else one.detail,
        data=one.data,
        channel=one.channel,
    )
