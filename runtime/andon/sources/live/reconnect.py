"""Decide when to open a camera again, and which of its frames are fresh. The code needs no clock and no threads."""

from typing import Literal

import msgspec
from msgspec import Struct

DropReason = Literal["busy", "stale", "warming"]
"""Reason for dropping a frame.

``busy``: a newer frame replaced it. ``stale``: it was old when it arrived or when the consumer took it. ``warming``: it is one of
the first frames after (re)connecting.
"""


class LiveRule(Struct, frozen=True, kw_only=True):
    """Limits for handling a live source."""

    read_timeout_s: float
    stale_after_s: float
    warm_frames: int
    """Number of frames to drop after (re)connecting or a stall."""
    first_retry_s: float
    longest_retry_s: float


class Intake(Struct, frozen=True, kw_only=True):
    """The state that decides about the next frame and the next attempt to open the camera."""

    attempts: int = 0
    """Attempts since the last fresh frame. A camera that opens and fails at once still gets longer and longer waits."""
    warm_left: int = 0
    """Number of frames still to drop."""


def opened(intake: Intake, rule: LiveRule) -> Intake:
    """Return the state after the camera was opened."""
    return msgspec.structs.replace(intake, warm_left=rule.warm_frames)


def received(intake: Intake, took_s: float, rule: LiveRule) -> tuple[Intake, DropReason | None]:
    """Return the state after a frame, and the reason to drop the frame (None: it is fresh).

    Args:
        intake: the state before the frame.
        took_s: the time for which the read call blocked.
        rule: the limits.
    """
    if took_s > rule.read_timeout_s / 2:
        # measured: after a stall, decoders deliver the frames in their buffers, which are as old as the stall
        return msgspec.structs.replace(intake, warm_left=rule.warm_frames), "stale"
    if intake.warm_left > 0:
        return msgspec.structs.replace(intake, warm_left=intake.warm_left - 1), "warming"
    return msgspec.structs.replace(intake, attempts=0), None


def lost(intake: Intake, rule: LiveRule) -> tuple[Intake, float]:
    """Return the state after a failed open or read, and the seconds until the next attempt, before `jitter`."""
    # the exponent is bounded because attempts may go on for months
    wait_s = min(rule.longest_retry_s, rule.first_retry_s * 2.0 ** min(intake.attempts, 32))
    return Intake(attempts=intake.attempts + 1), wait_s


def jitter(wait_s: float, random_share: float) -> float:
    """Return a wait shortened by up to a quarter, so that many cameras behind one switch do not reconnect at the same time."""
    return wait_s * (1.0 - 0.25 * random_share)
