"""Masks of frames with tiles: what the network sees, what counts, and which tiles are judged."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.export.graph import Pipeline
from andon.export.masks import fill_value, judged_cells, judged_in_detail
from andon.export.pooling import Pool
from andon.export.tile_grid import canvas
from andon.export.tile_masks import FillTiles, cells_of_kept, kept_tiles, packed
from andon.export.tiles import CutTiles
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, ScoreRule, Tiles

SIZE = (90, 150)
TILES = Tiles(rows=3, columns=4, overlap=16, chunk=3)


def marked(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    pixels = np.zeros(size, np.bool_)
    pixels[top:bottom, left:right] = True
    return pixels


PLAIN = FrameSpec(channels=3, size=(32, 48), mean=100.0, scale=50.0, frame_size=SIZE, tiles=TILES)
CORNER = marked(0, 60, 0, 95)
SPEC = replace(PLAIN, ignore=pack(CORNER))


def frame(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def noisy(before: NDArray[np.uint8], where: NDArray[np.bool_], seed: int) -> NDArray[np.uint8]:
    changed = before.copy()
    changed[where] = np.random.default_rng(seed).integers(0, 256, (int(where.sum()), 3))
    return changed


class Edges(nn.Module):
    """A scorer whose cells depend on the pixels around them, also on masked ones."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.filters = nn.Conv2d(3, 4, 9, padding=4)

    def forward(self, prepared: Tensor) -> Evidence:
        planes = nn.functional.avg_pool2d(self.filters(prepared).abs(), 8)
        return Evidence({"level": planes.mean(dim=1)}, {}, scene=planes)


class Given(nn.Module):
    """A score rule on a given map of the whole frame."""

    def __init__(self, spec: FrameSpec, rule: ScoreRule) -> None:
        super().__init__()
        self.pool = Pool(rule, spec)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.pool(Evidence({"level": maps}, {}))
        return found


