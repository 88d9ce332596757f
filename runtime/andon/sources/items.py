"""What sources give: items that are there, items that are lost, and who they are. Labels and masks are elsewhere (`truth.py`)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.schema import Channel, Reason

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


class FoundFrames(Struct, frozen=True, kw_only=True, tag="frames"):
    """What a collection of frames is, from its headers."""

    channels: int
    """1 where every picture is grey, else 3."""
    frame_size: tuple[int, int] | None
    """Height and width where all frames share them."""
    largest: tuple[int, int]
    sizes: tuple[tuple[tuple[int, int], int], ...] = ()
    """Where frames have several sizes: each size, height and width, with its number of frames, the most frequent first."""


class FoundLogs(Struct, frozen=True, kw_only=True, tag="logs"):
    """What a collection of sensor logs is."""

    channels: tuple[Channel, ...]
    period_s: float
    """Median distance of rows."""
    runs: int
    """Separate recordings."""
    rows: int


Found = FoundFrames | FoundLogs


class Collection(Protocol):
    """Finite, with random access: a folder, a log cut into windows, a simulation."""

    @property
    def found(self) -> Found:
        """What the data are."""
        ...

    @property
    def refs(self) -> Sequence[Ref]:
        """All items, in a stable order."""
        ...

    def read(self, ref: Ref) -> Item | Lost:
        """One item, decoded. Never raises for a damaged item."""
        ...


Stream = Iterator[Item | Lost]
