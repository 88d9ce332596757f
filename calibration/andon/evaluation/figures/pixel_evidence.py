"""Anomaly maps with the masks of defects, as pixel figures need them: of the same size, and thinned if there are many."""

from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.crop import WHOLE, Crop, window
from andon.runtime.heat_map import enlarge

_Value = TypeVar("_Value", bound=np.generic)

MAX_PIXELS = 30_000_000
"""Pixel metrics sort all pixels of all pictures; beyond so many, masks are thinned by a whole number, which is reported."""


class PixelEvidence(Struct):
    """Anomaly maps and masks of the same size, picture by picture."""

    expected: int = 1
    """So many pictures are to come, as far as is known: the first of them chooses the step."""
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    parts: list[str] = []
    """The physical part in each."""
    step: int = 0
    """Every step-th pixel of the masks was kept."""
    seen: int = 0
    """Pixels of all masks, before they were thinned."""
    unmasked: int = 0
    """Defective pictures that had a map but no mask."""

    def add(
        self,
        anomaly_map: NDArray[np.float32],
        mask: NDArray[np.bool_],
        part: str,
        crop: Crop | None,
    ) -> None:
        """Add a picture. If there are too many pixels, all pictures are thinned again.

        Args:
            anomaly_map: ``[h, w]`` of the cropped view.
            mask: ``[H, W]`` of the whole frame.
            part: the physical part.
            crop: left, top, right, bottom in shares of the frame; None: the whole.
        """
        step = self.step or max(1, _root(self.expected * mask.size))
        self.seen += mask.size
        again = max(1, -(-_root(self.seen) // step))
        if again > 1:
            self.maps = [_every(again, kept) for kept in self.maps]
            self.masks = [_every(again, kept) for kept in self.masks]
        self.step = step * again
        self.maps.append(_every(self.step, _over_the_mask(anomaly_map, mask, crop)))
        self.masks.append(_every(self.step, mask))
        self.parts.append(part)


def _root(pixels: int) -> int:
    """Return the smallest step that leaves at most `MAX_PIXELS` pixels."""
    return int(np.ceil(np.sqrt(pixels / MAX_PIXELS)))


def _every(step: int, picture: NDArray[_Value]) -> NDArray[_Value]:
    # a copy: a view would keep the whole picture in memory
    return picture[::step, ::step].copy()


def _over_the_mask(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_], crop: Crop | None) -> NDArray[np.float32]:
    """Return the map at the size of the mask. Outside the crop it has the lowest score: a defect there is not found."""
    height, width = mask.shape
    rows, columns = window((height, width), crop or WHOLE)
    whole = np.full((height, width), np.finfo(np.float32).min, np.float32)
    whole[rows, columns] = enlarge(anomaly_map, (rows.stop - rows.start, columns.stop - columns.start))
    return whole
