"""Good parts of a detector with tiles: each tile of a frame is one item, cut by the module that the graph contains.

Frames are decoded and cut again in each pass, because the tiles of a few large frames would fill the memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from andon.export.tiles import CutTiles
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Ref
from andon.sources.collection import Collection


class PreparedTiles:
    """A `Part` whose items are the tiles of frames: all tiles of the first frame, then those of the next one.

    Tiles without a pixel that counts are left out.
    """

    def __init__(self, collection: Collection, refs: Sequence[Ref], cut: CutTiles) -> None:
        self._collection = collection
        self._refs = refs
        self._cut = cut
        self.tiles = len(cut.kept)
        """Number of tiles of a frame."""

    def __len__(self) -> int:
        return self.tiles * len(self._refs)

    @property
    def cached(self) -> bool:
        """False, because tiles are cut again in each pass."""
        return False

    @property
    def keys(self) -> list[str]:
        """Keys of the frames, in their order. The tile at a place belongs to the frame ``place // tiles``."""
        return [ref.key for ref in self._refs]

    def take(self, places: Sequence[int]) -> Tensor:
        """Return the tiles at these places, float32 ``[n, C, h, w]``.

        Raises:
            DataError: a file that was readable at the start of training is not readable now.
        """
        frames = {frame: self._tiles(frame) for frame in {place // self.tiles for place in places}}
        return torch.stack([frames[place // self.tiles][place % self.tiles] for place in places])

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        """Yield each tile once, at most `size` at a time, in order. If shuffled, the tiles of a frame still follow each other.

        Raises:
            DataError: as for `take`.
        """
        for frame in _order(len(self._refs), shuffle):
            tiles = self._tiles(frame)
            if shuffle is not None:
                tiles = tiles[torch.randperm(len(tiles), generator=shuffle)]
            yield from torch.split(tiles, size)

    def _tiles(self, place: int) -> Tensor:
        item = self._collection.read(self._refs[place])
        if not isinstance(item, Item):
            raise DataError(
                f"{self._refs[place].key}: this file was readable when training began, but is not now: "
                f"{item.detail or item.reason.text}. Restart the training."
            )
        with torch.no_grad():
            return torch.cat(list(self._cut(torch.from_numpy(np.array(item.data[np.newaxis])))))


def _order(count: int, shuffle: Generator | None) -> list[int]:
    return list(range(count)) if shuffle is None else torch.randperm(count, generator=shuffle).tolist()
