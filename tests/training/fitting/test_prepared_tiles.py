"""Tiles as training sees them: the tiles of the graph, frame by frame."""

import msgspec
import numpy as np
import pytest
import torch

from andon.export.tiles import CutTiles
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, Reason, Tiles
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.fitting.prepared_tiles import PreparedTiles

SPEC = FrameSpec(channels=3, size=(32, 48))
TILES = Tiles(rows=2, columns=3, overlap=16, chunk=2)


def part(source: SyntheticFrames) -> PreparedTiles:
    return PreparedTiles(source, source.refs, CutTiles(SPEC, TILES))


def test_the_items_are_the_tiles_of_the_graph_in_its_order() -> None:
    source = SyntheticFrames(3, (60, 90))
    tiles = part(source)
    raw = torch.stack([torch.from_numpy(source.read(ref).data) for ref in source.refs])  # type: ignore[union-attr]

    expected = torch.cat(list(CutTiles(SPEC, TILES)(raw))).reshape(6, 3, 3, 32, 48).transpose(0, 1)

    assert len(tiles) == 18
    assert torch.equal(torch.cat(list(tiles.batches(4))), expected.flatten(0, 1))
    assert tiles.keys == ["000.png", "001.png", "002.png"]


def test_taking_tiles_gives_those_at_their_places() -> None:
    tiles = part(SyntheticFrames(3, (60, 90)))
    everything = torch.cat(list(tiles.batches(5)))

    assert torch.equal(tiles.take([17, 0, 7]), everything[[17, 0, 7]])


def test_a_shuffled_pass_gives_each_tile_once_in_another_order() -> None:
    tiles = part(SyntheticFrames(3, (60, 90)))
    plain = torch.cat(list(tiles.batches(4)))

    shuffled = torch.cat(list(tiles.batches(4, shuffle=torch.Generator().manual_seed(0))))

    assert not torch.equal(plain, shuffled)
    sums = [values.sum(dim=(1, 2, 3)).sort().values for values in (plain, shuffled)]
    torch.testing.assert_close(sums[0], sums[1])


def test_tiles_without_a_pixel_that_counts_are_no_items() -> None:
    marked = np.zeros((60, 90), np.bool_)
    marked[:, :45] = True
    spec = msgspec.structs.replace(SPEC, ignore=pack(marked))
    source = SyntheticFrames(3, (60, 90))
    cut = CutTiles(spec, TILES)

    tiles = PreparedTiles(source, source.refs, cut)
    everything = torch.cat(list(tiles.batches(3)))

    assert cut.kept == (1, 2, 4, 5)
    assert len(tiles) == len(everything) == 3 * 4
    assert torch.equal(tiles.take([11, 0]), everything[[11, 0]])
    # the last tile of a frame has no masked pixel
    assert torch.equal(everything[11], torch.cat(list(part(source).batches(6)))[17])


class Broken(SyntheticFrames):
    def read(self, ref: Ref) -> Item | Lost:
        return Lost(ref, Reason.UNREADABLE, "cut off")


def test_a_file_that_breaks_while_training_is_named() -> None:
    with pytest.raises(DataError, match=r"000.png: this file was readable .* cut off"):
        part(Broken(2, (60, 90))).take([0])
