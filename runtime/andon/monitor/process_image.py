"""The state and the last result of a line as a controller reads them (its process image), as plain data.

Pure functions advance the image: by a result, by the state of the line, and when a result could not be written in time.
"""

import math
from enum import IntEnum

from msgspec import Struct, structs

from andon.foundation.printable import printable
from andon.monitor.health import readiness
from andon.monitor.judging import Outcome
from andon.monitor.part_decisions import SOURCE_REPORTS
from andon.monitor.parts import PartDecision
from andon.monitor.status import LineState, LineStatus, ProcessStatus
from andon.runtime.schema import Status

LATE = "late"
"""Code of the reason if a result may have reached the controller in parts only, and is too old to be written again."""
LONGEST_TEXT = 200
"""Longest name of a part, in characters. A controller has a fixed size for it."""


class ResultCode(IntEnum):
    """The result of a part or item, as a number for all controllers. 1 is the only good one."""

    NONE = 0
    """Nothing was judged since the start."""
    OK = 1
    REJECT = 2
    INVALID = 3
    REVIEW = 4


class ProcessImage(Struct, frozen=True, kw_only=True):
    """The content that a controller reads about one line. Counters count since the start of the monitor and never go back."""

    line: str
    """Name of the line."""
    ready: bool = False
    """True if the line would judge a part that arrived now. It is False at the start, at the end, and in every failure."""
    state: LineState = "starting"
    heartbeat: int = 0
    """Number that grows with each write. A controller that sees the same number for 3 s must treat the line as not ready."""
    result: ResultCode = ResultCode.NONE
    number: int = 0
    """Number of the result: 1 for the first one. A controller that sees a number skipped has missed a result."""
    part: str = ""
    """Name of the part, or of the item on a line without parts."""
    score: float | None = None
    """None if the part was not judged."""
    threshold: float | None = None
    reason: str = ""
    """Code of the reason of an INVALID result. `LATE`: the result may or may not have reached the controller."""
    judged_wall_s: float | None = None
    """Wall time of the decision, in seconds since 1970."""
    model: str = ""
    """Short digest of the model file."""
    ok: int = 0
    review: int = 0
    reject: int = 0
    invalid: int = 0
    alarms: int = 0
    """Number of active alarms of the line."""

    @property
    def total(self) -> int:
        """Number of results. It is larger than `number` after results that were too old to be written."""
        return self.ok + self.review + self.reject + self.invalid


class LineResult(Struct, frozen=True, kw_only=True):
    """One result of a line: the decision about a part, or the outcome of an item on a line without parts."""

    result: ResultCode
    part: str
    score: float | None = None
    threshold: float | None = None
    reason: str = ""
    judged_wall_s: float
    model: str = ""
    at_s: float
    """Monotonic time of the decision, for its age."""


def result_of_outcome(outcome: Outcome, now_s: float) -> LineResult | None:
    """Return the result of an item. None if the outcome is a report about the source and shows no part."""
    verdict = outcome.verdict
    if verdict.reason in SOURCE_REPORTS:
        return None
    return LineResult(
        result=_CODES[verdict.status],
        part=printable(outcome.ref.key, limit=LONGEST_TEXT),
        score=_finite(verdict.score),
        threshold=_finite(verdict.threshold),
        reason=verdict.reason.code,
        judged_wall_s=outcome.wall_s,
        model=verdict.model,
        at_s=now_s,
    )


def result_of_part(decision: PartDecision, outcome: Outcome, wall_s: float) -> LineResult:
    """Return the result of a part.

    Args:
        decision: the decision.
        outcome: the outcome of its worst frame.
        wall_s: wall time of the decision.
    """
    return LineResult(
        result=_CODES[decision.status],
        part=printable(decision.part, limit=LONGEST_TEXT),
        score=_finite(decision.score),
        threshold=_finite(outcome.verdict.threshold),
        reason=decision.reason.code,
        judged_wall_s=wall_s,
        model=outcome.verdict.model,
        at_s=decision.at_s,
    )


def after_result(image: ProcessImage, result: LineResult) -> ProcessImage:
    """Return the image after one more result: the next number, its data, and one more in its counter."""
    counter = result.result.name.lower()
    return structs.replace(
        image,
        result=result.result,
        number=image.number + 1,
        part=result.part,
        score=result.score,
        threshold=result.threshold,
        reason=result.reason,
        judged_wall_s=result.judged_wall_s,
        model=result.model,
        **{counter: getattr(image, counter) + 1},
    )


def with_counters(image: ProcessImage, newer: ProcessImage) -> ProcessImage:
    """Return an image with the result of the first and the counters of the second image."""
    return structs.replace(image, ok=newer.ok, review=newer.review, reject=newer.reject, invalid=newer.invalid)


def in_doubt(image: ProcessImage) -> ProcessImage:
    """Return the image to write after a result that the controller has not confirmed became too old to be written again.

    The number stays, because the controller may have it. A lower number would look like a new result. The result is INVALID,
    because an old verdict must never look like a new one.
    """
    return structs.replace(image, result=ResultCode.INVALID, score=None, reason=LATE)


def with_state(image: ProcessImage, status: ProcessStatus, *, heartbeat: int) -> ProcessImage:
    """Return an image with the state of its line at this moment. An unknown line is starting and not ready."""
    line = next((line for line in status.lines if line.name == image.line), None)
    if line is None:
        return structs.replace(image, ready=False, heartbeat=heartbeat)
    return structs.replace(
        image,
        ready=line_ready(line, status),
        state=line.state,
        heartbeat=heartbeat,
        model=image.model if image.number else line.model,
        alarms=sum(alarm.active for alarm in line.alarms.values()),
    )


def line_ready(line: LineStatus, status: ProcessStatus) -> bool:
    """Return whether a line would judge a part that arrived now.

    It is never True while the same line alone would make ``/readyz`` negative. In addition, the line must run, and its source
    must not have reported a silence, a gap or a warm-up last. The event store does not count, because judging does not depend on
    it. A refused model file does not count, because the old one judges.
    """
    alone = structs.replace(status, lines=(line,), store=None)
    return line.state == "running" and not line.source_report and readiness(alone).ok


_CODES = {
    Status.OK: ResultCode.OK,
    Status.REVIEW: ResultCode.REVIEW,
    Status.REJECT: ResultCode.REJECT,
    Status.INVALID: ResultCode.INVALID,
}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
