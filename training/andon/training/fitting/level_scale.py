"""Choose the scale of frames with more than 8 bits: which raw levels become the grey levels 0 and 255.

A file does not contain how many bits the camera has, or which level is black. A thermal camera may use 28 000 to 31 000 of 65 536
levels. So the scale comes from the good training parts. Where these fill the range of a camera well, the range
itself is the scale, so that the pictures look as from a camera with 8 bits.
"""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.runtime.grey_levels import HIGHEST_LEVEL
from andon.runtime.items import Data, Item, Ref
from andon.runtime.mask_pixels import judged_pixels
from andon.runtime.schema import FrameSpec
from andon.sources.collection import Collection

logger = logging.getLogger(__name__)

MOST_FRAMES = 200
"""Largest number of training parts that are measured, evenly spread."""
MOST_PIXELS = 65_536
"""Pixels per frame that count, about. They lie on a regular grid."""
OUTLIERS = 0.001
"""Share of the pixels that may be darker, and share that may be brighter, than the levels that parts normally have."""
CAMERA_BITS = (10, 12, 14, 16)
FILLED = 0.25
"""Smallest share of a camera's range that parts must fill for the range to be the scale."""
MARGIN = 0.1
"""Range kept free below and above the levels of good parts, in units of their range. A defect may be darker or brighter."""
LEAST_WIDTH = 255.0
"""Smallest distance from black to white in raw levels. Less would turn noise into contrast."""


def scaled(spec: FrameSpec, collection: Collection, train: Sequence[Ref]) -> FrameSpec:
    """Return the spec of uint16 frames with the scale of these training parts. Log the scale.

    Raises:
        DataError: no part is a readable uint16 frame.
    """
    step = max(1.0, len(train) / MOST_FRAMES)
    items = (collection.read(train[int(place * step)]) for place in range(min(len(train), MOST_FRAMES)))
    numbers = level_counts((item.data for item in items if isinstance(item, Item)), judged_pixels(spec))
    if not numbers.any():
        raise DataError("training set: expected readable uint16 frames, got none. Check the files.")
    black, white = level_scale(numbers)
    logger.info("levels: uint16 frames, %g becomes grey level 0 and %g becomes 255", black, white)
    return replace(spec, dtype="uint16", black=black, white=white)


def level_counts(frames: Iterable[Data], judged: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return how often each level from 0 to 65535 occurs in the uint16 frames, on a grid of pixels.

    Args:
        frames: the frames; those of another type are left out.
        judged: the pixels that count, ``[H, W]``. Frames of another size are left out. None: all pixels.
    """
    numbers = np.zeros(HIGHEST_LEVEL + 1, np.int64)
    for frame in frames:
        if frame.dtype == np.uint16 and (judged is None or judged.shape == frame.shape[:2]):
            count = frame.shape[0] * frame.shape[1] if judged is None else np.count_nonzero(judged)
            step = max(1, int((count / MOST_PIXELS) ** 0.5))
            pixels = frame[::step, ::step]
            levels = pixels.ravel() if judged is None else pixels[judged[::step, ::step]].ravel()
            numbers += np.bincount(levels, minlength=len(numbers))
    return numbers


def level_scale(numbers: NDArray[np.int64]) -> tuple[float, float]:
    """Return the raw levels that become the grey levels 0 and 255.

    Args:
        numbers: how often each level occurs in good parts, from `level_counts`; at least one is above 0.
    """
    share = np.cumsum(numbers) / numbers.sum()
    low, high = float(np.searchsorted(share, OUTLIERS)), float(np.searchsorted(share, 1 - OUTLIERS))
    largest = int(np.flatnonzero(numbers)[-1])
    full = float(2 ** next(bits for bits in CAMERA_BITS if largest < 2**bits) - 1)
    if high - low >= FILLED * full:
        return 0.0, full
    half = max((0.5 + MARGIN) * (high - low), LEAST_WIDTH / 2)
    middle = min(max((low + high) / 2, half), HIGHEST_LEVEL - half)
    return float(round(middle - half)), float(round(middle + half))
