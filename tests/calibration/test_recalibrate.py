"""Calibration of a file in use, from new good parts on site."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.calibration.parts import Parts
from tests.calibration.scores import scores_of
from tests.export.test_scene import RULE, SPEC, Discs
from tests.export.toys import Edges
from tests.runtime.hand_made import FRAME, blank_bytes, frame, graph

from andon.calibration.calibrate import calibrate
from andon.calibration.manual_threshold import set_threshold
from andon.calibration.recalibrate import (
    SCENE_SHARE,
    Recalibrated,
    recalibrate,
    recalibrate_from_scores,
    same_promise,
    scene_split,
)
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.scene import LEAST_PARTS, PARTS
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.foundation.errors import CalibrationError, ConfigError, NotEnoughParts
from andon.runtime import Detector, Reason, Status
from andon.runtime.items import Ref
from andon.runtime.model_file.format import ModelFile, parse, read

REQUEST = CalibrationRequest(date="2026-11-30", reason="a test")
FORCED = CalibrationRequest(date="2026-11-30", reason="a new lamp", forced=True)


def gamma(count: int, seed: int, factor: float = 1.0) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return factor * np.random.default_rng(seed).gamma(4.0, 0.05, count)


@pytest.fixture(scope="module")
def plain() -> bytes:
    """Return a file without a scene check, calibrated from 300 parts."""
    return calibrate(blank_bytes(graph(FRAME), FRAME), scores_of(gamma(300, 1)), CalibrationRequest(date="2026-01-01"))


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a scene check for discs under a lamp."""
    path = tmp_path_factory.mktemp("recalibrate") / "discs.onnx"
    export(
        Pipeline(Edges(), SPEC, RULE, scene=True),
        Discs(90),
        path,
        request=CalibrationRequest(date="2026-01-02"),
        scene_parts=Discs(60, first=500),
    )
    return path


def judged(model: ModelFile, parts: Discs) -> list[Status]:
    detector = Detector.from_bytes(model.data)
    return [detector(parts.frame(place)).status for place in range(len(parts.refs))]


# the same line


def test_equal_parts_give_a_plausible_move_that_the_log_keeps(plain: bytes) -> None:
    result = recalibrate_from_scores(plain, scores_of(gamma(300, 2)), REQUEST)

    entry = result.after.log[-1]
    assert (entry.reason, entry.date, len(result.after.log)) == ("a test", "2026-11-30", 2)
    assert entry.move is not None
    assert not entry.move.implausible
    assert entry.move.n_before == 300
    assert result.after.graph_sha256 == result.before.graph_sha256


@pytest.mark.parametrize("factor", [0.5, 2.0], ids=["lower scores", "higher scores"])
def test_an_implausible_move_is_refused_unless_it_is_forced(plain: bytes, factor: float) -> None:
    scores = scores_of(gamma(300, 3, factor))
    with pytest.raises(
        CalibrationError, match=r"moved implausibly far: \d+ of 300 new .* --force and give the --reason"
    ):
        recalibrate_from_scores(plain, scores, REQUEST)

    move = recalibrate_from_scores(plain, scores, FORCED).after.log[-1].move

    assert move is not None
    assert (move.implausible, move.forced) == (True, True)


@pytest.mark.parametrize("seed", range(20))
def test_equal_parts_are_not_refused(plain: bytes, seed: int) -> None:
    assert recalibrate_from_scores(plain, scores_of(gamma(200, 100 + seed)), REQUEST).after.log


def test_a_file_keeps_its_promise_by_default(plain: bytes) -> None:
    old = parse(plain)

    assert same_promise(old) == PromiseRequest(false_reject=0.01, confidence=0.95)
    assert same_promise(parse(set_threshold(plain, 3.0, date="2026-11-30", reason="x"))) == PromiseRequest()


