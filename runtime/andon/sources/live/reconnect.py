"""Decide when to open a camera again, and which of its frames are fresh. The code needs no clock and no threads."""

from typing import Literal

import msgspec
from msgspec import Struct

DropReason = Literal["busy", "stale", "warming"]
"""Reason for dropping a frame.

``busy``: a newer frame replaced it. ``stale``: it was old when it arrived or when the consumer took it. ``warming``: it is one of
the first frames after (re)connecting.
"""

Fate = DropReason | Literal["corrupt"]
"""Fate of a frame that is not fresh: it is dropped, or it is ``corrupt`` and becomes INVALID."""


class LiveRule(Struct, frozen=True, kw_only=True):
    """Limits for handling a live source."""

    read_timeout_s: float
    stale_after_s: float
    warm_frames: int
    """Number of frames to drop after (re)connecting or a stall."""
    first_retry_s: float
    longest_retry_s: float
    max_age_s: float = 1.0
    """Age on arrival above which a frame is dropped, for a source with time stamps."""


class Condition(Struct, frozen=True, kw_only=True):
    """The facts about a frame that decide about its use."""

    took_s: float
    """The time for which the read call blocked."""
    lag_s: float | None = None
    """The age of the frame on arrival, or None if its stamp is not usable."""
    key: bool = True
    """True if the frame needs no earlier frame."""
    corrupt: bool = False
    """True if the decoder reports damage."""


class Intake(Struct, frozen=True, kw_only=True):
    """The state that decides about the next frame and the next attempt to open the camera."""

    attempts: int = 0
    """Attempts since the last fresh frame. A camera that opens and fails at once still gets longer and longer waits."""
    warm_left: int = 0
    """Number of frames still to drop."""
    keyless: bool = False
    """True after (re)connecting until a key frame was decoded without damage. Frames before it can be grey or smeared."""
    damaged: bool = False
    """True from a damaged frame to the next key frame, because the frames between them are predicted from the damaged one."""


def opened(intake: Intake, rule: LiveRule) -> Intake:
    """Return the state after the camera was opened."""
    return msgspec.structs.replace(intake, warm_left=rule.warm_frames, keyless=True, damaged=False)


def received(intake: Intake, frame: Condition, rule: LiveRule) -> tuple[Intake, Fate | None]:
    """Return the state after a frame, and why it is not fresh (None: it is fresh).

    The first frames after (re)connecting are dropped: all before the first sound key frame, then `warm_frames`, of which the key
    frame is the first. Damage among these frames starts the rule again. Damage after them is not dropped, but INVALID.
    """
    sound_key = frame.key and not frame.corrupt
    warming = intake.keyless or intake.warm_left > 0
    intake = msgspec.structs.replace(
        intake,
        keyless=intake.keyless and not sound_key,
        damaged=frame.corrupt or (intake.damaged and not frame.key),
    )
    if intake.damaged and warming:
        return msgspec.structs.replace(intake, keyless=True, damaged=False, warm_left=rule.warm_frames), "warming"
    if frame.lag_s is None and frame.took_s > rule.read_timeout_s / 2:
        # measured: after a stall, decoders deliver the frames in their buffers, which are as old as the stall
        return msgspec.structs.replace(intake, warm_left=rule.warm_frames), "stale"
    if frame.lag_s is not None and frame.lag_s > rule.max_age_s:
        return intake, "stale"
    if warming and (intake.keyless or intake.warm_left > 0):
        return msgspec.structs.replace(intake, warm_left=intake.warm_left - (not intake.keyless)), "warming"
    if intake.damaged:
        return intake, "corrupt"
    return msgspec.structs.replace(intake, attempts=0), None


def lost(intake: Intake, rule: LiveRule) -> tuple[Intake, float]:
    """Return the state after a failed open or read, and the seconds until the next attempt, before `jitter`."""
    # the exponent is bounded because attempts may go on for months
    wait_s = min(rule.longest_retry_s, rule.first_retry_s * 2.0 ** min(intake.attempts, 32))
    return Intake(attempts=intake.attempts + 1), wait_s


def jitter(wait_s: float, random_share: float) -> float:
    """Return a wait shortened by up to a quarter, so that many cameras behind one switch do not reconnect at the same time."""
    return wait_s * (1.0 - 0.25 * random_share)
