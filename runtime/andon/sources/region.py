"""Steps between a source and its judge: judge a part of each frame, or every n-th frame only.

A step is a stream over a stream. It passes `Lost` items on, and has the attribute `drops` of its source with its own drops added.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Reason
from andon.sources.collection import Stream

Place = Annotated[int, Meta(ge=0)]
Length = Annotated[int, Meta(ge=1)]


class Region(Struct, frozen=True, kw_only=True):
    """A rectangle in a frame, in pixels."""

    x: Annotated[Place, Meta(description="left edge", extra={"unit": "pixels"})]
    y: Annotated[Place, Meta(description="top edge", extra={"unit": "pixels"})]
    width: Annotated[Length, Meta(description="width", extra={"unit": "pixels"})]
    height: Annotated[Length, Meta(description="height", extra={"unit": "pixels"})]

    def __str__(self) -> str:
        """Return the size and the place, for messages."""
        return f"{self.width} x {self.height} at x = {self.x}, y = {self.y}"


def cropped(item: Item | Lost, region: Region) -> Item | Lost:
    """Return an item with the region of its frame only. The pixels are not copied.

    If the region is not inside the frame, or the item is no frame, the result is `Lost` (WRONG_INPUT).

    >>> import numpy as np
    >>> from andon.runtime.items import Ref
    >>> frame = Item(Ref(key="a"), np.zeros((480, 640, 3), np.uint8))
    >>> cropped(frame, Region(x=600, y=0, width=40, height=20)).data.shape
    (20, 40, 3)
    >>> cropped(frame, Region(x=601, y=0, width=40, height=20)).detail
    'the region 40 x 20 at x = 601, y = 0 is not inside the frame of 640 x 480 pixels (width x height)'
    """
    if isinstance(item, Lost):
        return item
    data = item.data
    if data.ndim != 3:
        return Lost(item.ref, Reason.WRONG_INPUT, "expected a frame to take a region of, got a window of sensor data")
    height, width = data.shape[:2]
    if region.x + region.width > width or region.y + region.height > height:
        return Lost(
            item.ref,
            Reason.WRONG_INPUT,
            f"the region {region} is not inside the frame of {width} x {height} pixels (width x height)",
        )
    return Item(item.ref, data[region.y : region.y + region.height, region.x : region.x + region.width])


class _Step:
    """A stream over a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> "_Step":
        return self

    def __next__(self) -> Item | Lost:
        raise NotImplementedError

    @property
    def drops(self) -> Mapping[str, int]:
        """Number of items that were detected but not given, by reason."""
        known: Mapping[str, int] | None = getattr(self._stream, "drops", None)
        if known is not None:
            return known
        dropped = int(getattr(self._stream, "dropped", 0))
        return {"source": dropped} if dropped else {}

    def close(self) -> None:
        """Close the stream below, if it can be closed."""
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class Cropped(_Step):
    """A stream with the region of each frame, see `cropped`."""

    def __init__(self, stream: Stream, region: Region) -> None:
        super().__init__(stream)
        self._region = region

    def __next__(self) -> Item | Lost:
        return cropped(next(self._stream), self._region)


class EveryNth(_Step):
    """A stream with the first of every n items. The others are counted as the drop ``skipped``.

    `Lost` items are all given, and not counted among the n: a silence or damage must be reported.

    Raises:
        ConfigError: n is below 1.
    """

    def __init__(self, stream: Stream, n: int) -> None:
        super().__init__(stream)
        if n < 1:
            raise ConfigError(f"every_nth: expected at least 1, got {n}.")
        self._n = n
        self._left = 0  # items to skip before the next one that is given
        self._skipped = 0

    def __next__(self) -> Item | Lost:
        for item in self._stream:
            if isinstance(item, Lost):
                return item
            if self._left == 0:
                self._left = self._n - 1
                return item
            self._left -= 1
            self._skipped += 1
        raise StopIteration

    @property
    def drops(self) -> Mapping[str, int]:
        """Number of items that were detected but not given, by reason."""
        return {**super().drops, "skipped": self._skipped}
