"""Tiles of large frames: their pixels, and how their maps become one map and one score."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.export.pooling import Pool
from andon.export.preprocessing import PrepareFrames
from andon.export.resize import Resize
from andon.export.tile_grid import TileWindows, canvas, chunks_of
from andon.export.tiles import CutTiles, JudgeTiles, blend
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, ScoreRule, Tiles

SPEC = FrameSpec(channels=3, size=(32, 48), mean=100.0, scale=50.0)
TILES = Tiles(rows=3, columns=4, overlap=16, chunk=3)


class Brightness(nn.Module):
    """A scorer whose map is the mean of the channels in cells of 8 pixels."""

    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"level": nn.functional.avg_pool2d(prepared.mean(dim=1, keepdim=True), 8).squeeze(1)}, {})


def frames(count: int, height: int = 90, width: int = 150) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


def seen_whole(spec: FrameSpec, tiles: Tiles, raw: Tensor) -> Tensor:
    """Prepare whole frames at the scale of the tiles."""
    preparation = PrepareFrames(spec)
    levels = Resize(canvas(spec, tiles))(preparation.crop(raw))
    return preparation.normalise(preparation.grey_levels(levels))


@pytest.mark.parametrize("crop", [(0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.9, 0.8)])
@pytest.mark.parametrize("size", [(90, 150), (64, 144), (300, 211)])
def test_a_tile_has_the_pixels_that_the_whole_resized_frame_has_at_its_place(
    size: tuple[int, int], crop: tuple[float, float, float, float]
) -> None:
    spec = FrameSpec(channels=3, size=(32, 48), mean=100.0, scale=50.0, crop=crop)
    raw = frames(2, *size)
    whole = seen_whole(spec, TILES, raw)

    tiles = [
        tile
        for prepared, chunk in zip(CutTiles(spec, TILES)(raw), chunks_of(TILES), strict=True)
        for tile in prepared.reshape(len(chunk.columns), 2, 3, 32, 48)
    ]

    for place, tile in enumerate(tiles):
        top, left = (place // 4) * 16, (place % 4) * 32
        torch.testing.assert_close(tile, whole[:, :, top : top + 32, left : left + 48], rtol=0, atol=1e-5)


def test_tiles_of_frames_with_more_than_8_bits_have_the_same_grey_levels() -> None:
    deep = FrameSpec(channels=3, size=(32, 48), mean=100.0, scale=50.0, dtype="uint16", black=0.0, white=65535.0)
    raw = frames(1)

    eight = torch.cat(list(CutTiles(SPEC, TILES)(raw)))
    sixteen = torch.cat(list(CutTiles(deep, TILES)((raw.to(torch.int32) * 257).to(torch.uint16))))

    torch.testing.assert_close(sixteen, eight, rtol=0, atol=1e-4)


@given(
    count=st.integers(1, 6),
    length=st.integers(2, 12),
    share=st.floats(0.0, 0.5),
    level=st.floats(-5, 5, width=32),
)
def test_blending_pieces_of_one_level_gives_that_level_everywhere(
    count: int, length: int, share: float, level: float
) -> None:
    shared = int(share * length)

    line = blend(torch.full((2, count, length), level), shared)

    assert line.shape == (2, count * (length - shared) + shared)
    torch.testing.assert_close(line, torch.full_like(line, level))


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=st.integers(0, 99))
def test_tiles_of_a_map_are_blended_to_that_map(rows: int, columns: int, seed: int) -> None:
    tiles = Tiles(rows=rows, columns=columns, overlap=16, chunk=2)
    height, width = (side // 8 for side in canvas(SPEC, tiles))
    maps = torch.rand((2, height, width), generator=torch.Generator().manual_seed(seed))

    pieces = TileWindows(SPEC, tiles)(maps).reshape(2, rows * columns, 4, 6).transpose(0, 1)
    joined = JudgeTiles(SPEC, tiles).join({"level": pieces}).maps["level"]

    torch.testing.assert_close(joined, maps)


def test_judging_tiles_gives_the_map_of_the_whole_frame_where_the_scorer_sees_single_cells() -> None:
    raw = frames(2)

    joined = JudgeTiles(SPEC, TILES)(Brightness(), raw).maps["level"]

    whole = Brightness()(seen_whole(SPEC, TILES, raw)).maps["level"]
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-5)


def test_the_score_is_that_of_the_worst_tile_so_that_a_small_defect_is_not_diluted() -> None:
    spec = FrameSpec(channels=3, size=(32, 48), tiles=TILES)
    height, width = (side // 8 for side in canvas(spec, TILES))
    good = torch.zeros(1, height, width)
    defect = good.clone()
    defect[0, 3, 2] = 24.0  # one of the 24 cells of a tile
    rule = ScoreRule(map="level", pool="mean")

    pool = Pool(rule, spec)

    assert pool(Evidence({"level": good}, {}))["score"].item() == 0.0
    assert pool(Evidence({"level": defect}, {}))["score"].item() == pytest.approx(1.0)
    diluted = Pool(rule, FrameSpec(channels=3, size=(32, 48)))(Evidence({"level": defect}, {}))["score"].item()
    assert diluted == pytest.approx(24 / (height * width))


@given(seed=st.integers(0, 50))
def test_the_maximum_of_a_map_is_the_same_with_and_without_tiles(seed: int) -> None:
    spec = FrameSpec(channels=3, size=(32, 48), tiles=TILES)
    maps = torch.rand((2, 8, 18), generator=torch.Generator().manual_seed(seed))
    rule = ScoreRule(map="level", pool="max")

    score = Pool(rule, spec)(Evidence({"level": maps}, {}))["score"]

    assert torch.equal(score, maps.flatten(1).amax(dim=1))


class WithScore(Brightness):
    def forward(self, prepared: Tensor) -> Evidence:
        return super().forward(prepared)._replace(scores={"mean": prepared.mean(dim=(1, 2, 3))})


def test_a_scorer_that_scores_whole_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a scorer that gives maps only, got mean"):
        JudgeTiles(SPEC, TILES)(WithScore(), frames(1))


def test_an_overlap_of_broken_cells_is_refused() -> None:
    tiles = Tiles(rows=1, columns=2, overlap=16, chunk=2)
    pieces = {"level": torch.zeros(2, 1, 4, 5)}

    with pytest.raises(ConfigError, match="overlap of whole cells"):
        JudgeTiles(SPEC, tiles).join(pieces)


@pytest.mark.parametrize(
    ("size", "overlap"), [((32, 40), 16), ((32, 48), 8), ((32, 48), 32)], ids=["size", "overlap", "too much overlap"]
)
def test_sizes_that_the_preparation_cannot_cut_are_refused(size: tuple[int, int], overlap: int) -> None:
    with pytest.raises(ConfigError, match="multiples of 16, and an overlap of at most half the size"):
        CutTiles(FrameSpec(channels=3, size=size), Tiles(rows=2, columns=2, overlap=overlap, chunk=1))


def test_exact_resizing_is_refused_with_tiles() -> None:
    exact = FrameSpec(channels=3, size=(32, 48), resize="exact")

    with pytest.raises(ConfigError, match="expected resize 'fast'"):
        CutTiles(exact, TILES)


def test_a_chunk_reads_only_its_own_part_of_the_frame() -> None:
    cut = CutTiles(SPEC, TILES)
    reading = cut.resize.reading(900, 1500)

    part = reading.part(*cut.blocks(chunks_of(TILES)[0]))

    # rows 0 to 31 of 64, columns 0 to 111 of 144, and a few pixels around them for the interpolation
    assert max(int(rows.max()) for rows in part.rows) < 900 * 34 / 64
    assert max(int(columns.max()) for columns in part.columns) < 1500 * 114 / 144
