"""Places of tiles: which tiles are judged together, and where they are in the map of a frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.export.tile_grid import chunks_of, map_shape
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, Tiles


@given(rows=st.integers(1, 6), columns=st.integers(1, 9), chunk=st.integers(1, 12))
def test_every_tile_is_in_exactly_one_chunk(rows: int, columns: int, chunk: int) -> None:
    chunks = chunks_of(Tiles(rows=rows, columns=columns, overlap=0, chunk=chunk))

    seen = [(one.row, column) for one in chunks for column in one.columns]
    assert seen == [(row, column) for row in range(rows) for column in range(columns)]
    assert all(len(one.columns) <= chunk for one in chunks)


@given(rows=st.integers(1, 5), columns=st.integers(1, 7), chunk=st.integers(1, 8), data=st.data())
def test_tiles_that_are_left_out_are_in_no_chunk_and_a_chunk_has_no_gap(
    rows: int, columns: int, chunk: int, data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.integers(0, rows * columns - 1)))

    chunks = chunks_of(Tiles(rows=rows, columns=columns, overlap=0, chunk=chunk), kept)

    assert [one.row * columns + column for one in chunks for column in one.columns] == sorted(kept)
    assert all(1 <= len(one.columns) <= chunk and one.columns.step == 1 for one in chunks)


def test_the_map_of_a_frame_has_the_cells_of_its_tiles_without_those_that_they_share() -> None:
    spec, tiles = FrameSpec(channels=3, size=(32, 48)), Tiles(rows=3, columns=4, overlap=16, chunk=3)

    assert map_shape(spec, tiles, (4, 6)) == (3 * (4 - 2) + 2, 4 * (6 - 2) + 2)
    with pytest.raises(ConfigError, match="overlap of whole cells"):
        map_shape(spec, tiles, (4, 5))
