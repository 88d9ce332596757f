"""What sources give: collections and streams of items. Labels and masks are elsewhere (`truth.py`)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Channel


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
