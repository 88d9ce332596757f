"""A judged frame with its heat map and a strip of text."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.hand_made import FRAME, frame, model_file

from andon.drawing.heat_picture import NARROWEST, heat_picture, strip
from andon.runtime.heat_map import Picture, overlay
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict

CARD = model_file(FRAME, threshold=0.25).card
POOLED = msgspec.structs.replace(CARD, reading=msgspec.structs.replace(CARD.reading, pool="top"))
HOT = np.zeros((8, 8), np.float32)
HOT[2:5, 3:6] = 0.5


def verdict(status: Status = Status.REJECT, **fields: object) -> Verdict:
    given_fields = {"score": 0.4, "threshold": 0.25, "level": 1.87, "evidence": {"anomaly_map": HOT}} | fields
    return Verdict(status=status, **given_fields)  # type: ignore[arg-type]


def ink(picture: Picture) -> int:
    return int((picture.min(axis=2) < 120).sum())


@pytest.mark.parametrize("size", [(400, 600), (336, 448), (300, 300)])
def test_the_strip_is_below_the_frame_and_never_over_it(size: tuple[int, int]) -> None:
    pixels = frame(0, size=size)

    made = heat_picture(pixels, verdict(), POOLED)

    assert made.shape[1] == size[1]
    assert made.shape[0] > size[0]
    np.testing.assert_array_equal(made[: size[0]], overlay(pixels, HOT, 0.25))


@settings(max_examples=20, deadline=None)
@given(height=st.integers(16, 700), width=st.integers(16, 700), grey=st.booleans())
def test_the_text_has_room_for_frames_of_any_size(height: int, width: int, grey: bool) -> None:
    pixels = np.full((height, width, 1 if grey else 3), 90, np.uint8)

    made = heat_picture(pixels, verdict(), POOLED)

    assert made.dtype == np.uint8
    assert made.shape[2] == 3
    assert made.shape[1] >= max(NARROWEST, width)
    assert made.shape[0] >= height + 30


def test_a_small_frame_is_enlarged_by_whole_pixels_and_centred() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)

    made = heat_picture(pixels, verdict(evidence={}), POOLED)

    np.testing.assert_array_equal(made[:192, 6:294], pixels.repeat(6, axis=0).repeat(6, axis=1))


@pytest.mark.parametrize("level", [0.0, -123.4, 9.99, 12345.67, 1e30])
def test_a_long_level_does_not_reach_the_colour_scale(level: float) -> None:
    without = strip(verdict(level=float("nan")), POOLED, NARROWEST, legend=True)
    with_level = strip(verdict(level=level), POOLED, NARROWEST, legend=True)

    begin = round(0.58 * NARROWEST)
    np.testing.assert_array_equal(with_level[:, begin:], without[:, begin:])
    assert ink(with_level) > ink(without)


def test_an_invalid_frame_shows_why() -> None:
    plain = strip(verdict(Status.INVALID), POOLED, 400, legend=False)
    with_reason = strip(verdict(Status.INVALID, reason=Reason.NO_CONTRAST), POOLED, 400, legend=False)

    assert with_reason.shape[0] > plain.shape[0]
    assert ink(with_reason[plain.shape[0] - 6 :]) > 100


def test_the_scale_is_drawn_only_with_a_heat_map() -> None:
    frame_alone = heat_picture(np.full((300, 300, 3), 90, np.uint8), verdict(evidence={}), POOLED)
    with_map = heat_picture(np.full((300, 300, 3), 90, np.uint8), verdict(), POOLED)

    assert (frame_alone[:300] == 90).all()
    assert ink(with_map[300:]) > ink(frame_alone[300:])


def test_the_colours_of_the_strip_are_those_of_the_status() -> None:
    reject, ok = (strip(verdict(status), POOLED, 400, legend=False)[14, 14] for status in (Status.REJECT, Status.OK))

    assert reject[0] > reject[2]
    assert ok[2] > ok[0]
