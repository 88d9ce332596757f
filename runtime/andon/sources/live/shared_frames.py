"""Memory that the monitor shares with the process of a camera.

The memory has no name, so nothing is left when the last of the two processes ends, however it ends.
"""

import contextlib
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.sources.live.capture_messages import SLOTS


def new_memory() -> int:
    """Return a file descriptor of new empty memory. Only a child process that gets it explicitly inherits it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("andon camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:  # it has no name either
        return os.dup(file.fileno())


def resize(memory: int, slot_bytes: int) -> None:
    """Set the size of the memory for ever: a read of memory that another process has removed would end this process."""
    import fcntl  # not on Windows

    os.ftruncate(memory, SLOTS * slot_bytes)
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):  # a temporary file has no seals
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


class SharedFrames:
    """The slots of the shared memory.

    Args:
        memory: file descriptor. It stays open and belongs to the caller.
        slot_bytes: size of a slot.
        write: True in the process that writes.
    """

    def __init__(self, memory: int, slot_bytes: int, *, write: bool) -> None:
        self._slot_bytes = slot_bytes
        self._map = mmap.mmap(memory, SLOTS * slot_bytes, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)

    def copy(self, slot: int, height: int, row_bytes: int) -> NDArray[np.uint8]:
        """Return a copy of the picture in a slot, ``[height, row_bytes]``."""
        return self._view(slot, height, row_bytes).copy()

    def put(self, slot: int, pixels: Any, height: int, row_bytes: int, padding: int) -> None:
        """Copy the rows of a picture to a slot, without their padding."""
        rows = np.frombuffer(pixels, np.uint8, height * (row_bytes + padding)).reshape(height, row_bytes + padding)
        self._view(slot, height, row_bytes)[:] = rows[:, :row_bytes]

    def close(self) -> None:
        """Unmap the memory."""
        self._map.close()

    def _view(self, slot: int, height: int, row_bytes: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._map, np.uint8, height * row_bytes, slot * self._slot_bytes).reshape(
            height, row_bytes
        )
