"""Statistics of good frames and windows that a calibration keeps for the monitor."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.calibration.parts import Parts
from tests.runtime.hand_made import FRAME, WINDOW, blank_bytes, frame, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.good_health import FRAMES, GoodWindow, channel_health, frame_health, measured_places
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.scoring import score
from andon.monitor.channel_health import limits_of_channel
from andon.monitor.frame_health import limits_of
from andon.runtime.calibration_facts import Calibration
from andon.runtime.frame_statistics import measure
from andon.runtime.items import Item, Ref
from andon.runtime.model_file.format import parse
from andon.sources.collection import FoundLogs

Windows = list[GoodWindow]


def calibration_of(data: bytes) -> Calibration:
    calibration = parse(data).card.calibration
    assert calibration is not None
    return calibration


class Log:
    """Windows of one run, `WINDOW.steps` rows each, one after another."""

    def __init__(self, rows: NDArray[np.float32], *, period_s: float = 0.1) -> None:
        self._rows = rows
        self.found = FoundLogs(channels=WINDOW.channels, period_s=period_s, runs=1, rows=len(rows))
        ends = range(WINDOW.steps - 1, len(rows), WINDOW.steps)
        self.refs = tuple(Ref(key=f"run#{end}", group="run", time_s=end * WINDOW.period_s) for end in ends)

    def read(self, ref: Ref) -> Item:
        end = int(ref.key.split("#")[1])
        return Item(ref, self._rows[end + 1 - WINDOW.steps : end + 1])


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


# frames


def test_a_calibrated_file_holds_the_statistics_of_its_good_frames() -> None:
    blank = blank_bytes(graph(FRAME), FRAME)
    pictures = {f"{number:03}.png": frame(number) for number in range(80)}

    health = calibration_of(
        calibrate(blank, score(blank, Parts(pictures)), CalibrationRequest(date="2026-11-30"))
    ).health

    assert health is not None
    assert health.n == 80
    assert health.sharpness is not None
    assert health.difference is None
    sharpness = [measure(one)[0].sharpness or 0.0 for one in pictures.values()]
    assert health.sharpness.q50 == pytest.approx(float(np.median(sharpness)))
    limits = limits_of(health)
    assert None not in (limits.torn, limits.sharpness, limits.overexposed)


def test_invalid_and_lost_frames_are_not_measured() -> None:
    blank = blank_bytes(graph(FRAME), FRAME)
    grey = np.full((32, 48, 3), 128, np.uint8)  # no contrast
    pictures = {f"{number:03}.png": frame(number) for number in range(40)}

    scores = score(blank, Parts({**pictures, "grey.png": grey, "lost.png": None}))

    assert scores.health is not None
    assert scores.health.n == 40


def test_too_few_frames_give_no_limits_of_their_own() -> None:
    measured = [measure(frame(number))[0] for number in range(30)]

    assert frame_health(measured[:29]) is None
    assert frame_health(measured) is not None


def test_scores_without_frames_keep_the_statistics_of_the_old_file() -> None:
    blank = blank_bytes(graph(FRAME), FRAME)
    scores = score(blank, Parts({f"{number:03}.png": frame(number) for number in range(80)}))
    old = calibrate(blank, scores, CalibrationRequest(date="2026-11-30"))
    new = calibrate(old, replace(scores, health=None), CalibrationRequest(date="2026-12-01"))

    assert calibration_of(new).health == calibration_of(old).health is not None


@given(st.integers(0, 5000))
def test_no_more_frames_are_measured_than_the_upper_limit_and_they_are_spread(count: int) -> None:
    places = measured_places(count)

    assert len(places) == min(count, FRAMES)
    if count:
        assert (places[0], places[-1]) == (0, count - 1)
        assert np.diff(places).max(initial=0) <= count / FRAMES + 2


# channels


def test_a_calibrated_file_holds_range_constant_time_and_period_of_its_channels() -> None:
    blank = blank_bytes(graph(WINDOW), WINDOW)
    values = rows(1200)
    values[101:110, 0] = values[100, 0]  # 10 equal rows, across windows of 4

    scores = score(blank, Log(values))
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30")
    pressure, flow = calibration_of(calibrate(blank, scores, request)).channel_health

    assert (pressure.name, flow.name) == ("pressure", "flow")
    assert (pressure.low, pressure.high) == (values[:, 0].min(), values[:, 0].max())
    assert pressure.constant_s == 10 * WINDOW.period_s
    assert flow.constant_s == WINDOW.period_s
    assert pressure.period_s == 0.1


def test_each_channel_has_the_period_of_its_own_samples() -> None:
    log = Log(rows(400))
    log.found = replace(log.found, channel_periods_s=(0.1, 2.0))

    pressure, flow = score(blank_bytes(graph(WINDOW), WINDOW), log).channel_health

    assert (pressure.period_s, flow.period_s) == (0.1, 2.0)


def test_a_channel_that_never_changes_has_no_constant_time() -> None:
    values = rows(400)
    values[:, 1] = 3.0

    _, flow = channel_health(windows_of(values), WINDOW, {})

    assert (flow.constant_s, flow.period_s) == (None, None)
    assert limits_of_channel(WINDOW.channels[1], flow).stuck_after_s is None


def test_windows_apart_are_not_joined() -> None:
    first, second = windows_of(np.ones((4, 2), np.float32)), windows_of(np.ones((4, 2), np.float32), start=100)
    changing = windows_of(rows(4), start=200)

    pressure, _ = channel_health([*first, *second, *changing], WINDOW, {})

    assert pressure.constant_s == 4 * WINDOW.period_s


@given(st.lists(st.integers(0, 1), min_size=4, max_size=80))
def test_the_longest_constant_time_agrees_with_a_slow_count(levels: list[int]) -> None:
    levels = levels[: len(levels) // 4 * 4]
    values = np.repeat(np.array(levels, np.float32)[:, None], 2, axis=1)
    longest = current = 1
    for before, now in itertools.pairwise(levels):
        current = current + 1 if before == now else 1
        longest = max(longest, current)

    pressure, _ = channel_health(windows_of(values), WINDOW, {})

    assert pressure.constant_s == (longest * WINDOW.period_s if len(set(levels)) > 1 else None)


def test_the_limits_of_a_channel_follow_from_the_file() -> None:
    pressure, _ = channel_health(windows_of(rows(400)), WINDOW, {"pressure": 0.1})

    limits = limits_of_channel(WINDOW.channels[0], pressure)

    assert limits.stuck_after_s == 20 * WINDOW.period_s
    assert limits.period_s == 0.1
    assert limits.low is not None
    assert limits.low < min(-2.0, pressure.low)  # wider than training and calibration
    assert limits_of_channel(WINDOW.channels[0], pressure, stuck_after_s=3.0).stuck_after_s == 3.0


def windows_of(values: NDArray[np.float32], start: int = 0) -> Windows:
    return [
        GoodWindow(
            Ref(key=f"run#{start + end}", group="run", time_s=(start + end) * WINDOW.period_s),
            values[end + 1 - WINDOW.steps : end + 1],
        )
        for end in range(WINDOW.steps - 1, len(values), WINDOW.steps)
    ]
