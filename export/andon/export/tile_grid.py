"""Places of the tiles of a large frame: in the frame at the scale of the tiles, and in its map."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn

from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, Tiles


class Chunk(NamedTuple):
    """Neighbouring tiles of one row that the network processes together."""

    row: int
    columns: range


def canvas(spec: FrameSpec, tiles: Tiles) -> tuple[int, int]:
    """Return height and width of the whole frame at the scale of the tiles, in pixels of the network.

    >>> canvas(FrameSpec(channels=3, size=(384, 384)), Tiles(rows=2, columns=3, overlap=64, chunk=3))
    (704, 1024)
    """
    return _whole(tiles, spec.size, (tiles.overlap, tiles.overlap))


def chunks_of(tiles: Tiles, kept: Collection[int] | None = None) -> list[Chunk]:
    """Return the chunks in the order of the graph: row by row, from left to right.

    Args:
        tiles: the grid.
        kept: numbers of the tiles to use, counted row by row. A chunk has no gap. None: all of them.

    >>> chunks_of(Tiles(rows=1, columns=5, overlap=0, chunk=2), {0, 2, 3, 4})
    [Chunk(row=0, columns=range(0, 1)), Chunk(row=0, columns=range(2, 4)), Chunk(row=0, columns=range(4, 5))]
    """
    chunks: list[Chunk] = []
    for number in range(tiles.rows * tiles.columns):
        if kept is not None and number not in kept:
            continue
        row, column = divmod(number, tiles.columns)
        last = chunks[-1] if chunks else None
        if last is not None and (last.row, last.columns.stop) == (row, column) and len(last.columns) < tiles.chunk:
            chunks[-1] = Chunk(row, range(last.columns.start, column + 1))
        else:
            chunks.append(Chunk(row, range(column, column + 1)))
    return chunks


def shared_cells(overlap: int, side: int, cells: int) -> int:
    """Return the number of cells of a map in the overlap of two tiles.

    Args:
        overlap: pixels that two tiles share.
        side: pixels of a tile along the same axis.
        cells: cells of its map along this axis.

    Raises:
        ConfigError: the overlap ends within a cell.
    """
    if overlap * cells % side:
        raise ConfigError(
            f"tiles: expected an overlap of whole cells of the map, got {overlap} pixels with {cells} cells for {side} pixels."
        )
    return overlap * cells // side


def map_shape(spec: FrameSpec, tiles: Tiles, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of the map of a frame whose tiles have maps of this shape.

    Raises:
        ConfigError: as for `shared_cells`.
    """
    shared = [shared_cells(tiles.overlap, side, cells) for side, cells in zip(spec.size, shape, strict=True)]
    return _whole(tiles, shape, (shared[0], shared[1]))


def _whole(tiles: Tiles, size: tuple[int, int], shared: tuple[int, int]) -> tuple[int, int]:
    height, width = (
        count * (side - both) + both
        for count, side, both in zip((tiles.rows, tiles.columns), size, shared, strict=True)
    )
    return height, width


class TileWindows(nn.Module):
    """A module that cuts the map of a frame, ``[N, H, W]``, into the parts that its tiles cover, ``[N, T, h * w]``."""

    def __init__(self, spec: FrameSpec, tiles: Tiles) -> None:
        super().__init__()
        self.tiles, self.size = tiles, spec.size
        self.whole = canvas(spec, tiles)

    def forward(self, maps: Tensor) -> Tensor:
        """Cut a batch of maps. Neighbouring parts share the cells of the overlap."""
        tiles = self.tiles
        places, sides = [], []
        for axis, count in enumerate((tiles.rows, tiles.columns)):
            cells = maps.shape[axis + 1] * self.size[axis] // self.whole[axis]
            step = cells - shared_cells(tiles.overlap, self.size[axis], cells)
            places.append((torch.arange(count)[:, None] * step + torch.arange(cells)).flatten().to(maps.device))
            sides.append(cells)
        cut = maps.index_select(1, places[0]).index_select(2, places[1])
        cut = cut.reshape(-1, tiles.rows, sides[0], tiles.columns, sides[1])
        return cut.permute(0, 1, 3, 2, 4).reshape(-1, tiles.rows * tiles.columns, sides[0] * sides[1])
