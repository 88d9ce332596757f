"""Apply the ignore mask and the region of a frame spec to its tiles: which tiles, pixels and cells of them count.

A tile without a pixel that counts is not judged at all. The pixels are those of the whole frame at the scale of the tiles, so
a tile sees exactly what `masks` would leave of the frame at its place.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from andon.export.masks import fill_value, judged_cells, judged_in_detail
from andon.export.tile_grid import TileWindows, map_shape
from andon.foundation.errors import ConfigError
from andon.runtime.mask_pixels import masked
from andon.runtime.schema import FrameSpec, Tiles

_BYTE = 8


def tiles_of(spec: FrameSpec) -> Tiles:
    """Return the tiles of a spec.

    Raises:
        ConfigError: it has none.
    """
    if spec.tiles is None:
        raise ConfigError("tiles: expected an input with tiles, got one without.")
    return spec.tiles


@functools.lru_cache(maxsize=8)
def judged_tiles(spec: FrameSpec) -> Tensor | None:
    """Return the pixels of each tile that count, bool ``[T, h, w]``; None if the spec has no mask.

    Raises:
        DataError, ModelFileError: as for `masks.judged_in_detail`.
    """
    judged = judged_in_detail(spec)
    if judged is None:
        return None
    windows: Tensor = TileWindows(spec, tiles_of(spec))(judged[None])
    return windows[0].reshape(-1, *spec.size)


def kept_tiles(spec: FrameSpec) -> tuple[int, ...]:
    """Return the numbers of the tiles that have a pixel that counts, ascending. Tiles are counted row by row.

    Raises:
        DataError, ModelFileError: as for `masks.judged_in_detail`.
    """
    tiles = tiles_of(spec)
    judged = judged_tiles(spec)
    if judged is None:
        return tuple(range(tiles.rows * tiles.columns))
    return tuple(judged.flatten(1).any(dim=1).nonzero().squeeze(1).tolist())


def cells_of_kept(spec: FrameSpec, shape: tuple[int, int]) -> Tensor | None:
    """Return the cells of the kept tiles that count, bool ``[K, h, w]``; None if the spec has no mask.

    Args:
        spec: the input.
        shape: height and width of the map of a tile.

    Raises:
        DataError, ModelFileError: as for `masks.judged_cells`.
        ConfigError: the overlap ends within a cell.
    """
    tiles = tiles_of(spec)
    cells = judged_cells(spec, map_shape(spec, tiles, shape))
    if cells is None:
        return None
    windows: Tensor = TileWindows(spec, tiles)(cells[None])
    return windows[0].reshape(-1, *shape)[list(kept_tiles(spec))]


def packed(judged: Tensor) -> Tensor:
    """Return pixels that count, bool ``[k, h, w]``, as bits of bytes, uint8 ``[k, h, w / 8]``: a graph contains many of them."""
    return torch.from_numpy(np.packbits(judged.numpy(), axis=2))


class FillTiles(nn.Module):
    """A module that replaces the pixels of prepared tiles that do not count by the same value as `masks.FillIgnored`."""

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.value = fill_value(spec)
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1)
        self.register_buffer("bits", torch.from_numpy(bits.astype(np.bool_)), persistent=False)

    def forward(self, prepared: Tensor, counting: Tensor) -> Tensor:
        """Fill tiles ``[k * N, C, h, w]``: the first tile of all N frames, then the next tile.

        Args:
            prepared: the tiles.
            counting: the pixels of each of the k tiles that count (`packed`).
        """
        count, height, width = counting.shape[0], counting.shape[1], _BYTE * counting.shape[2]
        judged = self.get_buffer("bits").index_select(0, counting.flatten().to(torch.int64))
        tiles = prepared.reshape(count, -1, prepared.shape[1], height, width)
        fill = torch.full((), self.value, dtype=prepared.dtype, device=prepared.device)
        filled = torch.where(judged.reshape(count, 1, 1, height, width).to(prepared.device), tiles, fill)
        return filled.reshape(-1, prepared.shape[1], height, width)


class TileCells(NamedTuple):
    """Cells of the tiles of a map that count. Tiles without such a cell are left out."""

    tiles: Tensor
    """Numbers of the tiles that have a cell that counts, int64 ``[k]``."""
    cells: Tensor
    """Their cells that count, bool ``[k, h * w]``."""
    counts: tuple[int, ...]
    """Number of cells that count in each of these tiles."""


class JudgedTileCells:
    """The cells of tiles that count, for any size of the map."""

    def __init__(self, spec: FrameSpec) -> None:
        self._spec = spec
        self._windows = TileWindows(spec, tiles_of(spec))
        self._masked = masked(spec)
        # filled before a graph is traced, because the tracer cannot compute places
        self._known: dict[tuple[int, int], TileCells] = {}

    def of(self, maps: Tensor) -> TileCells | None:
        """Return the cells that count in the tiles of maps of whole frames, ``[N, h, w]``; None without masks."""
        if not self._masked:
            return None
        shape = (int(maps.shape[-2]), int(maps.shape[-1]))
        if shape not in self._known:
            cells = judged_cells(self._spec, shape)
            assert cells is not None
            windows = self._windows(cells[None])[0]
            places = windows.any(dim=1).nonzero().squeeze(1)
            counting = windows[places]
            self._known[shape] = TileCells(places, counting, tuple(counting.sum(dim=1).tolist()))
        known = self._known[shape]
        return known._replace(tiles=known.tiles.to(maps.device), cells=known.cells.to(maps.device))
