"""Live pictures and curves: small, with the heat map, and without losing a short peak."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec.structs import replace
from tests.monitor.outcomes import some_outcome

from andon.demo.example_line import MODEL, example
from andon.monitor.web.pictures import HEATED, MOST_CURVES, MOST_POINTS, PLAIN, live_curves, live_picture
from andon.runtime.detector import Detector
from andon.runtime.schema import Card, Channel, WindowSpec

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    path = tmp_path_factory.mktemp("model") / MODEL
    path.write_bytes(example(MODEL))
    return Detector.load(path).card


@pytest.mark.parametrize(
    "shape", [(1080, 1920, 3), (1080, 1920, 1), (3000, 40, 3), (30, 4000, 1), (30, 40, 3), (1, 1, 1)]
)
def test_a_picture_fits_into_its_largest_size_and_keeps_its_shape(shape: tuple[int, int, int]) -> None:
    jpeg = live_picture(some_outcome(data=np.full(shape, 90, np.uint8)))

    assert jpeg is not None
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert height <= PLAIN[0]
    assert width <= PLAIN[1]
    if min(height, width) > 20:
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.05)


def test_a_hot_place_is_drawn_over_the_frame(card: Card) -> None:
    frame = np.full((320, 320, 1), 90, np.uint8)
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[2, 2] = 1e6
    outcome = some_outcome(data=frame, card=card)
    hot = replace(outcome, verdict=replace(outcome.verdict, evidence={"anomaly_map": anomaly_map}))

    plain, heated = live_picture(some_outcome(data=frame)), live_picture(hot)

    assert plain is not None
    assert heated is not None
    difference = np.abs(pixels(plain).astype(int) - pixels(heated).astype(int)).max(axis=2)
    assert difference[100, 100] > 30
    assert difference[280, 280] < 10


def test_a_map_that_would_draw_nothing_costs_nothing_and_a_drawn_one_makes_the_picture_smaller(card: Card) -> None:
    outcome = some_outcome(data=np.full((1080, 1920, 3), 90, np.uint8), card=card)

    def size(value: float) -> tuple[int, ...]:
        evidence = {"anomaly_map": np.full((8, 8), value, np.float32)}
        jpeg = live_picture(replace(outcome, verdict=replace(outcome.verdict, evidence=evidence)))
        assert jpeg is not None
        return pixels(jpeg).shape[:2]

    assert size(0.0) == PLAIN
    assert size(1e6) == HEATED
    assert size(float("nan")) == HEATED


def test_an_outcome_without_a_frame_has_no_picture() -> None:
    assert live_picture(some_outcome(data=None)) is None
    assert live_picture(some_outcome(data=np.zeros((8, 3), np.float32))) is None
    assert live_curves(some_outcome()) == ()


@given(
    window=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 500), st.just(3)),
        elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan),
    )
)
def test_no_peak_of_a_window_is_lost(window: np.ndarray, card: Card) -> None:
    curves = live_curves(some_outcome(data=window, card=card))

    assert len(curves) == 3
    for column, curve in enumerate(curves):
        values = window[:, column][np.isfinite(window[:, column])]
        assert len(curve.low) == len(curve.high) <= MOST_POINTS
        highs, lows = [one for one in curve.high if one is not None], [one for one in curve.low if one is not None]
        if len(values):
            assert max(highs) == pytest.approx(values.max(), rel=1e-4)
            assert min(lows) == pytest.approx(values.min(), rel=1e-4)
        else:
            assert highs == lows == []


def test_of_many_channels_those_with_the_highest_shares_are_shown_in_their_order(card: Card) -> None:
    assert isinstance(card.input, WindowSpec)
    many = replace(card, input=replace(card.input, channels=tuple(Channel(name=f"c{at}") for at in range(40))))
    scores = np.zeros(40, np.float32)
    scores[[35, 3]] = (3.0, 1.0)
    outcome = some_outcome(data=np.ones((16, 40), np.float32), card=many)
    outcome = replace(outcome, verdict=replace(outcome.verdict, evidence={"channel_scores": scores}))

    curves = live_curves(outcome)

    assert len(curves) == MOST_CURVES
    shares = {curve.name: curve.share for curve in curves}
    assert (shares["c35"], shares["c3"]) == (0.75, 0.25)
    assert [int(curve.name[1:]) for curve in curves] == sorted(int(curve.name[1:]) for curve in curves)


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
