"""Settings that several sources share. A source has its own struct with the settings that it honours, and no others.

How long a source may be silent is a setting of the source, not of the monitor. Only the source knows what silence is (no fresh
frame, no new point, a folder that cannot be listed), and videos and logs have none. The monitor takes the same number for its own
watchdog outside the reader of a live source, so that the two cannot disagree.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

StaleAfter = Annotated[
    float,
    Meta(gt=0.0, description="without anything new for this long it is INVALID (stale)", extra={"unit": "s"}),
]

Speed = Literal["recorded", "max"]


class NoSettings(Struct, frozen=True, kw_only=True):
    """The settings of a source that has none."""


class ReplaySettings(Struct, frozen=True, kw_only=True):
    """How a recording is replayed."""

    speed: Annotated[Speed, Meta(description="replay at the recorded rate, or as fast as the monitor can judge")] = (
        "max"
    )
