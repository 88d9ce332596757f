"""Judge a rectangular part of each frame instead of the whole frame."""

from typing import Annotated

from msgspec import Meta, Struct

from andon.runtime.items import Item, Lost
from andon.runtime.schema import Reason

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

    If the region is not inside the frame, or the item is not a frame, the result is `Lost` (WRONG_INPUT).

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
