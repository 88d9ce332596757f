"""Cut large frames into overlapping tiles in the graph, judge the tiles in chunks, and blend their maps into one map.

A frame is never converted to float as a whole: each chunk reads its own pixels, as integers, and converts only these. The chunks
are written out one after another. A loop would need a sub-graph, and model files have none.

Training cuts its tiles with the same module, so that the network sees the same pixels there as in production. A tile has
exactly the pixels that the whole resized frame would have at its place. Tiles without a pixel that counts are neither cut nor
judged: they are missing in the graph.
"""

from collections.abc import Iterator, Mapping

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.export.preprocessing import PrepareFrames
from andon.export.resize import LARGEST_BLOCK, Reading, Resize, read
from andon.export.tile_grid import Chunk, canvas, chunks_of, shared_cells
from andon.export.tile_masks import FillTiles, judged_tiles, kept_tiles, packed
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, Tiles


class CutTiles(nn.Module):
    """A module that cuts the tiles of frames ``[N, H, W, C]`` and prepares them for the network."""

    def __init__(self, spec: FrameSpec, tiles: Tiles) -> None:
        """Create the module.

        Raises:
            ConfigError: the tiles do not fit their size, or the input has settings that tiles do not support.
            DataError: masks leave no pixel to judge.
        """
        super().__init__()
        _check(spec, tiles)
        spec = replace(spec, tiles=tiles)
        self.spec, self.tiles = spec, tiles
        self.preparation = PrepareFrames(spec)
        self.resize = Resize(canvas(spec, tiles))
        self.kept = kept_tiles(spec)
        """Numbers of the tiles that are cut."""
        self.chunks = chunks_of(tiles, set(self.kept))
        self.fill = FillTiles(spec)
        self._judged = judged_tiles(spec)

    def forward(self, frame: Tensor) -> Iterator[Tensor]:
        """Yield the prepared tiles of each chunk, ``[k * N, C, h, w]``: first tile of all N frames, then the next tile."""
        frame = self.preparation.crop(frame)
        reading = self.resize.reading(frame.shape[1], frame.shape[2])
        for chunk in self.chunks:
            cut = self.tiles_of(frame, reading.part(*self.blocks(chunk)), len(chunk.columns))
            counting = self.counting(chunk)
            yield cut if counting is None else self.fill(cut, counting)

    def counting(self, chunk: Chunk) -> Tensor | None:
        """Return the pixels of the tiles of a chunk that count (`tile_masks.packed`); None if all of them do."""
        if self._judged is None:
            return None
        judged = self._judged[[chunk.row * self.tiles.columns + column for column in chunk.columns]]
        return None if judged.all() else packed(judged)

    def blocks(self, chunk: Chunk) -> tuple[slice, slice]:
        """Return the blocks of rows and columns of the reading that a chunk needs."""
        height, width = self.spec.size
        down, across = height - self.tiles.overlap, width - self.tiles.overlap
        first, last = chunk.columns[0], chunk.columns[-1]
        return _blocks(chunk.row * down, chunk.row * down + height), _blocks(first * across, last * across + width)

    def tiles_of(self, frame: Tensor, reading: Reading, count: int) -> Tensor:
        """Return the prepared tiles of one chunk of cropped frames, ``[count * N, C, h, w]``, before they are filled."""
        width = self.spec.size[1]
        prepared = self.preparation.normalise(self.preparation.grey_levels(read(frame, reading)))
        starts = ((width - self.tiles.overlap) * place for place in range(count))
        return torch.cat([prepared[:, :, :, start : start + width] for start in starts])


