"""What a detector judges: frames and windows that are there, and those that are lost."""

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.schema import Reason

Data = NDArray[np.uint8] | NDArray[np.float32]


class Ref(Struct, frozen=True, kw_only=True):
    """Who an item is."""

    key: str
    """Stable and relative to what was opened: ``good/012.png``, ``line.mp4#120``."""
    part: str = ""
    """The physical thing; several frames may share it. Empty: the key."""
    group: str = ""
    """Lot, file or day: the unit of splitting. Empty: the part."""
    time_s: float | None = None
    """Source time in seconds."""

    def __post_init__(self) -> None:
        if not self.part:
            msgspec.structs.force_setattr(self, "part", self.key)
        if not self.group:
            msgspec.structs.force_setattr(self, "group", self.part)


class Item(Struct, frozen=True):
    """One frame, uint8 ``[H, W, C]`` (C = 3: RGB, or 1: grey), or one window, float32 ``[T, C]`` in sensor units."""

    ref: Ref
    data: Data


class Lost(Struct, frozen=True):
    """Seen but not readable: becomes INVALID with this reason, never silence."""

    ref: Ref
    reason: Reason
    detail: str = ""
    """For people and logs: what exactly failed."""
