"""When a camera is opened again, and which of its frames are fresh: rules over numbers, without clock and without threads."""

from typing import Literal

import msgspec
from msgspec import Struct

DropReason = Literal["busy", "stale", "warming"]
"""Displaced by a newer frame; old when it came, or when it was asked for; one of the first after (re)connecting."""


class LiveRule(Struct, frozen=True, kw_only=True):
    """How a live source is handled."""

    read_timeout_s: float
    stale_after_s: float
    warm_frames: int
    """Frames left out after (re)connecting or a stall."""
    first_retry_s: float
    longest_retry_s: float


class Intake(Struct, frozen=True, kw_only=True):
    """What decides about the next frame and the next attempt."""

    attempts: int = 0
    """Openings since the last fresh frame: a camera that opens and dies at once is not asked faster and faster."""
    warm_left: int = 0


def opened(intake: Intake, rule: LiveRule) -> Intake:
    """After a successful opening."""
    return msgspec.structs.replace(intake, warm_left=rule.warm_frames)


def received(intake: Intake, took_s: float, rule: LiveRule) -> tuple[Intake, DropReason | None]:
    """After a frame: why it is dropped, or None where it is fresh.

    Args:
        intake: the state before.
        took_s: how long the reading call blocked.
        rule: the limits.
    """
    if took_s > rule.read_timeout_s / 2:
        # measured: on a stall decoders flush what they held, and those frames are as old as the stall
        return msgspec.structs.replace(intake, warm_left=rule.warm_frames), "stale"
    if intake.warm_left > 0:
        return msgspec.structs.replace(intake, warm_left=intake.warm_left - 1), "warming"
    return msgspec.structs.replace(intake, attempts=0), None


def lost(intake: Intake, rule: LiveRule) -> tuple[Intake, float]:
    """After a failed opening or reading: the seconds until the next opening, before `jitter`."""
    # the exponent is bounded: attempts go on for months
    wait_s = min(rule.longest_retry_s, rule.first_retry_s * 2.0 ** min(intake.attempts, 32))
    return Intake(attempts=intake.attempts + 1), wait_s


def jitter(wait_s: float, random_share: float) -> float:
    """Up to a quarter less, so that a hall of cameras behind one switch does not return in step."""
    return wait_s * (1.0 - 0.25 * random_share)
