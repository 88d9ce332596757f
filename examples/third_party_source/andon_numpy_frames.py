"""Frames from one file that ``numpy.save`` wrote: uint8 ``[N, H, W, 3]`` (RGB) or ``[N, H, W]`` (grey).

The file is mapped into memory, so that it may be larger than the memory.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.clock import Clock, pause
from andon.sources.collection import FoundFrames
from andon.sources.source import Source


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `stream`. They become flags of ``andon monitor``."""

    rate_hz: Annotated[
        float, Meta(ge=0.0, description="frames per second; 0: as fast as the monitor can judge", extra={"unit": "Hz"})
    ] = 0.0


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


def stream(
    text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event
) -> Iterator[Item | Lost]:
    """Yield the frames in order, at the wanted rate.

    Raises:
        DataError: as `collect`.
        ConfigError: the model file judges windows.
    """
    if not isinstance(spec, FrameSpec):
        raise ConfigError(f"{text}: expected a model file for frames, got one for sensor windows.")
    return _frames(collect(text), settings, clock, stop)


def _frames(frames: NumpyFrames, settings: Settings, clock: Clock, stop: threading.Event) -> Iterator[Item | Lost]:
    start_s = clock.mono_s()
    for number, ref in enumerate(frames.refs):
        if settings.rate_hz:
            pause(clock, start_s + number / settings.rate_hz - clock.mono_s(), stop.is_set)
        if stop.is_set():
            return
        yield frames.read(ref)


SOURCE = Source(
    name="numpy_frames",
    summary="a .npy file of frames, uint8 [N, H, W, 3] or [N, H, W]",
    accepts=lambda text: text.endswith(".npy") and Path(text).is_file(),
    collect=collect,
    settings=Settings,
    stream=stream,
)
