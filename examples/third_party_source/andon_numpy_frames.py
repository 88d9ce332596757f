"""Frames from one file that ``numpy.save`` wrote: uint8 ``[N, H, W, 3]`` (RGB) or ``[N, H, W]`` (grey).

The file is mapped into memory, so that it may be larger than the memory.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.sources.items import FoundFrames, Item, Lost, Ref
from andon.sources.source import Source


class NumpyFrames:
    """A collection of the frames of one array."""

    def __init__(self, frames: NDArray[np.uint8], name: str) -> None:
        count, height, width, channels = frames.shape
        self._frames = frames
        self.found = FoundFrames(channels=channels, frame_size=(height, width), largest=(height, width))
        self.refs: Sequence[Ref] = [Ref(key=f"{name}#{number}") for number in range(count)]

    def read(self, ref: Ref) -> Item | Lost:
        """Return a copy of one frame."""
        return Item(ref, np.array(self._frames[int(ref.key.rpartition("#")[2])]))


def collect(text: str) -> NumpyFrames:
    """Open the array.

    Raises:
        DataError: the file is not a NumPy array of frames.
    """
    try:
        frames = np.load(text, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{text}: expected an array that numpy.save wrote, got another file. ({error})") from error
    if frames.ndim == 3:
        frames = frames[..., np.newaxis]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] not in (1, 3):
        raise DataError(f"{text}: expected uint8 [N, H, W, 3] or [N, H, W], got {frames.dtype} {list(frames.shape)}.")
    return NumpyFrames(frames, Path(text).name)


SOURCE = Source(
    name="numpy_frames",
    summary="a .npy file of frames, uint8 [N, H, W, 3] or [N, H, W]",
    accepts=lambda text: text.endswith(".npy") and Path(text).is_file(),
    collect=collect,
)
