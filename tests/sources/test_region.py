"""A part of each frame, and every n-th frame."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import ConfigError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.region import Cropped, EveryNth, Region, cropped

FRAME = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def item(number: int, data: np.ndarray = FRAME) -> Item:
    return Item(Ref(key=f"a#{number}"), data)


def silence(number: int) -> Lost:
    return Lost(Ref(key=f"s#{number}"), Reason.STALE, "silent")


class Source:
    """A stream that drops items itself and can be closed."""

    def __init__(self, *items: Item | Lost) -> None:
        self._items = iter(items)
        self.drops = {"busy": 2}
        self.closed = False

    def __iter__(self) -> Iterator[Item | Lost]:
        return self

    def __next__(self) -> Item | Lost:
        return next(self._items)

    def close(self) -> None:
        self.closed = True


@given(st.integers(0, 25), st.integers(0, 15), st.integers(1, 25), st.integers(1, 15))
def test_a_region_has_the_pixels_of_the_frame_or_is_invalid_with_both_sizes(
    x: int, y: int, width: int, height: int
) -> None:
    result = cropped(item(1), Region(x=x, y=y, width=width, height=height))

    if x + width <= 20 and y + height <= 12:
        assert isinstance(result, Item)
        assert (result.data == FRAME[y : y + height, x : x + width]).all()
        assert result.ref == item(1).ref
    else:
        assert isinstance(result, Lost)
        assert result.reason is Reason.WRONG_INPUT
        assert f"{width} x {height} at x = {x}, y = {y}" in result.detail
        assert "20 x 12 pixels" in result.detail


def test_a_region_is_not_copied() -> None:
    result = cropped(item(1), Region(x=1, y=1, width=4, height=4))

    assert isinstance(result, Item)
    assert np.shares_memory(result.data, FRAME)


def test_a_window_of_sensor_data_has_no_region_and_a_lost_item_passes() -> None:
    region = Region(x=0, y=0, width=1, height=1)
    window = cropped(item(1, np.zeros((4, 2), np.float32)), region)

    assert isinstance(window, Lost)
    assert window.reason is Reason.WRONG_INPUT
    assert cropped(silence(1), region) == silence(1)


def test_a_stream_of_regions_keeps_the_drops_of_its_source_and_closes_it() -> None:
    source = Source(item(1), silence(2), item(3))
    stream = Cropped(source, Region(x=0, y=0, width=5, height=6))

    assert [one.data.shape if isinstance(one, Item) else one.reason for one in stream] == [
        (6, 5, 3),
        Reason.STALE,
        (6, 5, 3),
    ]
    assert stream.drops == {"busy": 2}
    stream.close()
    assert source.closed


@given(st.integers(1, 6), st.lists(st.booleans(), max_size=40))
def test_every_item_is_given_or_counted_as_skipped_and_no_lost_one_is_skipped(n: int, sound: list[bool]) -> None:
    # complaint 8: frames are skipped and nobody knows
    items = [item(number) if good else silence(number) for number, good in enumerate(sound)]
    stream = EveryNth(iter(items), n)
    given_items = list(stream)

    assert [one for one in given_items if isinstance(one, Lost)] == [one for one in items if isinstance(one, Lost)]
    assert [one for one in given_items if isinstance(one, Item)] == [one for one in items if isinstance(one, Item)][::n]
    assert len(given_items) + stream.drops["skipped"] == len(items)


def test_skipped_items_are_counted_beside_the_drops_of_the_source() -> None:
    stream = EveryNth(Source(item(1), item(2), item(3)), 3)

    assert [one.ref.key for one in stream] == ["a#1"]
    assert stream.drops == {"busy": 2, "skipped": 2}


def test_steps_can_be_combined() -> None:
    stream = Cropped(EveryNth(Source(*(item(number) for number in range(4))), 2), Region(x=0, y=0, width=2, height=2))

    assert [one.data.shape for one in stream if isinstance(one, Item)] == [(2, 2, 3)] * 2
    assert stream.drops == {"busy": 2, "skipped": 2}


def test_fewer_than_every_item_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least 1, got 0"):
        EveryNth(iter([]), 0)
