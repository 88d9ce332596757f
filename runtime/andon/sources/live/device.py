"""The interface between the process of a camera and the software of its vendor."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Buffer(NamedTuple):
    """One buffer of the vendor's software. It must be released, because the software has few of them."""

    release: Callable[[], None]
    """Give the buffer back."""
    damage: str = ""
    """The reason if the buffer is incomplete, else empty. If there is one, the other fields have no meaning."""
    pixels: Any = None
    """An array of bytes with all rows, one after the other."""
    width: int = 0
    """Width in pixels."""
    height: int = 0
    """Height in rows."""
    padding: int = 0
    """Number of bytes after each row that do not belong to the picture."""
    code: int = 0
    """Number of the pixel format in PFNC."""
    stamp_ns: int | None = None
    """Time of the camera's own clock, if it has one. Other units than nanoseconds are noticed by `trusted_stamps`."""


class Device(Protocol):
    """An opened camera that sends frames. Used by one thread."""

    @property
    def most_bytes(self) -> int:
        """Number of bytes of the largest picture with the present settings, without padding."""
        ...

    def grab(self, timeout_s: float) -> Buffer | None:
        """Return the next buffer, or None if none arrives within the timeout.

        Raises:
            DataError: the camera is lost.
        """
        ...

    def check(self) -> None:
        """Ask the camera itself for a sign of life, not only its software.

        Raises:
            DataError: the camera is lost.
        """
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


OpenDevice = Callable[[str, Any], Device]
"""A function that opens a camera and starts its frames.

Its arguments are the camera that the user chose, and the settings as JSON types. It raises `DataError` if the camera cannot be
opened now.
"""
