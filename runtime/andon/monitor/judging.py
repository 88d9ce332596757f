"""The decision step: what a source gave, and what is to be said about it. Knows no clock and no file; never raises."""

import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import InputError, JudgeError
from andon.runtime.detector import Detector
from andon.runtime.schema import FrameSpec, Reason
from andon.runtime.verdict import Verdict, invalid
from andon.sources.items import Data, Item, Lost, Ref

logger = logging.getLogger(__name__)


Unit = Literal["frame", "window"]
"""What one item is."""


class Judge(NamedTuple):
    """What judges, and what stands in the record of an item that never reached it."""

    call: Callable[[NDArray[Any]], Verdict]
    """Return the verdict of a frame or window.

    Raises `InputError` if it is not what the model file was calibrated for, and `JudgeError` if the runtime failed.
    """
    threshold: float
    model: str
    """Short digest of the model file."""
    unit: Unit
    """What the model file judges."""


def judge_of(detector: Detector) -> Judge:
    """Return a loaded model file as a judge."""
    unit: Unit = "frame" if isinstance(detector.card.input, FrameSpec) else "window"
    return Judge(detector, detector.threshold, detector.model.short_digest, unit)


class Outcome(Struct, frozen=True, kw_only=True):
    """One item and what was said about it: what sinks are told."""

    seq: int
    """Counts items from 1 in the order in which the source gave them; a number that is missing was dropped."""
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
    """Judge one item. Whatever is wrong with it, it becomes INVALID with its reason."""
    if isinstance(item, Lost):
        # NONE would claim that all is well
        reason = item.reason if item.reason is not Reason.NONE else Reason.LOST
        return Outcome(
            seq=seq,
            wall_s=wall_s,
            ref=item.ref,
            unit=judge.unit,
            verdict=invalid(reason, threshold=judge.threshold, model=judge.model),
            detail=item.detail,
        )
    verdict, detail = _judge(item, judge)
    return Outcome(
        seq=seq, wall_s=wall_s, ref=item.ref, unit=judge.unit, verdict=verdict, detail=detail, data=item.data
    )


def _judge(item: Item, judge: Judge) -> tuple[Verdict, str]:
    try:
        return judge.call(item.data), ""
    except InputError as error:
        reason, detail = Reason.WRONG_INPUT, str(error)
    except JudgeError as error:  # the runtime's failure, not the item's and not a bug: no traceback
        reason, detail = Reason.FAILED, f"could not be judged: {error}"
        logger.error("%s: %s", item.ref.key, detail)  # noqa: TRY400
    except Exception as bug:
        # one item must not end the watch over all the others; the traceback goes to the log
        logger.exception("%s: could not be judged", item.ref.key)
        reason, detail = Reason.FAILED, f"could not be judged: {type(bug).__name__}: {bug}"
    return invalid(reason, threshold=judge.threshold, model=judge.model), detail