def test_parts_that_are_grouped_in_another_way_are_refused(plain: bytes) -> None:
    grouped = CalibrationRequest(date="2026-11-30", grouped=True)
    with pytest.raises(ConfigError, match="expected no groups, as in the last calibration"):
        recalibrate_from_scores(plain, scores_of(gamma(300, 2)), grouped)


def test_the_parts_with_the_highest_scores_are_named(plain: bytes) -> None:
    values = gamma(300, 2)

    result = recalibrate_from_scores(plain, scores_of(values), REQUEST)

    assert result.top_parts[0][1] == pytest.approx(values.max())


# the scene check


@given(count=st.integers(2, 900), seed=st.integers(0, 5), each=st.integers(1, 4))
def test_each_part_either_fits_the_scene_or_sets_the_threshold(count: int, seed: int, each: int) -> None:
    refs = [Ref(key=f"{place}", part=f"{place // each}", group=f"{place // each}") for place in range(count)]
    if len({ref.group for ref in refs}) < 2:
        return

    scene, rest = scene_split(refs, seed=seed)

    assert sorted(ref.key for ref in scene + rest) == sorted(ref.key for ref in refs)
    assert not {ref.group for ref in scene} & {ref.group for ref in rest}
    assert rest
    wanted = min(PARTS, max(LEAST_PARTS, round(SCENE_SHARE * count)))
    assert len(scene) < wanted + each


def test_parts_of_a_single_lot_cannot_be_divided() -> None:
    with pytest.raises(CalibrationError, match="several parts or lots"):
        scene_split([Ref(key=f"{place}", part=f"{place}", group="lot") for place in range(50)], seed=0)


@pytest.fixture(scope="module")
def darker(discs: Path) -> Recalibrated:
    return recalibrate(read(discs).data, Discs(120, light=0.7, first=3000), FORCED)


def test_under_a_darker_lamp_the_old_file_says_invalid_and_the_new_one_judges(
    discs: Path, darker: Recalibrated
) -> None:
    held_back = Discs(60, light=0.7, first=8000)

    before, after = judged(read(discs), held_back), judged(darker.after, held_back)

    assert set(before) == {Status.INVALID}
    assert after.count(Status.OK) >= 56
    assert darker.scene_parts == 24


def test_a_new_lamp_changes_no_raw_score_and_no_byte_of_the_graph(discs: Path, darker: Recalibrated) -> None:
    parts = Discs(5, light=0.7, first=9000)
    old, new = Detector.load(discs), Detector.from_bytes(darker.data)

    for place in range(5):
        (was,), (now,) = (one.measure([parts.frame(place)], "raw_score") for one in (old, new))
        assert was == now
    assert darker.after.graph_sha256 == darker.before.graph_sha256


def test_the_new_file_knows_the_new_lamp_only(darker: Recalibrated) -> None:
    detector = Detector.from_bytes(darker.data)

    assert detector(Discs(1, light=0.2, first=50).frame(0)).reason is Reason.OTHER_SCENE


def test_too_few_photos_say_how_many_are_needed_in_all(discs: Path) -> None:
    request = CalibrationRequest(date="2026-11-30", promise=PromiseRequest(false_reject=0.05), forced=True)
    with pytest.raises(
        NotEnoughParts, match=r"About 7\d good parts in all are enough: 10 of the 50 given parts fit the scene"
    ):
        recalibrate(read(discs).data, Discs(50, first=3000), request)


def test_another_frame_size_becomes_the_size_of_the_file(discs: Path) -> None:
    result = recalibrate(read(discs).data, Discs(100, first=100, size=(90, 120)), FORCED)

    assert getattr(result.after.card.input, "frame_size", None) == (90, 120)


def test_more_than_five_percent_unreadable_parts_are_refused(plain: bytes) -> None:
    pictures = {f"{number}.png": frame(number) for number in range(60)}
    lost = dict.fromkeys((f"x{number}.png" for number in range(5)), None)

    with pytest.raises(CalibrationError, match="the input of 5 of 65 calibration parts was lost"):
        recalibrate(plain, Parts({**pictures, **lost}), REQUEST)
