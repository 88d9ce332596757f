"""The items of a source: frames, windows, and items that were lost."""

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.channel_samples import ChannelSamples
from andon.runtime.schema import Reason

Data = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


class Ref(Struct, frozen=True, kw_only=True):
    """Identity of an item."""

    key: str
    """Stable name, relative to the opened source: ``good/012.png``, ``line.mp4#120``."""
    part: str = ""
    """Name of the physical part, which several frames may show. Defaults to the key."""
    group: str = ""
    """Lot, file or day. Data are split by group. Defaults to the part."""
    time_s: float | None = None
    """Time in the source, in seconds."""

    def __post_init__(self) -> None:
        if not self.part:
            msgspec.structs.force_setattr(self, "part", self.key)
        if not self.group:
            msgspec.structs.force_setattr(self, "group", self.part)


class Item(Struct, frozen=True):
    """One frame or one window.

    A frame is uint8 or uint16 ``[H, W, C]``, RGB for C = 3 and grey for C = 1. A window is float32 ``[T, C]`` in sensor units.
    """

    ref: Ref
    data: Data
    samples: ChannelSamples | None = None
    """Facts about the samples behind a window. None for a frame, and for a window that did not come from samples."""


class Lost(Struct, frozen=True):
    """An item that the source detected but could not read. It becomes INVALID with this reason and is never ignored."""

    ref: Ref
    reason: Reason
    detail: str = ""
    """Detailed description of the failure, for readers and log files."""
    channel: str = ""
    """Sensor channel to look at first, if one channel is the cause."""
    samples: ChannelSamples | None = None
    """As for `Item`."""