class JudgeTiles(nn.Module):
    """A module that applies a scorer to all tiles of a frame and joins their evidence."""

    def __init__(self, spec: FrameSpec, tiles: Tiles) -> None:
        super().__init__()
        self.tiles = tiles
        self.size = spec.size
        self.cut = CutTiles(spec, tiles)

    def forward(self, scorer: nn.Module, frame: Tensor) -> Evidence:
        """Return the maps of whole frames, ``[N, h, w]``, blended from the maps of their tiles.

        Args:
            scorer: a module from prepared tiles to evidence. It must give maps only.
            frame: raw frames, ``[N, H, W, C]``.

        Raises:
            ConfigError: the scorer gives something else than maps, or maps whose cells do not fit the overlap.
        """
        pieces: dict[str, list[Tensor]] = {}
        for prepared, chunk in zip(self.cut(frame), self.cut.chunks, strict=True):
            for name, values in maps_of(scorer(prepared), len(chunk.columns)).items():
                pieces.setdefault(name, []).append(values)
        return self.join({name: torch.cat(values) for name, values in pieces.items()})

    def join(self, pieces: Mapping[str, Tensor]) -> Evidence:
        """Return the maps of whole frames, blended from the maps of the cut tiles, ``[K, N, h, w]``.

        Tiles that are left out have maps of 0.
        """
        return Evidence({name: self._joined(self._with_left_out(values)) for name, values in pieces.items()}, {})

    def _with_left_out(self, pieces: Tensor) -> Tensor:
        """Return the maps of all tiles, ``[T, N, h, w]``."""
        kept, every = self.cut.kept, self.tiles.rows * self.tiles.columns
        if len(kept) == every:
            return pieces
        place = {tile: number for number, tile in enumerate(kept)}
        places = torch.tensor([place.get(tile, len(kept)) for tile in range(every)], device=pieces.device)
        return torch.cat([pieces, torch.zeros_like(pieces[:1])]).index_select(0, places)

    def _joined(self, pieces: Tensor) -> Tensor:
        """Blend the maps of tiles, ``[T, N, h, w]``, to ``[N, H, W]``."""
        tiles = self.tiles
        height, width = pieces.shape[2], pieces.shape[3]
        shared = [
            shared_cells(tiles.overlap, side, cells) for side, cells in zip(self.size, (height, width), strict=True)
        ]
        grid = pieces.reshape(tiles.rows, tiles.columns, -1, height, width)
        rows = blend(grid.permute(2, 0, 3, 1, 4), shared[1])  # [N, rows, h, W]
        return blend(rows.permute(0, 3, 1, 2), shared[0]).transpose(1, 2)


def maps_of(evidence: Evidence, count: int) -> dict[str, Tensor]:
    """Return the maps of the tiles of one chunk, ``[count, N, h, w]``.

    Raises:
        ConfigError: the evidence holds something else than maps.
    """
    other = [*evidence.scores, *evidence.images, *evidence.tables]
    if other or not evidence.maps:
        raise ConfigError(
            f"tiles: expected a scorer that gives maps only, got {', '.join(other) or 'no map'}. Evidence of single tiles cannot "
            "be joined to that of a frame. Leave out the tiles, or use patchcore."
        )
    return {name: values.reshape(count, -1, *values.shape[1:]) for name, values in evidence.maps.items()}


def blend(pieces: Tensor, shared: int) -> Tensor:
    """Join overlapping pieces ``[..., count, length]`` to one line. Where two overlap, their weights change linearly.

    >>> blend(torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]]), 2).tolist()
    [1.0, 1.0, 2.0, 4.0, 5.0, 5.0]
    """
    count, length = pieces.shape[-2], pieces.shape[-1]
    if not shared or count == 1:
        return pieces.flatten(-2)
    step = length - shared
    rise = (torch.arange(shared, dtype=torch.float32) + 0.5) / shared
    weights = torch.ones(count, length)
    weights[1:, :shared] = rise
    weights[:-1, step:] = 1 - rise
    weighted = pieces * weights.to(pieces.device)
    own, of_next = weighted[..., :step], weighted[..., step:]
    from_before = torch.cat([torch.zeros_like(of_next[..., :1, :]), of_next[..., :-1, :]], dim=-2)
    line = (own + nn.functional.pad(from_before, (0, step - shared))).flatten(-2)
    return torch.cat([line, of_next[..., -1, :]], dim=-1)


def _blocks(first: int, last: int) -> slice:
    return slice(first // LARGEST_BLOCK, last // LARGEST_BLOCK)


def _check(spec: FrameSpec, tiles: Tiles) -> None:
    sides = (*spec.size, tiles.overlap)
    if any(side % LARGEST_BLOCK for side in sides) or 2 * tiles.overlap > min(spec.size):
        raise ConfigError(
            f"tiles: expected a size and an overlap in multiples of {LARGEST_BLOCK}, and an overlap of at most half the size, "
            f"got {spec.size[0]} x {spec.size[1]} and {tiles.overlap}."
        )
    if spec.resize != "fast":
        raise ConfigError(f"tiles: expected resize 'fast', got {spec.resize!r}. Leave out the tiles, or use 'fast'.")
