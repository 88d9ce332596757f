"""Convert frames with 16 bits per channel to grey levels from 0 to 255 and back, by the scale in a model file's card.

The graph of a model file has its own conversion, without rounding. The functions here are for pictures, for statistics of frames,
and for synthetic changes of frames. They return uint8 frames unchanged.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.runtime.schema import FrameSpec, InputSpec

HIGHEST_LEVEL = 65535
"""Highest level of a uint16 frame."""


def scale_of(spec: InputSpec | None) -> tuple[float, float]:
    """Return the raw levels of uint16 frames that become the grey levels 0 and 255: of the spec, or the whole range."""
    if isinstance(spec, FrameSpec) and spec.dtype == "uint16":
        return spec.black, spec.white
    return 0.0, float(HIGHEST_LEVEL)


def grey_levels(frame: NDArray[Any], spec: InputSpec | None) -> NDArray[np.uint8]:
    """Return a frame in grey levels, uint8 of the same shape. Levels outside the scale become 0 or 255.

    Args:
        frame: uint8 or uint16.
        spec: the input of the model file that judges the frame. It has the scale of uint16 frames. None, or a spec for uint8
            frames: 0 to 65535.
    """
    if frame.dtype == np.uint8:
        return np.asarray(frame, np.uint8)
    black, white = scale_of(spec)
    # a table is faster than arithmetic on the frame: it has 65 536 entries, a frame has millions of pixels
    every = (np.arange(HIGHEST_LEVEL + 1) - black) * (255.0 / (white - black))
    table: NDArray[np.uint8] = np.rint(every).clip(0, 255).astype(np.uint8)
    levels: NDArray[np.uint8] = table[frame.astype(np.uint16, copy=False)]
    return levels


def raw_levels(levels: NDArray[Any], spec: FrameSpec) -> NDArray[Any]:
    """Return grey levels from 0 to 255 as a raw frame of the type that the spec requires."""
    if spec.dtype == "uint8":
        shallow: NDArray[np.uint8] = np.rint(levels).clip(0, 255).astype(np.uint8)
        return shallow
    return _deep(levels, spec)


def changed_raw(
    frame: NDArray[Any], before: NDArray[np.uint8], after: NDArray[np.uint8], spec: InputSpec | None
) -> NDArray[Any]:
    """Return a raw frame with a change that was drawn in grey levels. Pixels that did not change keep all their bits.

    Args:
        frame: the raw frame.
        before: its grey levels, from `grey_levels`.
        after: the changed grey levels, of the same shape.
        spec: as for `grey_levels`.
    """
    if frame.dtype == np.uint8:
        return after
    return np.where(before == after, frame, _deep(after, spec))


def _deep(levels: NDArray[Any], spec: InputSpec | None) -> NDArray[np.uint16]:
    black, white = scale_of(spec)
    raw = black + levels.astype(np.float64) * ((white - black) / 255.0)
    deep: NDArray[np.uint16] = np.rint(raw).clip(0, HIGHEST_LEVEL).astype(np.uint16)
    return deep
