"""The checks before a judge: an unhealthy frame never reaches it, and everything else does, unchanged."""

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.calibration.parts import Parts
from tests.runtime.hand_made import FRAME, blank_bytes, graph
from tests.sources.fake_clock import FakeClock

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import score
from andon.foundation.errors import ConfigError
from andon.monitor.healthy_judge import healthy_judge
from andon.monitor.judging import Outcome, decide
from andon.runtime.calibration_facts import FrameHealth, Quantiles
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.judge import Judge
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Card, Channel, FrameSpec, Reason, ScoreRule, Status, WindowSpec
from andon.runtime.verdict import Verdict

CARD = Card(name="a", detector="a", input=FrameSpec(channels=1, size=(24, 24)), reading=ScoreRule(map="x"))


class Recorder:
    """A judge that remembers what it was given, and a clock that goes on by half a second for each item."""

    def __init__(self, card: Card = CARD, *, live: bool = False) -> None:
        self.given: list[NDArray[Any]] = []
        self.clock = FakeClock()
        self.judge = healthy_judge(Judge(self._call, 2.0, "abc", "frame"), card, self.clock, live=live)

    def _call(self, data: NDArray[Any]) -> Verdict:
        self.given.append(data)
        return Verdict(status=Status.OK, score=1.0, threshold=2.0, model="abc")

    def __call__(self, data: NDArray[Any]) -> Outcome:
        self.clock.sleep(0.5)
        return decide(Item(Ref(key="a"), data), self.judge, seq=1, wall_s=0.0)


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(90, 160, (24, 24, 1), dtype=np.uint8)


def test_an_unhealthy_frame_is_invalid_with_its_reason_and_is_not_judged() -> None:
    recorder, black = Recorder(), np.full((24, 24, 1), 3, np.uint8)
    outcome = recorder(black)

    assert (outcome.verdict.status, outcome.verdict.reason) == (Status.INVALID, Reason.BLACK)
    assert (outcome.verdict.threshold, outcome.verdict.model) == (2.0, "abc")
    assert outcome.detail == ("black: nearly no light: 99 % of the pixels have a level of at most 3 (limit 16)")
    assert outcome.data is black
    assert recorder.given == []


def test_a_healthy_frame_reaches_the_judge_unchanged() -> None:
    recorder, frame = Recorder(), noise()

    assert recorder(frame).verdict.status is Status.OK
    assert recorder.given[0] is frame


def test_a_calibrated_file_finds_torn_frames_without_more_settings() -> None:
    blank = blank_bytes(graph(FRAME), FRAME)
    rows, columns = np.mgrid[0:96, 0:144]
    wave = 128 + 60 * np.sin(rows / 9 + columns / 14)
    frames = [
        np.repeat((wave + np.random.default_rng(seed).normal(0, 2, wave.shape))[:, :, None], 3, axis=2).astype(np.uint8)
        for seed in range(61)
    ]
    scores = score(blank, Parts({f"{place:02}.png": frame for place, frame in enumerate(frames[:60])}))
    recorder = Recorder(parse(calibrate(blank, scores, CalibrationRequest(date="2026-11-30"))).card)

    torn = np.concatenate([frames[60][:50], np.roll(frames[60][50:], 40, axis=1)])

    assert recorder(frames[60]).verdict.status is Status.OK
    assert recorder(torn).verdict.reason is Reason.TORN


def test_arrays_that_are_not_frames_are_left_to_the_judge() -> None:
    recorder = Recorder()
    for data in (np.zeros((24, 24), np.uint8), np.zeros((4, 4, 1), np.float32), np.zeros((0, 4, 1), np.uint8)):
        recorder(data)

    assert len(recorder.given) == 3


# Complaint 3: the last picture is shown as if it were live.
def test_a_repeated_frame_is_frozen_only_from_a_live_source() -> None:
    live, file = Recorder(live=True), Recorder()
    reasons = [(live(noise()).verdict.reason, file(noise()).verdict.reason) for _ in range(15)]

    assert reasons == [(Reason.NONE, Reason.NONE)] * 10 + [(Reason.FROZEN, Reason.NONE)] * 5


def test_the_limits_come_from_the_good_parts_of_the_model_file_where_it_has_them(detector: Detector) -> None:
    health = FrameHealth(n=70, high=Quantiles(q01=5.0, q50=6.0, q99=7.0))
    assert detector.card.calibration is not None
    calibration = msgspec.structs.replace(detector.card.calibration, health=health)
    dark = np.full((24, 24, 1), 3, np.uint8)

    assert Recorder(msgspec.structs.replace(detector.card, calibration=calibration))(dark).verdict.status is Status.OK
    assert Recorder(detector.card)(dark).verdict.reason is Reason.BLACK


def test_a_model_file_for_windows_is_refused() -> None:
    spec = WindowSpec(steps=4, hop=1, period_s=1.0, channels=(Channel(name="a"),))

    with pytest.raises(ConfigError, match="expected a model file for frames, got one for windows"):
        Recorder(msgspec.structs.replace(CARD, input=spec))
