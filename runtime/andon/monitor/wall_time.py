"""Follow the wall clock of the machine and detect its steps. Decisions use the monotonic clock, so a step disturbs nothing."""

from msgspec import Struct

STEP_S = 0.5
"""Difference between both clocks, since the last look, from which on the wall clock has stepped. Smaller ones are followed."""


class WallTime(Struct, frozen=True, kw_only=True):
    """The relation between both clocks."""

    mono_s: float
    wall_s: float
    epoch: int = 0
    """Number of steps so far."""


def look(before: WallTime, mono_s: float, wall_s: float) -> tuple[WallTime, float]:
    """Return the relation now, and the step since the last look in seconds. 0 means no step.

    >>> look(WallTime(mono_s=10.0, wall_s=1000.0), 11.0, 4601.0)[1]
    3600.0
    """
    delta_s = (wall_s - before.wall_s) - (mono_s - before.mono_s)
    stepped = abs(delta_s) > STEP_S
    return WallTime(mono_s=mono_s, wall_s=wall_s, epoch=before.epoch + stepped), delta_s if stepped else 0.0
