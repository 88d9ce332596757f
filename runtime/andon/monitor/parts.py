"""Decide about parts that are seen in several frames, one decision for each trigger and not later than its deadline.

A part begins with its trigger. Its decision is the worst status of its frames (`andon.runtime.verdict.part_status`). A frame that
is missing at the deadline makes the part INVALID, unless another frame is REJECT. Decisions come in the order of the triggers.
The only exception is a part that comes while too many parts are open: it is INVALID at once.

The functions have no clock and no timers. The caller calls `tick` often enough, for example every millisecond near a deadline.
Times are monotonic seconds. The state is plain data for JSON.
"""

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from andon.foundation.errors import ConfigError
from andon.runtime.schema import Reason, Status, json_number
from andon.runtime.verdict import Verdict, part_status

REMEMBERED = 64
"""Number of decided parts whose later frames are recognised as late."""

Action = Literal["pass", "reject", "stop"]
Problem = Literal["", "deadline", "no_frame", "overrun"]
"""Reason why frames are missing.

``deadline``: some frames of the part were not judged in time. ``no_frame``: none arrived. ``overrun``: the trigger arrived
while `PartRule.max_open` parts were open.
"""


class PartRule(Struct, frozen=True, kw_only=True):
    """The settings.

    Raises:
        ConfigError: a number is out of range.
    """

    frames: Annotated[int, Meta(ge=1)] = 1
    """Frames of a part."""
    deadline_s: Annotated[float, Meta(gt=0.0)]
    """Longest time from the trigger to the decision."""
    guard_s: Annotated[float, Meta(ge=0.0)] = 0.005
    """Time before the deadline at which the decision is made, so that it arrives in time."""
    max_open: Annotated[int, Meta(ge=1)] = 4
    """Largest number of parts without a decision. See `parts_in_flight`."""
    on_invalid: Action = "reject"
    """Action for an INVALID part. A part that was not inspected completely is not passed by default."""
    on_review: Action = "pass"
    max_invalid: Annotated[int, Meta(ge=1)] = 5
    """Number of INVALID decisions in a row that make the line unhealthy."""

    def __post_init__(self) -> None:
        for name, number in (("frames", self.frames), ("max_open", self.max_open), ("max_invalid", self.max_invalid)):
            if number < 1:
                raise ConfigError(f"parts: expected {name} of at least 1, got {number}.")
        if not 0.0 <= self.guard_s < self.deadline_s < math.inf:
            raise ConfigError(
                f"parts: expected 0 <= guard_s < deadline_s, got guard_s = {self.guard_s:g}, deadline_s = {self.deadline_s:g}."
            )


class JudgedFrame(Struct, frozen=True, kw_only=True):
    """The verdict of one frame of an open part."""

    status: Status
    reason: Reason = Reason.NONE
    score: float | None = None
    """None if nothing was judged."""


class OpenPart(Struct, frozen=True, kw_only=True):
    """A part without a decision."""

    part: str
    triggered_s: float
    arrived: int = 0
    """Number of frames that arrived. Some of them may not be judged yet."""
    frames: tuple[JudgedFrame, ...] = ()


class PastPart(Struct, frozen=True, kw_only=True):
    """A decided part, and the number of its frames that were missing and may still arrive."""

    part: str
    missing: int


class PartDecision(Struct, frozen=True, kw_only=True):
    """The decision about a part."""

    part: str
    status: Status
    reason: Reason = Reason.NONE
    """Reason of an INVALID part: that of its first INVALID frame. `Reason.LOST` if the part has only missing frames."""
    problem: Problem = ""
    """Reason why frames are missing. Empty if none is. A REJECT part can have missing frames, too."""
    missing: int = 0
    """Number of missing frames."""
    score: float | None = None
    """Highest score of the frames. None if no frame was judged."""
    action: Action
    triggered_s: float
    """Monotonic time of the trigger, in seconds."""
    at_s: float
    """Monotonic time of the decision, in seconds."""


class PartsState(Struct, frozen=True, kw_only=True):
    """The open parts of a line, and counters."""

    open: tuple[OpenPart, ...] = ()
    """Parts without a decision, in the order of their triggers."""
    past: tuple[PastPart, ...] = ()
    """The last `REMEMBERED` decided parts, oldest first."""
    decided: int = 0
    late: int = 0
    """Number of frames that arrived after the decision about their part. They never change it."""
    surplus: int = 0
    """Number of frames beyond those that a part should have. They count for a part that is still open."""
    untriggered: int = 0
    """Number of frames of parts without a known trigger."""
    repeated: int = 0
    """Number of triggers for a part that already had one. They are ignored."""
    skipped: int = 0
    """Number of triggers that are missing in the numbers of the triggers."""
    number: int | None = None
    """Number of the last trigger that had one."""
    invalid_in_a_row: int = 0
    now_s: float = 0.0
    """Latest time that was given. An earlier time is treated as this time."""


Decisions = tuple[PartDecision, ...]


def trigger(
    state: PartsState, part: str, now_s: float, rule: PartRule, *, number: int | None = None
) -> tuple[PartsState, Decisions]:
    """Return the state after the trigger of a part, and the decisions that became due.

    Args:
        state: the state before.
        part: name of the part, as its frames have it (`andon.runtime.items.Ref.part`).
        now_s: monotonic time at which the trigger arrived.
        rule: the settings.
        number: number of the trigger, if the controller counts them. A smaller number than the last one is a new start.
    """
    state, due = tick(state, now_s, rule)
    if number is not None:
        missed = max(0, number - state.number - 1) if state.number is not None else 0
        state = structs.replace(state, number=number, skipped=state.skipped + missed)
    if part in {known.part for known in state.open} | {known.part for known in state.past}:
        return structs.replace(state, repeated=state.repeated + 1), due
    opened = OpenPart(part=part, triggered_s=state.now_s)
    if len(state.open) >= rule.max_open:
        state, decision = _decide(state, opened, rule, "overrun")
        return state, (*due, decision)
    return structs.replace(state, open=(*state.open, opened)), due


