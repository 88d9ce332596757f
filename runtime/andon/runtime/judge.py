"""Judge items one by one: the one policy for what cannot be judged."""

from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from andon.foundation.errors import InputError, JudgeError
from andon.runtime.detector import Detector
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid


class JudgedItem(Struct, frozen=True, kw_only=True):
    """One item and its verdict."""

    ref: Ref
    verdict: Verdict
    judged: bool
    """Whether the graph decided. False: the item was lost or of the wrong kind, or the runtime failed."""
    detail: str = ""
    """What was wrong, in words; empty unless INVALID."""
    data: Data | None = None
    """The frame or window; None where the item was lost."""


def judge_items(
    detector: Detector, items: Iterable[Item | Lost], *, on_failure: Literal["raise", "invalid"] = "raise"
) -> Iterator[JudgedItem]:
    """Judge items one at a time, in their order, as the line does.

    An item that is lost keeps its reason. An item that the file cannot judge (another size, type or shape) is INVALID
    with the reason ``wrong_input``. Neither ends the loop.

    Args:
        detector: a loaded model file.
        items: frames or windows, also endless ones.
        on_failure: what happens where the runtime fails although the input was right (`JudgeError`). ``raise`` ends the
            loop: figures over what was left would be wrong. ``invalid`` makes the item INVALID (``failed``) and goes on.

    Raises:
        JudgeError: the runtime failed and `on_failure` is ``raise``; the message begins with the item's key.
    """
    for item in items:
        if isinstance(item, Lost):
            # NONE would claim that all is well
            reason = item.reason if item.reason is not Reason.NONE else Reason.LOST
            yield _unjudged(detector, item.ref, reason, item.detail or reason.text)
            continue
        try:
            verdict = detector(item.data)
        except InputError as error:
            yield _unjudged(detector, item.ref, Reason.WRONG_INPUT, str(error), item.data)
        except JudgeError as error:
            if on_failure == "raise":
                raise JudgeError(f"{item.ref.key}: {error}") from error
            yield _unjudged(detector, item.ref, Reason.FAILED, str(error), item.data)
        else:
            detail = verdict.reason.text if verdict.status is Status.INVALID else ""
            yield JudgedItem(ref=item.ref, verdict=verdict, judged=True, detail=detail, data=item.data)


def _unjudged(detector: Detector, ref: Ref, reason: Reason, detail: str, data: Data | None = None) -> JudgedItem:
    verdict = invalid(reason, threshold=detector.threshold, model=detector.model.short_digest)
    return JudgedItem(ref=ref, verdict=verdict, judged=False, detail=detail, data=data)
