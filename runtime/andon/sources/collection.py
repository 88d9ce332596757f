"""The results of sources: collections and streams of items. Labels and masks are in `truth.py`."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Channel


class FoundFrames(Struct, frozen=True, kw_only=True, tag="frames"):
    """A description of a collection of frames, read from their headers."""

    channels: int
    """1 if every picture is grey, else 3."""
    frame_size: tuple[int, int] | None
    """Height and width if all frames have the same size, else None."""
    largest: tuple[int, int]
    sizes: tuple[tuple[tuple[int, int], int], ...] = ()
    """Each size (height, width) with its number of frames, the most frequent first; empty if there is only one size."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Type of the frames. A collection has frames of one type only."""


class FoundLogs(Struct, frozen=True, kw_only=True, tag="logs"):
    """A description of a collection of sensor logs."""

    channels: tuple[Channel, ...]
    period_s: float
    """Median distance between rows, in seconds."""
    runs: int
    """Number of separate recordings."""
    rows: int
    channel_periods_s: tuple[float | None, ...] = ()
    """Median distance between the samples of each channel, in seconds. Empty if every row has a sample of every channel."""
    grid_period_s: float | None = None
    """Distance of the points to use instead of `period_s`, in seconds. None: `period_s`."""


Found = FoundFrames | FoundLogs


class Collection(Protocol):
    """A finite set of items with random access: a folder, a log cut into windows, a simulation."""

    @property
    def found(self) -> Found:
        """A description of the data."""
        ...

    @property
    def refs(self) -> Sequence[Ref]:
        """All items, in a stable order."""
        ...

    def read(self, ref: Ref) -> Item | Lost:
        """Return one item, decoded. Never raises for a damaged item."""
        ...


Stream = Iterator[Item | Lost]
