"""The choice of tiles for frames of one size, and the estimate of their cost."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from andon.export.tile_grid import canvas, chunks_of
from andon.export.tiles import CutTiles
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, Tiles
from andon.training.recipe.tiling import (
    AUTO,
    CHUNK_PIXELS,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    cost_of,
    cost_text,
    tiles_for,
)

SIDES = st.integers(64, 8000)
SIZES = st.integers(3, 16).map(lambda count: (32 * count, 32 * count))


@given(frame=st.tuples(SIDES, SIDES), size=SIZES)
def test_automatic_tiles_keep_the_frame_at_its_size_with_as_few_tiles_as_possible(
    frame: tuple[int, int], size: tuple[int, int]
) -> None:
    spec = FrameSpec(channels=3, size=size)
    tiles = tiles_for(AUTO, frame, size)
    assume(tiles is not None)
    assert tiles is not None

    for axis, count in enumerate((tiles.rows, tiles.columns)):
        whole = canvas(spec, tiles)[axis]
        assert whole >= SMALLEST_SCALE * frame[axis]
        assert count == 1 or whole - (size[axis] - tiles.overlap) < SMALLEST_SCALE * frame[axis]


@given(frame=st.tuples(SIDES, SIDES), size=SIZES)
def test_tiles_can_be_cut_and_their_chunks_are_bounded(frame: tuple[int, int], size: tuple[int, int]) -> None:
    tiles = tiles_for(AUTO, frame, size)
    assume(tiles is not None)
    assert tiles is not None

    CutTiles(FrameSpec(channels=3, size=size), tiles)
    assert tiles.chunk == 1 or tiles.chunk * size[0] * size[1] <= CHUNK_PIXELS
    assert max(len(chunk.columns) for chunk in chunks_of(tiles)) == tiles.chunk


def test_a_frame_that_one_tile_covers_gets_none() -> None:
    assert tiles_for(AUTO, (384, 400), (384, 384)) is None


def test_rows_and_columns_can_be_given() -> None:
    assert tiles_for("3x4", (3000, 4096), (384, 384)) == Tiles(rows=3, columns=4, overlap=64, chunk=4)


@pytest.mark.parametrize("asked", ["3", "3x", "0x4", "4096px", "1000x1000"])
def test_other_texts_are_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="--tile: expected"):
        tiles_for(asked, (3000, 4096), (384, 384))


def test_a_single_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than one tile, got 1x1"):
        tiles_for("1x1", (3000, 4096), (384, 384))


def test_tiles_that_would_enlarge_the_frame_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"would enlarge frames of 480 x 640 \(height x width\) 5.5 times"):
        tiles_for("8x8", (480, 640), (384, 384))


@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_given_tiles_never_enlarge_the_frame_much(rows: int, columns: int) -> None:
    assume(rows * columns > 1)
    frame, spec = (2000, 3000), FrameSpec(channels=3, size=(384, 384))
    try:
        tiles = tiles_for(f"{rows}x{columns}", frame, spec.size)
    except ConfigError:
        return
    assert tiles is not None
    assert max(side / length for side, length in zip(canvas(spec, tiles), frame, strict=True)) <= LARGEST_SCALE


def test_the_cost_grows_with_the_tiles_in_time_and_with_the_chunk_in_memory() -> None:
    spec, frame = FrameSpec(channels=3, size=(384, 384)), (3000, 4096)
    few = Tiles(rows=3, columns=4, overlap=64, chunk=4)
    many = Tiles(rows=9, columns=12, overlap=64, chunk=6)

    none, small, large = cost_of(None, frame, spec), cost_of(few, frame, spec), cost_of(many, frame, spec)

    assert none.seconds < small.seconds < large.seconds
    assert none.memory_mb < small.memory_mb < large.memory_mb < 700
    assert large.seconds / none.seconds == pytest.approx(109)


def test_the_cost_is_stated_in_words() -> None:
    spec, frame = FrameSpec(channels=3, size=(384, 384)), (3000, 4096)
    tiles = tiles_for(AUTO, frame, spec.size)
    assert tiles is not None

    text = cost_text(tiles, frame, spec)

    assert text.startswith("9 x 12 tiles of 384 x 384 px that overlap by 64 px, with the frame at 95% of its size.")
    assert "about 109 times as long as one without tiles (roughly 3.4 s on one core)" in text
    assert "MB of memory" in text