def masks() -> st.SearchStrategy[NDArray[np.bool_]]:
    """Return masks with a rectangle of any size at any place."""
    return st.builds(
        lambda top, left, height, width: marked(top, top + height, left, left + width),
        st.integers(0, SIZE[0] - 2), st.integers(0, SIZE[1] - 2), st.integers(1, 70), st.integers(1, 110),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(ignored=masks(), pool=st.sampled_from(["mean", "top", "max"]), seed=st.integers(0, 99))
def test_pixels_under_the_mask_never_change_score_map_or_scene(
    ignored: NDArray[np.bool_], pool: str, seed: int
) -> None:
    spec = replace(PLAIN, ignore=pack(ignored))
    rule = ScoreRule(map="level", pool=pool, share=0.1, smooth=0.8)  # type: ignore[arg-type]
    pipeline = Pipeline(Edges(), spec, rule, scene=True).eval()
    before = frame(seed)

    with torch.no_grad():
        one, other = (
            pipeline(torch.from_numpy(pixels[np.newaxis])) for pixels in (before, noisy(before, ignored, seed + 1))
        )

    assert len(one) == 4  # score, reason, map, features of the scene
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


@settings(max_examples=25, deadline=None)
@given(ignored=masks(), seed=st.integers(0, 99))
def test_pixels_that_count_are_the_same_as_without_a_mask_and_the_others_are_filled(
    ignored: NDArray[np.bool_], seed: int
) -> None:
    spec = replace(PLAIN, ignore=pack(ignored))
    raw = torch.from_numpy(np.stack([frame(seed), frame(seed + 1)]))
    judged = judged_in_detail(spec)
    assert judged is not None
    cut = CutTiles(spec, TILES)
    plain = torch.cat([t.reshape(-1, 2, 3, 32, 48) for t in CutTiles(PLAIN, TILES)(raw)])
    filled = torch.cat([t.reshape(-1, 2, 3, 32, 48) for t in cut(raw)])

    assert len(filled) == len(cut.kept)
    for number, tile in zip(cut.kept, filled, strict=True):
        top, left = (number // 4) * 16, (number % 4) * 32
        counting = judged[top : top + 32, left : left + 48]
        assert torch.equal(tile[..., counting], plain[number][..., counting])
        assert (tile[..., ~counting] == fill_value(spec)).all()
        assert counting.any()


@settings(max_examples=50, deadline=None)
@given(ignored=masks())
def test_a_tile_is_left_out_exactly_if_none_of_its_pixels_counts(ignored: NDArray[np.bool_]) -> None:
    spec = replace(PLAIN, ignore=pack(ignored))
    judged = judged_in_detail(spec)
    assert judged is not None
    assert judged.shape == canvas(spec, TILES)

    corners = [((number // 4) * 16, (number % 4) * 32) for number in range(12)]
    counting = [bool(judged[top : top + 32, left : left + 48].any()) for top, left in corners]

    assert kept_tiles(spec) == tuple(number for number, some in enumerate(counting) if some)


def test_without_masks_all_tiles_are_kept_and_all_cells_count() -> None:
    assert kept_tiles(PLAIN) == tuple(range(12))
    assert cells_of_kept(PLAIN, (4, 6)) is None


def test_the_cells_of_a_tile_that_count_are_those_of_the_map_of_the_frame_at_its_place() -> None:
    whole, cells = judged_cells(SPEC, (8, 18)), cells_of_kept(SPEC, (4, 6))
    assert whole is not None
    assert cells is not None
    kept = kept_tiles(SPEC)

    assert 0 < len(kept) < 12
    for number, tile in zip(kept, cells, strict=True):
        top, left = (number // 4) * 2, (number % 4) * 4
        assert torch.equal(tile, whole[top : top + 4, left : left + 6])


@given(count=st.integers(1, 3), seed=st.integers(0, 99))
def test_pixels_packed_as_bits_are_filled_as_those_of_the_mask(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    judged = torch.rand((count, 32, 48), generator=generator) < 0.5
    tiles = torch.rand((2 * count, 3, 32, 48), generator=generator)

    filled = FillTiles(PLAIN)(tiles, packed(judged))

    for place, tile in enumerate(filled):
        counting = judged[place // 2]
        assert torch.equal(tile[:, counting], tiles[place][:, counting])
        assert (tile[:, ~counting] == fill_value(PLAIN)).all()


@pytest.mark.parametrize("pool", ["mean", "top", "max"])
def test_the_score_is_that_of_the_worst_tile_over_its_cells_that_count(pool: str) -> None:
    rule = ScoreRule(map="level", pool=pool, share=0.1)  # type: ignore[arg-type]
    maps = torch.rand((3, 8, 18), generator=torch.Generator().manual_seed(1)) - 0.5  # a map may be below 0
    cells = judged_cells(SPEC, (8, 18))
    assert cells is not None

    score = Given(SPEC, rule)(maps)["score"]

    for row, values in enumerate(maps):
        pooled = []  # a slow reference
        for number in range(12):
            part = (slice((number // 4) * 2, (number // 4) * 2 + 4), slice((number % 4) * 4, (number % 4) * 4 + 6))
            counting = values[part][cells[part]].sort(descending=True).values
            if len(counting):
                count = {"mean": len(counting), "max": 1, "top": max(1, round(0.1 * len(counting)))}[pool]
                pooled.append(counting[:count].mean().item())
        assert len(pooled) < 12
        assert score[row].item() == pytest.approx(max(pooled), rel=1e-5)


def test_the_share_of_a_half_masked_tile_is_that_of_its_cells_that_count() -> None:
    ignored = replace(PLAIN, ignore=pack(marked(0, 90, 0, 26)))  # half of the tiles on the left
    rule = ScoreRule(map="level", pool="top", share=0.25)
    cells = cells_of_kept(ignored, (4, 6))
    assert cells is not None
    assert int(cells[0].sum()) == 12  # of 24
    maps = torch.zeros(1, 8, 18)
    maps[0, 0, 3:6] = 1.0  # three cells: a quarter of 12, and half of a quarter of 24

    assert Given(ignored, rule)(maps)["score"].item() == 1.0
    assert Given(PLAIN, rule)(maps)["score"].item() == 0.5


def test_a_tile_of_masked_cells_never_decides_even_if_all_others_are_below_0() -> None:
    rule = ScoreRule(map="level", pool="top", share=0.1)
    maps = torch.full((1, 8, 18), -2.0)

    outputs = Given(SPEC, rule)(maps)

    assert outputs["score"].item() == pytest.approx(-2.0)
    cells = judged_cells(SPEC, (8, 18))
    assert cells is not None
    assert (outputs["anomaly_map"][0, ~cells] == 0).all()


def test_a_region_of_less_than_a_pixel_of_the_network_is_refused() -> None:
    with pytest.raises(DataError, match="less than a pixel of the network's 64 x 144"):
        kept_tiles(replace(PLAIN, region=pack(marked(5, 6, 5, 6))))


def test_an_input_without_tiles_has_no_tiles_to_keep() -> None:
    with pytest.raises(ConfigError, match="expected an input with tiles"):
        kept_tiles(FrameSpec(channels=3, size=(32, 48)))
