"""Judge the items of a source. No other module decides what happens to items that cannot be judged."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.errors import InputError, JudgeError
from andon.runtime.detector import Detector
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.outside_training import Outside, outside
from andon.runtime.schema import FrameSpec, Reason, Status, WindowSpec
from andon.runtime.verdict import Verdict, invalid

Unit = Literal["frame", "window"]
"""Type of one item."""

OnFailure = Literal["raise", "invalid"]
"""Reaction to a failure of the runtime on a correct input (`JudgeError`).

``raise`` ends the run, because results without the failed item could mislead. ``invalid`` makes the item INVALID with the
reason ``failed`` and continues.
"""


MOST_LISTED = 5
"""Number of problems in a detail. A cut cable can affect hundreds of channels."""


class UnhealthyError(InputError):
    """A check found that an item does not show what it should. The item is INVALID with this reason.

    Args:
        reason: the reason of the verdict.
        detail: readable description of the problem.
        channel: sensor channel to look at first. Empty for frames.
    """

    def __init__(self, reason: Reason, detail: str, channel: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.channel = channel


class Judge(NamedTuple):
    """A function that judges, and the facts for the verdicts of items that never reach it."""

    call: Callable[[NDArray[Any]], Verdict]
    """Function from a frame or window to its verdict.

    It raises `InputError` for another type or size than calibrated, `UnhealthyError` for an item that a check refused, and
    `JudgeError` if the runtime failed.
    """
    threshold: float
    model: str
    """Short digest of the model file."""
    unit: Unit
    """Type of the items that the model file judges."""
    check: Callable[[Item | Lost], None] | None = None
    """Function that is called with each item first, also with lost ones. It raises `UnhealthyError` for an item to refuse."""
    outside: Callable[[NDArray[Any]], Sequence[Outside]] | None = None
    """Function that returns what is far outside the good windows, for a window that was rejected for this reason."""


class JudgedItem(Struct, frozen=True, kw_only=True):
    """One item and its verdict."""

    ref: Ref
    verdict: Verdict
    judged: bool
    """True if the graph decided. False if the item was lost or of the wrong type, or if the runtime failed."""
    detail: str = ""
    """Readable description of the problem. Empty unless the verdict has a reason."""
    data: Data | None = None
    """The frame or window. None if the item was lost."""
    channel: str = ""
    """Sensor channel to look at first, for a window with a reason of which the cause is known."""


def judge_of(detector: Detector) -> Judge:
    """Return a loaded model file as a judge."""
    spec, limits = detector.card.input, detector.model.outside
    unit: Unit = "frame" if isinstance(spec, FrameSpec) else "window"
    explain = None
    if isinstance(spec, WindowSpec) and limits is not None:
        explain = functools.partial(outside, spec=spec, limits=limits)
    return Judge(detector, detector.threshold, detector.model.short_digest, unit, outside=explain)


def judge_items(
    detector: Detector, items: Iterable[Item | Lost], *, on_failure: OnFailure = "raise"
) -> Iterator[JudgedItem]:
    """Judge items one at a time and in order, as on the line. See `judge_item`.

    Args:
        detector: a loaded model file.
        items: frames or windows. The iterable may be endless.
        on_failure: see `OnFailure`.

    Raises:
        JudgeError: the runtime failed and `on_failure` is ``raise``. The message begins with the item's key.
    """
    judge = judge_of(detector)
    return (judge_item(judge, item, on_failure=on_failure) for item in items)


def judge_item(judge: Judge, item: Item | Lost, *, on_failure: OnFailure = "raise") -> JudgedItem:
    """Judge one item.

    A lost item keeps its reason. An item that the file cannot judge (another size, type or shape) is INVALID with the
    reason ``wrong_input``.

    Raises:
        JudgeError: see `judge_items`.
    """
    try:
        if judge.check is not None:
            judge.check(item)
        if isinstance(item, Lost):
            # an INVALID verdict needs a reason other than NONE
            reason = item.reason if item.reason is not Reason.NONE else Reason.LOST
            return unjudged(judge, item, reason, item.detail or reason.text, item.channel)
        verdict = judge.call(item.data)
    except UnhealthyError as error:
        return unjudged(judge, item, error.reason, str(error), error.channel)
    except InputError as error:
        return unjudged(judge, item, Reason.WRONG_INPUT, str(error))
    except JudgeError as error:
        if on_failure == "raise":
            raise JudgeError(f"{item.ref.key}: {error}") from error
        return unjudged(judge, item, Reason.FAILED, f"judging failed: {error}")
    detail, channel = verdict.reason.text, ""
    if verdict.status is Status.REJECT and verdict.reason is Reason.OUTSIDE_TRAINING and judge.outside is not None:
        found = judge.outside(np.asarray(item.data))
        if found:  # empty only if the graph rounds a number at a limit in another way
            detail, channel = _listed(found), found[0].channel
    return JudgedItem(ref=item.ref, verdict=verdict, judged=True, detail=detail, data=item.data, channel=channel)


def _listed(found: Sequence[Outside]) -> str:
    name = Reason.OUTSIDE_TRAINING.text.partition(":")[0]
    more = [f"and {len(found) - MOST_LISTED} more"] if len(found) > MOST_LISTED else []
    return f"{name}: {'; '.join([one.detail for one in found[:MOST_LISTED]] + more)}"


def unjudged(judge: Judge, item: Item | Lost, reason: Reason, detail: str, channel: str = "") -> JudgedItem:
    """Return the INVALID verdict of an item that the graph did not decide."""
    verdict = invalid(reason, threshold=judge.threshold, model=judge.model)
    data = item.data if isinstance(item, Item) else None
    return JudgedItem(ref=item.ref, verdict=verdict, judged=False, detail=detail, data=data, channel=channel)
