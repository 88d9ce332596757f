"""Apply the ignore mask and the region of a frame spec: which prepared pixels and which cells of a map count.

A prepared pixel counts if all raw pixels that it is computed from count. The others get one fixed value before the network
sees them, so an ignored pixel cannot change anything. A cell of a map counts if at least half of its prepared pixels count.
`tile_masks` does the same for tiles.
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.export.resize import Resize
from andon.export.tile_grid import canvas
from andon.foundation.errors import DataError
from andon.runtime import mask_pixels
from andon.runtime.crop import window
from andon.runtime.mask_pixels import masked
from andon.runtime.schema import FrameSpec, InputSpec

FILL = 128.0
"""Grey level of prepared pixels that do not count: in the middle, so that their border is as soft as possible."""
LEAST_SHARE = 0.5
"""Smallest share of counting pixels with which a cell counts."""


def fill_value(spec: FrameSpec) -> float:
    """Return the prepared value of pixels that do not count."""
    return (FILL - spec.mean) / spec.scale


def logit_fill(spec: FrameSpec) -> float:
    """Return the logit of `fill_value`, for networks that give logits of frames in 0 to 1."""
    value = fill_value(spec)
    return math.log(value / (1 - value))


def judged_pixels(spec: InputSpec) -> Tensor | None:
    """Return the pixels of the prepared frame that count, bool ``[h, w]``; None if the spec has no mask.

    With tiles, this is the whole frame at the size of one tile, which contrast and scene check see.

    Raises:
        DataError: none of them counts.
        ModelFileError: the pixels of a mask are missing or damaged.
    """
    if not isinstance(spec, FrameSpec) or not masked(spec):
        return None
    return _some(_judged_at(spec, spec.size))


def judged_in_detail(spec: InputSpec) -> Tensor | None:
    """Return the pixels of the prepared frame that count, with tiles at their scale, bool ``[H, W]``; None without a mask.

    Raises:
        DataError, ModelFileError: as for `judged_pixels`.
    """
    if not isinstance(spec, FrameSpec) or not masked(spec):
        return None
    return _some(_judged_at(spec, spec.size if spec.tiles is None else canvas(spec, spec.tiles)))


def _some(judged: Tensor) -> Tensor:
    if not judged.any():
        raise DataError(
            "masks: expected some pixels to judge, got none: region and ignore mask leave less than a pixel of the network's "
            f"{judged.shape[0]} x {judged.shape[1]}. Mark a larger region, or ignore less."
        )
    return judged


@functools.lru_cache(maxsize=8)
def _judged_at(spec: FrameSpec, size: tuple[int, int]) -> Tensor:
    """Return the pixels that count of the frame that is resized to this size."""
    judged = mask_pixels.judged_pixels(spec)
    assert judged is not None
    inside = ~judged[window((judged.shape[0], judged.shape[1]), spec.crop)]
    frame = torch.from_numpy(inside.astype(np.uint8))[None, :, :, None]
    with torch.no_grad():  # the same module as for frames, so that exactly the same pixels contribute
        touched: Tensor = Resize(size, thin=spec.resize == "fast")(frame)
    return touched[0, 0] <= 0.0


def judged_cells(spec: InputSpec, shape: tuple[int, int]) -> Tensor | None:
    """Return the cells of a map of this height and width that count, bool ``[h, w]``; None if the spec has no mask.

    The map is that of the whole frame, also with tiles.

    Raises:
        DataError: no cell counts.
        ModelFileError: as for `judged_pixels`.
    """
    judged = judged_in_detail(spec)
    if judged is None:
        return None
    rows, columns = (_overlaps(side, of) for side, of in zip(shape, judged.shape, strict=True))
    cells = rows @ judged.numpy().astype(np.float64) @ columns.T >= LEAST_SHARE - 1e-9
    if not cells.any():
        raise DataError(
            f"masks: expected a region of at least one cell of the map, {shape[0]} x {shape[1]} cells over the frame, got less. "
            "Mark a larger region, ignore less, or use a larger --size."
        )
    return torch.from_numpy(cells)


def _overlaps(cells: int, pixels: int) -> NDArray[np.float64]:
    """Return the share of each cell that each pixel covers, ``[cells, pixels]``."""
    ends = np.arange(1, cells + 1)[:, np.newaxis] * pixels / cells
    at = np.arange(pixels)
    covered = np.minimum(at + 1, ends) - np.maximum(at, ends - pixels / cells)
    return np.asarray(covered.clip(0.0) * cells / pixels)


class FillIgnored(nn.Module):
    """A module that replaces the pixels of pictures ``[N, C, h, w]`` that do not count. Without masks it does nothing.

    A network that rebuilds frames ends with it. Then its errors are 0 there: they count in no loss and in no score.
    """

    def __init__(self, spec: InputSpec, value: float | None = None) -> None:
        """Create the module for prepared frames of a spec. None for `value` is the prepared value of ignored pixels."""
        super().__init__()
        judged = judged_pixels(spec)
        self.value = value if value is not None or not isinstance(spec, FrameSpec) else fill_value(spec)
        self.register_buffer("judged", judged, persistent=False)
        self.register_buffer("places", None if judged is None else _places(judged), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the pictures with the fixed value at pixels that do not count."""
        judged: Tensor | None = self._buffers["judged"]
        if judged is None or self.value is None:
            return pictures
        return torch.where(judged, pictures, torch.full((), self.value, dtype=pictures.dtype, device=pictures.device))

    def values(self, planes: Tensor) -> Tensor:
        """Return the values of planes ``[N, h, w]`` at pixels that count, ``[N, k]``."""
        places = self._buffers["places"]
        flat = planes.flatten(1)
        return flat if places is None else flat.index_select(1, places)


def _places(judged: Tensor) -> Tensor:
    return judged.flatten().nonzero().squeeze(1)


class JudgedCells:
    """The cells of maps that count, for any size of the map. Without masks all cells count."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._masked = masked(spec)
        # filled before a graph is traced, because the tracer cannot compute places
        self._known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def smoothed(self, maps: Tensor, smooth: nn.Module) -> Tensor:
        """Smooth maps ``[N, h, w]`` over the cells that count only, and set the other cells to 0."""
        if not self._masked:
            smoothed: Tensor = smooth(maps)
            return smoothed
        cells, _ = self._of(maps)
        nothing = torch.zeros((), dtype=maps.dtype, device=maps.device)
        weights: Tensor = smooth(cells[None].to(maps.dtype))
        values: Tensor = smooth(torch.where(cells, maps, nothing))
        return torch.where(cells, values / weights.clamp(min=1e-6), nothing)

    def values(self, maps: Tensor) -> Tensor:
        """Return the values of the cells that count, ``[N, k]``."""
        flat = maps.flatten(1)
        return flat.index_select(1, self._of(maps)[1]) if self._masked else flat

    def _of(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cells of maps ``[N, h, w]`` that count, bool ``[h, w]``, and their places."""
        shape = (int(maps.shape[-2]), int(maps.shape[-1]))
        if shape not in self._known:
            cells = judged_cells(self._spec, shape)
            assert cells is not None
            self._known[shape] = cells, _places(cells)
        cells, places = self._known[shape]
        return cells.to(maps.device), places.to(maps.device)
