"""The check for windows far outside the good ones, in the graph of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from tests.export.toys import WINDOWS, Squares, WindowRuns

from andon.calibration.recalibrate import recalibrate
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.foundation.errors import ModelFileError
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import judge_items
from andon.runtime.model_file.content import Tail
from andon.runtime.model_file.format import parse, seal
from andon.runtime.outside_training import outside, ranges, statistics
from andon.runtime.schema import OutsideCheck, Reason, ScoreRule, Status, WindowSpec

REQUEST = CalibrationRequest(date="2026-11-30", promise=PromiseRequest(false_reject=0.2))
CONSTANT = 1.0


class Runs(WindowRuns):
    """Good windows whose second channel never moves. `shift` moves the first one."""

    def __init__(self, count: int, *, shift: float = 0.0) -> None:
        super().__init__(count, 1)
        self._shift = np.array([shift, 0.0], np.float32)

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        assert isinstance(item, Item)
        data = item.data + self._shift
        data[:, 1] = CONSTANT
        return Item(ref, data.astype(np.float32))


def trained_spec(steps: int = 16) -> WindowSpec:
    """Return the specification with ranges, as training makes it."""
    good = np.stack(
        [item.data[:steps].astype(np.float32) for item in map(Runs(40).read, Runs(40).refs) if isinstance(item, Item)]
    )
    seen = statistics(good)
    lows, highs, spreads, rates = (ranges(each) for each in (seen.low, seen.high, seen.spread, seen.rate))
    channels = tuple(
        replace(channel, low=lows[at].low, high=highs[at].high, spread=spreads[at], rate=rates[at])
        for at, channel in enumerate(WINDOWS.channels)
    )
    return replace(WINDOWS, channels=channels, outside=OutsideCheck())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "windows.onnx"
    pipeline = Pipeline(Squares(), trained_spec(), ScoreRule(map="error"))
    export(pipeline, Runs(60), path, request=REQUEST)
    return path


def good_window() -> NDArray[np.float32]:
    item = Runs(60).read(Ref(key="run3#0"))
    assert isinstance(item, Item)
    return item.data.astype(np.float32)


def far(kind: str) -> NDArray[np.float32]:
    """Return a window that exceeds one limit."""
    window = good_window()
    match kind:
        case "high":
            window[:, 0] += 500.0
        case "low":
            window[5, 0] = -500.0
        case "shaking":
            window[:, 0] = 230.0 + 19.0 * np.resize([1.0, -1.0], 16)
        case "constant channel":
            window[8:, 1] = 1.05
    return window


def test_the_file_declares_the_check_and_holds_its_limits(file: Path) -> None:
    model = parse(file.read_bytes())
    assert isinstance(model.card.input, WindowSpec)
    assert model.card.input.outside == OutsideCheck()
    assert model.outside is not None
    assert model.outside.shape == (8,)
    assert np.isfinite(model.outside).all()


def test_no_calibration_window_is_outside(file: Path) -> None:
    detector = Detector.load(file)
    verdicts = [one.verdict for one in judge_items(detector, map(Runs(60).read, Runs(60).refs))]
    assert {verdict.reason for verdict in verdicts} == {Reason.NONE}


@pytest.mark.parametrize("kind", ["high", "low", "constant channel"])
def test_a_window_far_outside_is_rejected_with_its_own_reason_and_a_score_above_the_threshold(
    file: Path, kind: str
) -> None:
    detector = Detector.load(file)
    verdict = detector(far(kind))
    assert (verdict.status, verdict.reason) == (Status.REJECT, Reason.OUTSIDE_TRAINING)
    assert verdict.score > verdict.threshold


def test_the_score_alone_would_have_passed_a_constant_channel_that_moves(file: Path) -> None:
    detector = Detector.load(file)
    window = far("constant channel")
    assert detector.measure([window], "raw_score")[0] < detector.threshold
    assert detector(window).status is Status.REJECT


def test_a_window_with_a_missing_value_stays_invalid_even_if_another_value_is_far_outside(file: Path) -> None:
    window = far("high")
    window[0, 1] = np.nan
    verdict = Detector.load(file)(window)
    assert (verdict.status, verdict.reason) == (Status.INVALID, Reason.NOT_FINITE)


@pytest.mark.parametrize("size", [1e10, 3e38])
def test_no_finite_value_is_too_large_to_be_refused(file: Path, size: float) -> None:
    window = good_window()
    window[3, 0] = size
    assert Detector.load(file)(window).status in (Status.REJECT, Status.INVALID)


def test_the_judged_item_names_the_channel_and_the_limit(file: Path) -> None:
    (one,) = judge_items(Detector.load(file), [Item(Ref(key="w"), far("constant channel"))])
    assert one.channel == "current"
    assert one.detail.startswith("outside training: current: 1.05 (limits 0.999 and 1.001)")


def test_graph_and_numpy_agree_on_every_limit(file: Path) -> None:
    detector, generator = Detector.load(file), np.random.default_rng(0)
    spec, limits = detector.card.input, detector.model.outside
    assert isinstance(spec, WindowSpec)
    assert limits is not None
    differ = 0
    for _ in range(300):
        window = good_window()
        window[:, 0] += generator.normal() * 30
        window[generator.integers(16), 0] += generator.normal() * 30
        graph = detector(window).reason is Reason.OUTSIDE_TRAINING
        differ += graph != bool(outside(window, spec, limits))
    assert differ == 0


def test_the_reference_evaluator_gives_the_same_verdicts(file: Path) -> None:
    session, detector = ReferenceEvaluator(str(file)), Detector.load(file)
    windows = np.stack([good_window(), *map(far, ("high", "low", "shaking", "constant channel"))])
    outputs: Any = session.run(None, {"window": windows})
    got: Mapping[str, NDArray[np.generic]] = dict(zip(session.output_names, outputs, strict=True))
    verdicts = [detector(window) for window in windows]
    assert got["status"].tolist() == [int(verdict.status) for verdict in verdicts]
    assert got["reason"].tolist() == [int(verdict.reason) for verdict in verdicts]
    np.testing.assert_allclose(np.asarray(got["score"], float), [verdict.score for verdict in verdicts], rtol=1e-4)


def test_a_new_calibration_moves_the_limits_so_that_another_operating_point_is_good(file: Path) -> None:
    elsewhere = Runs(60, shift=300.0)
    window = elsewhere.read(elsewhere.refs[0])
    assert isinstance(window, Item)
    assert Detector.load(file)(window.data).reason is Reason.OUTSIDE_TRAINING
    request = CalibrationRequest(date="2026-12-01", promise=REQUEST.promise, reason="another site", forced=True)
    again = recalibrate(file.read_bytes(), elsewhere, request)
    assert Detector.from_bytes(again.data)(window.data).reason is Reason.NONE


def test_windows_of_one_row_have_the_check_too(tmp_path: Path) -> None:
    spec = replace(trained_spec(1), steps=1, hop=1)
    rows = Runs(60)

    class Rows(Runs):
        def read(self, ref: Ref) -> Item | Lost:
            item = rows.read(ref)
            assert isinstance(item, Item)
            return Item(ref, item.data[:1])

    export(Pipeline(Squares(), spec, ScoreRule(map="error")), Rows(60), tmp_path / "rows.onnx", request=REQUEST)
    detector = Detector.load(tmp_path / "rows.onnx")
    assert detector(np.array([[5000.0, 1.0]], np.float32)).reason is Reason.OUTSIDE_TRAINING
    assert detector(good_window()[:1]).reason is Reason.NONE


def test_a_file_without_the_check_in_its_card_but_with_the_limits_is_refused(file: Path) -> None:
    model = parse(file.read_bytes())
    card = replace(model.card, input=replace(model.card.input, outside=None))
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    with pytest.raises(ModelFileError, match=r"unknown initialiser 'andon\.outside'"):
        seal(model.data, card=card, golden=model.golden, log=model.log, tail=tail)


def test_the_check_uses_standard_operators_only(file: Path) -> None:
    assert {node.domain for node in onnx.load(file).graph.node} == {""}
