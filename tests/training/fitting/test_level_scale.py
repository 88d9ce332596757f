"""The scale of frames with more than 8 bits, from good parts."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, Reason
from andon.sources.collection import FoundFrames
from andon.training.fitting.level_scale import LEAST_WIDTH, level_counts, level_scale, scaled

SPEC = FrameSpec(channels=1, size=(16, 16))


class Deep:
    """Frames with 16 bits, by key."""

    def __init__(self, frames: list[NDArray[np.uint16]]) -> None:
        self.found = FoundFrames(channels=1, frame_size=(16, 16), largest=(16, 16), dtype="uint16")
        self.frames = {f"{number:03}": frame for number, frame in enumerate(frames)}
        self.refs = [Ref(key=key) for key in self.frames]

    def read(self, ref: Ref) -> Item | Lost:
        return Item(ref, self.frames[ref.key]) if len(self.frames[ref.key]) else Lost(ref, Reason.UNREADABLE)


def frames(low: int, high: int, count: int = 4) -> list[NDArray[np.uint16]]:
    generator = np.random.default_rng(0)
    return [generator.integers(low, high + 1, (64, 64, 1)).astype(np.uint16) for _ in range(count)]


def scale_of(*made: NDArray[np.uint16]) -> tuple[float, float]:
    return level_scale(level_counts(made))


@pytest.mark.parametrize(("bits", "white"), [(10, 1023.0), (12, 4095.0), (14, 16383.0), (16, 65535.0)])
def test_parts_that_fill_the_range_of_a_camera_get_this_range(bits: int, white: float) -> None:
    assert scale_of(*frames(2**bits // 10, 2**bits * 8 // 10)) == (0.0, white)


def test_eight_bits_times_257_get_the_grey_levels_of_eight_bits() -> None:
    assert scale_of(*[frame * np.uint16(257) for frame in frames(20, 230)]) == (0.0, 65535.0)


def test_parts_in_a_small_piece_of_the_range_are_stretched_with_a_margin() -> None:
    assert scale_of(*frames(28_000, 31_000)) == pytest.approx((27_700, 31_300), abs=20)


def test_a_few_hot_or_dead_pixels_do_not_move_the_scale() -> None:
    made = frames(28_000, 31_000)
    hot = [frame.copy() for frame in made]
    for frame in hot:
        frame[0, 0], frame[1, 1] = 65535, 0

    assert scale_of(*hot) == pytest.approx(scale_of(*made), abs=20)


def test_flat_parts_are_not_stretched_to_noise() -> None:
    black, white = scale_of(*frames(10, 12))

    assert black == 0.0
    assert white == pytest.approx(LEAST_WIDTH, abs=1)


@given(low=st.integers(0, 65_535), high=st.integers(0, 65_535))
@settings(max_examples=50)
def test_the_scale_is_within_the_type_and_covers_the_levels_of_good_parts(low: int, high: int) -> None:
    low, high = min(low, high), max(low, high)
    black, white = scale_of(*frames(low, high, count=1))

    assert 0 <= black < white <= 65_535
    assert white - black >= LEAST_WIDTH - 1
    assert black <= low + 0.01 * (high - low)
    assert white >= high - 0.01 * (high - low)


def test_the_spec_gets_type_and_scale_and_the_log_states_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    data = Deep([*frames(100, 4000), np.zeros((0, 0, 1), np.uint16)])

    assert scaled(SPEC, data, data.refs) == replace(SPEC, dtype="uint16", black=0.0, white=4095.0)
    assert "uint16 frames, 0 becomes grey level 0 and 4095 becomes 255" in caplog.text


def test_no_readable_part_is_an_error() -> None:
    data = Deep([np.zeros((0, 0, 1), np.uint16)])

    with pytest.raises(DataError, match="expected readable uint16 frames, got none"):
        scaled(SPEC, data, data.refs)


def test_pixels_that_do_not_count_do_not_move_the_scale() -> None:
    judged = np.zeros((40, 60), np.bool_)
    judged[:, :30] = True
    part = np.random.default_rng(0).integers(28_000, 31_000, (40, 60, 1)).astype(np.uint16)
    printed = part.copy()
    printed[:, 30:] = 65_535

    assert (level_counts([part], judged) == level_counts([printed], judged)).all()
    assert level_counts([part], judged).sum() == judged.sum()
    assert not level_counts([part[:20]], judged).any()
