"""The decision step: from what a source gave to its outcome. Uses no clock and no file, and never raises."""

import logging

from msgspec import Struct

from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.judge import Judge, Unit, judge_item, unjudged
from andon.runtime.schema import Reason
from andon.runtime.verdict import Verdict

logger = logging.getLogger(__name__)


class Outcome(Struct, frozen=True, kw_only=True):
    """One item and its verdict: what sinks take."""

    seq: int
    """Number from 1 in the order in which the source gave the items; the item of a missing number was dropped."""
    wall_s: float
    """When it was judged, seconds since 1970: for display, never for order."""
    ref: Ref
    unit: Unit
    verdict: Verdict
    detail: str = ""
    """For people, where INVALID: what exactly was wrong."""
    data: Data | None = None
    """The frame or window; None where nothing was readable."""


def decide(item: Item | Lost, judge: Judge, *, seq: int, wall_s: float) -> Outcome:
    """Judge one item. An item with any fault becomes INVALID with its reason."""
    try:
        one = judge_item(judge, item, on_failure="invalid")
    except Exception as bug:
        # one item must not end the watch over all the others; the traceback goes to the log
        logger.exception("%s: could not be judged", item.ref.key)
        one = unjudged(judge, item, Reason.FAILED, f"could not be judged: {type(bug).__name__}: {bug}")
    else:
        if one.verdict.reason is Reason.FAILED:  # the runtime's failure, not the item's and not a bug: no traceback
            logger.error("%s: %s", item.ref.key, one.detail)
    return Outcome(
        seq=seq,
        wall_s=wall_s,
        ref=item.ref,
        unit=judge.unit,
        verdict=one.verdict,
        detail="" if one.judged else one.detail,
        data=one.data,
    )
