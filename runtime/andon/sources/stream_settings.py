"""Settings that several sources share. Each source has its own struct with only the settings that it uses.

How long a source may be silent is a setting of the source, not of the monitor. Only the source can define silence: no fresh
frame, no new point, or a folder that cannot be listed. Videos and logs are never silent. The monitor has its own watchdog outside
the reader of a live source. The watchdog uses the setting of the source, so that the two cannot disagree.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

StaleAfter = Annotated[
    float,
    Meta(gt=0.0, description="report INVALID (stale) after this long without anything new", extra={"unit": "s"}),
]

Speed = Literal["recorded", "max"]


class NoSettings(Struct, frozen=True, kw_only=True):
    """The settings of a source that has none."""


class ReplaySettings(Struct, frozen=True, kw_only=True):
    """Settings for replaying a recording."""

    speed: Annotated[Speed, Meta(description="replay at the recorded rate, or as fast as the monitor can judge")] = (
        "max"
    )
