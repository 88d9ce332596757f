"""Collect anomaly maps and defect masks for pixel results: at the same size, and thinned if there are too many pixels."""

from typing import TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.evaluation.figures.pixels import NOT_COUNTED
from andon.runtime.crop import WHOLE, Crop, window
from andon.runtime.heat_map import enlarge

_Value = TypeVar("_Value", bound=np.generic)

MAX_PIXELS = 30_000_000
"""Upper limit of pixels, because pixel results sort all pixels of all pictures. Above it, only every n-th row and column is
kept. The step n is reported."""


class PixelEvidence(Struct):
    """Anomaly maps and masks of the same size, picture by picture."""

    expected: int = 1
    """Expected number of pictures, if known. It sets the step when the first picture is added."""
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    parts: list[str] = []
    """The physical part of each picture."""
    step: int = 0
    """Every step-th row and column of the masks was kept."""
    seen: int = 0
    """Number of pixels of all masks before thinning."""
    unmasked: int = 0
    """Number of defective pictures with a map but no mask."""
    ignored: int = 0
    """Number of defective pictures whose defects lie only in pixels that do not count."""

    def add(
        self,
        anomaly_map: NDArray[np.float32],
        mask: NDArray[np.bool_],
        part: str,
        crop: Crop | None,
        ignored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add a picture. If there are too many pixels, thin all pictures again.

        Args:
            anomaly_map: ``[h, w]``, map of the cropped view.
            mask: ``[H, W]``, mask of the whole frame.
            part: the physical part.
            crop: left, top, right and bottom as shares of the frame. None: the whole frame.
            ignored: ``[H, W]``, pixels that do not count. They are left out of the results. None: all count.
        """
        step = self.step or max(1, _root(self.expected * mask.size))
        self.seen += mask.size
        again = max(1, -(-_root(self.seen) // step))
        if again > 1:
            self.maps = [_every(again, kept) for kept in self.maps]
            self.masks = [_every(again, kept) for kept in self.masks]
        self.step = step * again
        whole = _over_the_mask(anomaly_map, mask, crop)
        if ignored is not None:
            whole[ignored] = NOT_COUNTED
            mask = mask & ~ignored
        self.maps.append(_every(self.step, whole))
        self.masks.append(_every(self.step, mask))
        self.parts.append(part)


def _root(pixels: int) -> int:
    """Return the smallest step that leaves at most `MAX_PIXELS` pixels."""
    return int(np.ceil(np.sqrt(pixels / MAX_PIXELS)))


def _every(step: int, picture: NDArray[_Value]) -> NDArray[_Value]:
    # copy, because a view would keep the whole picture in memory
    return picture[::step, ::step].copy()


def _over_the_mask(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_], crop: Crop | None) -> NDArray[np.float32]:
    """Return the map at the size of the mask, with the lowest score outside the crop, because defects there are not found."""
    height, width = mask.shape
    rows, columns = window((height, width), crop or WHOLE)
    whole = np.full((height, width), np.finfo(np.float32).min, np.float32)
    whole[rows, columns] = enlarge(anomaly_map, (rows.stop - rows.start, columns.stop - columns.start))
    return whole