def arrival(state: PartsState, part: str) -> PartsState:
    """Return the state after the arrival of a frame that is not judged yet. A part with such a frame does not lack a frame."""
    return structs.replace(
        state,
        open=tuple(
            structs.replace(known, arrived=known.arrived + 1) if known.part == part else known for known in state.open
        ),
    )


def frame(state: PartsState, part: str, verdict: Verdict, now_s: float, rule: PartRule) -> tuple[PartsState, Decisions]:
    """Return the state after the verdict of one frame, and the decisions that became due.

    A frame that arrives at the time of the decision or later is late.

    Args:
        state: the state before.
        part: name of the part that the frame shows.
        verdict: verdict of the frame.
        now_s: monotonic time at which the verdict was known.
        rule: the settings.
    """
    state, due = tick(state, now_s, rule)
    for place, known in enumerate(state.open):
        if known.part == part:
            judged = JudgedFrame(status=verdict.status, reason=verdict.reason, score=json_number(verdict.score))
            added = structs.replace(known, frames=(*known.frames, judged))
            state = structs.replace(
                state,
                open=(*state.open[:place], added, *state.open[place + 1 :]),
                surplus=state.surplus + (len(added.frames) > rule.frames),
            )
            state, more = tick(state, now_s, rule)
            return state, (*due, *more)
    for place, decided in enumerate(state.past):
        if decided.part == part:
            if not decided.missing:
                return structs.replace(state, surplus=state.surplus + 1), due
            one_less = structs.replace(decided, missing=decided.missing - 1)
            past = (*state.past[:place], one_less, *state.past[place + 1 :])
            return structs.replace(state, past=past, late=state.late + 1), due
    return structs.replace(state, untriggered=state.untriggered + 1), due


def tick(state: PartsState, now_s: float, rule: PartRule) -> tuple[PartsState, Decisions]:
    """Return the state at a time, and the decisions that are due: complete parts, and parts at their deadline.

    Raises:
        ValueError: the time is not finite.
    """
    if not math.isfinite(now_s):
        raise ValueError(f"now_s: expected finite monotonic seconds, got {now_s}.")
    state = structs.replace(state, now_s=max(now_s, state.now_s))
    decisions = []
    while state.open:
        first = state.open[0]
        complete = len(first.frames) >= rule.frames
        if not complete and state.now_s < due_s(first, rule):
            break
        state = structs.replace(state, open=state.open[1:])
        state, decision = _decide(state, first, rule, _problem(first))
        decisions.append(decision)
    return state, tuple(decisions)


def end(state: PartsState, now_s: float, rule: PartRule) -> tuple[PartsState, Decisions]:
    """Return the state after the end of the line, and the decisions about all parts that are still open.

    Raises:
        ValueError: see `tick`.
    """
    state, due = tick(state, now_s, rule)
    decisions = list(due)
    while state.open:
        first, state = state.open[0], structs.replace(state, open=state.open[1:])
        state, decision = _decide(state, first, rule, _problem(first))
        decisions.append(decision)
    return state, tuple(decisions)


def due_s(part: OpenPart, rule: PartRule) -> float:
    """Return the time at which an open part is decided even if frames are missing."""
    return part.triggered_s + rule.deadline_s - rule.guard_s


def unhealthy(state: PartsState, rule: PartRule) -> bool:
    """Return whether the last `PartRule.max_invalid` decisions were INVALID, so that the line needs attention."""
    return state.invalid_in_a_row >= rule.max_invalid


def parts_in_flight(max_rate_hz: float, deadline_s: float) -> int:
    """Return the largest number of parts that are open at once at this rate: a value for `PartRule.max_open`.

    >>> parts_in_flight(max_rate_hz=10.0, deadline_s=0.25)
    4
    """
    return math.ceil(max_rate_hz * deadline_s) + 1


def _problem(part: OpenPart) -> Problem:
    return "deadline" if part.frames or part.arrived else "no_frame"


def _decide(state: PartsState, part: OpenPart, rule: PartRule, problem: Problem) -> tuple[PartsState, PartDecision]:
    missing = max(0, rule.frames - len(part.frames))
    statuses = [judged.status for judged in part.frames] + [Status.INVALID] * (missing > 0)
    status = part_status(statuses)
    reasons = [judged.reason for judged in part.frames if judged.status is Status.INVALID]
    decision = PartDecision(
        part=part.part,
        status=status,
        reason=next(iter(reasons), Reason.LOST) if status is Status.INVALID else Reason.NONE,
        problem=problem if missing else "",
        missing=missing,
        score=max((judged.score for judged in part.frames if judged.score is not None), default=None),
        action=_action(status, rule),
        triggered_s=part.triggered_s,
        at_s=state.now_s,
    )
    state = structs.replace(
        state,
        past=(*state.past, PastPart(part=part.part, missing=missing))[-REMEMBERED:],
        decided=state.decided + 1,
        invalid_in_a_row=state.invalid_in_a_row + 1 if status is Status.INVALID else 0,
    )
    return state, decision


def _action(status: Status, rule: PartRule) -> Action:
    match status:
        case Status.OK:
            return "pass"
        case Status.REVIEW:
            return rule.on_review
        case Status.INVALID:
            return rule.on_invalid
        case Status.REJECT:
            return "reject"
