"""A part of each frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason
from andon.sources.region import Region, cropped

FRAME = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def item(number: int, data: np.ndarray = FRAME) -> Item:
    return Item(Ref(key=f"a#{number}"), data)


def silence(number: int) -> Lost:
    return Lost(Ref(key=f"s#{number}"), Reason.STALE, "silent")


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
