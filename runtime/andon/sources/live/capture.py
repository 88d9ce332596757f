"""The interface between a live stream and the decoder of a camera."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct


class Grabbed(Struct, frozen=True):
    """One frame of a camera, as its decoder delivered it."""

    data: Any
    """The input of the stream's function `convert`: BGR ``[H, W, 3]``, a JPEG as bytes ``[1, n]``, or a decoder's own frame.

    None if the frame is so damaged that nothing was decoded.
    """
    source_s: float | None = None
    """The time stamp of the frame in seconds, on a clock of the source. None if the frame has none."""
    key: bool = True
    """True if the frame needs no earlier frame, or if the decoder does not know."""
    damage: str = ""
    """The damage that the decoder reports. Empty for a sound frame, and for a decoder that does not know."""
    skipped: int = 0
    """Number of frames that the camera delivered before this one, and that the capture did not pass on."""


class Quiet(Enum):
    """No frame has arrived within one call, but the camera is not lost."""

    OPENING = "opening"
    """The camera is still being opened."""
    SILENT = "silent"
    """Nothing is known about the reason."""
    WAITING = "waiting"
    """The camera has just shown that it works, and waits for a trigger. Silence is then normal."""


class Capture(Protocol):
    """An opened camera or stream, used by one thread."""

    def read(self) -> Grabbed | Quiet | None:
        """Return the next frame; None if the camera is lost. A capture that blocks only shortly returns `Quiet` in between.

        The data are not shared with later calls. Blocks for a bounded time.

        Raises:
            DataError: the camera is lost or could not be opened, and the message is the reason.
        """
        ...

    def close(self) -> None:
        """Release the device. Never raises."""
        ...


Opener = Callable[[], Capture | None]
"""A function that opens the camera at each call, within a bounded time.

It returns None, or raises `DataError` with the reason, if the camera cannot be opened now.
"""
