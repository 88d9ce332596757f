"""The checks before a judge: an unhealthy frame never reaches it, and everything else does, unchanged."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from tests.calibration.parts import Parts
from tests.runtime.hand_made import FRAME, blank_bytes, graph, model_bytes
from tests.sources.fake_clock import FakeClock

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import score
from andon.monitor.healthy_judge import healthy_judge
from andon.monitor.judging import Outcome, decide
from andon.monitor.records import record
from andon.runtime.calibration_facts import ChannelHealth, FrameHealth, Quantiles
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import Judge
from andon.runtime.model_file.format import parse
from andon.runtime.schema import Card, Channel, FrameSpec, Reason, ScoreRule, Status, WindowSpec
from andon.runtime.verdict import Verdict
from andon.sources.series.grid import Grid
from andon.sources.series.windows import Windows

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


# windows

SPEC = WindowSpec(
    steps=4,
    hop=2,
    period_s=0.5,
    channels=(Channel(name="voltage", unit="V", low=-2.0, high=2.0), Channel(name="current")),
)
HEALTH = (
    ChannelHealth(name="voltage", low=-2.0, high=2.0, constant_s=0.25, period_s=0.5),
    ChannelHealth(name="current", low=-2.0, high=2.0, constant_s=0.25, period_s=0.5),
)


def windows_of(values: NDArray[np.float64]) -> list[Item | Lost]:
    """Return the items of rows that are half a second apart."""
    grid, windows = Grid(SPEC), Windows(SPEC, "a")
    return [*windows.push(grid.push(np.arange(len(values)) / 2, values)), *windows.push(grid.flush())]


def judged(items: list[Item | Lost], health: tuple[ChannelHealth, ...] = HEALTH) -> list[Outcome]:
    """Return the outcomes of items. The judge below the check calls every window OK."""
    detector = Detector.from_bytes(model_bytes(SPEC))
    assert detector.card.calibration is not None
    calibration = msgspec.structs.replace(detector.card.calibration, channel_health=health)
    card = msgspec.structs.replace(detector.card, calibration=calibration)
    judge = Judge(lambda _data: Verdict(status=Status.OK, score=1.0, threshold=2.0), 2.0, "abc", "window")
    checked = healthy_judge(judge, card, FakeClock(), live=False)
    return [decide(item, checked, seq=number, wall_s=0.0) for number, item in enumerate(items, 1)]


def moving(rows: int) -> NDArray[np.float64]:
    return np.stack([np.sin(np.arange(rows)), np.cos(np.arange(rows))], axis=1)


def test_healthy_windows_reach_the_judge_and_a_stream_still_warms_up() -> None:
    reasons = [outcome.verdict.reason for outcome in judged(windows_of(moving(60)))]

    assert reasons == [Reason.WARMING] + [Reason.NONE] * 29


def test_a_stuck_channel_is_named_and_the_state_of_a_channel_outlasts_a_window() -> None:
    values = moving(60)
    values[20:, 1] = 0.5  # 5 s is the limit; a window lasts 2 s
    outcomes = judged(windows_of(values))

    stuck = [outcome for outcome in outcomes if outcome.verdict.status is Status.INVALID][1:]
    assert [outcome.ref.time_s for outcome in stuck] == [number / 2 for number in range(31, 60, 2)]
    assert {(one.verdict.reason, one.channel) for one in stuck} == {(Reason.STUCK, "current")}
    assert stuck[0].detail == "current: stuck: one value for 5.5 s (limit 5 s)"
    assert (record(stuck[0]).channel, record(stuck[0]).reason) == ("current", "stuck")
    assert stuck[0].data is not None


def test_a_gap_because_of_a_silent_channel_becomes_stale_or_missing_and_a_short_one_stays_a_gap() -> None:
    silent, absent = moving(60), moving(60)
    silent[20:, 1] = np.nan
    absent[:, 0] = np.nan

    for values, channel, reason in ((silent, "current", Reason.STALE), (absent, "voltage", Reason.MISSING_CHANNEL)):
        lost = [one for one in judged(windows_of(values)) if one.verdict.reason is not Reason.WARMING]
        invalid = [one for one in lost if one.verdict.status is Status.INVALID]
        assert {one.channel for one in invalid} == {channel}
        assert invalid[0].verdict.reason is Reason.GAP
        assert invalid[-1].verdict.reason is reason


def test_without_statistics_of_good_parts_the_range_of_the_training_set_is_left() -> None:
    values = moving(60)
    values[20:, 1] = 0.5
    values[40, 0] = 7.0
    invalid = [one for one in judged(windows_of(values), ()) if one.verdict.reason is not Reason.WARMING]

    assert [one.verdict.reason for one in invalid if one.verdict.reason] == [Reason.OUT_OF_RANGE] * 2
    assert invalid[19].detail == "voltage: out of range: 7 V (limits -6 and 6 V)"


def test_a_window_from_a_program_is_checked_for_its_values_and_other_arrays_are_left_to_the_judge() -> None:
    high = np.array([[0.0, 0.0], [0.0, 9.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    outcomes = judged([Item(Ref(key="a"), high), Item(Ref(key="b"), high[:, :1]), Item(Ref(key="c"), high[0])])

    assert [outcome.verdict.reason for outcome in outcomes] == [Reason.OUT_OF_RANGE, Reason.NONE, Reason.NONE]


def test_a_cut_cable_with_many_channels_gives_a_short_detail() -> None:
    spec = WindowSpec(steps=2, hop=2, period_s=1.0, channels=tuple(Channel(name=f"c{n}") for n in range(40)))
    card = msgspec.structs.replace(CARD, input=spec)
    judge = healthy_judge(
        Judge(lambda _data: Verdict(status=Status.OK), 2.0, "abc", "window"), card, FakeClock(), live=False
    )
    outcome = decide(Item(Ref(key="a"), np.full((2, 40), np.inf, np.float32)), judge, seq=1, wall_s=0.0)

    assert outcome.detail.endswith("c4: not finite: a sample is infinite or not a number; and 35 more problems")


# frames with more than 8 bits


DEEP = msgspec.structs.replace(
    CARD, input=FrameSpec(channels=1, size=(24, 24), dtype="uint16", black=1000.0, white=5000.0)
)


def test_the_health_of_deep_frames_is_measured_in_grey_levels_of_the_model_file() -> None:
    recorder = Recorder(DEEP)
    fine = (noise().astype(np.uint16) * 12 + 1000).astype(np.uint16)

    assert recorder(fine).verdict.status is Status.OK
    assert recorder.given[0] is fine
    assert recorder(np.full((24, 24, 1), 1010, np.uint16)).verdict.reason is Reason.BLACK
    assert recorder(np.full((24, 24, 1), 6000, np.uint16)).verdict.reason is Reason.OVEREXPOSED


def test_a_frame_of_another_depth_is_left_to_the_judge_which_refuses_it() -> None:
    recorder = Recorder(DEEP)
    black = np.zeros((24, 24, 1), np.uint8)
    recorder(black)

    assert recorder.given[0] is black
