"""Verdicts: the graph's numbers, clear refusals, nothing that passes by accident."""

import copy
import json
import logging
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import helper
from tests.runtime import forge
from tests.runtime.hand_made import (
    DEEP,
    FRAME,
    GREY,
    WINDOW,
    blank_bytes,
    frame,
    graph,
    model_bytes,
    window,
)

from andon.runtime import ConfigError, Detector, DeviceError, InputError, JudgeError, ModelFileError, Reason, Status
from andon.runtime.model_file.format import Tail, parse, seal
from andon.runtime.session import Session, open_session
from andon.runtime.verdict import invalid

WINDOWS = Detector.from_bytes(model_bytes(WINDOW, threshold=4.0, review=1.0))
FRAMES = Detector.from_bytes(model_bytes(FRAME, threshold=0.5))


def test_a_file_is_loaded_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "window.onnx"
    path.write_bytes(model_bytes())

    detector = Detector.load(path)

    assert detector(window(1.0)).status is Status.OK
    assert (detector.device, detector.threshold) == ("cpu", 4.0)
    assert detector.card.name == "hand made"


@pytest.mark.parametrize(
    ("value", "status"),
    [(1.0, Status.OK), (1.001, Status.REVIEW), (2.0, Status.REVIEW), (2.001, Status.REJECT)],
)
def test_a_score_equal_to_a_bound_still_lies_within(value: float, status: Status) -> None:
    verdict = WINDOWS(window(value))

    assert verdict.status is status
    assert verdict.score == pytest.approx(value**2)


def test_without_a_review_band_a_score_equal_to_the_threshold_is_ok() -> None:
    detector = Detector.from_bytes(model_bytes(threshold=4.0))

    assert detector(window(2.0)).status is Status.OK
    assert detector(window(float(np.nextafter(np.float32(2.0), np.float32(3.0))))).status is Status.REJECT


def test_the_worst_status_is_the_highest() -> None:
    assert Status.OK < Status.REVIEW < Status.INVALID < Status.REJECT


@given(
    hnp.arrays(np.float32, (4, 2), elements=st.floats(width=32)).filter(lambda values: not np.isfinite(values).all())
)
def test_a_window_that_is_not_finite_is_invalid_whatever_else_it_holds(values: NDArray[np.float32]) -> None:
    verdict = WINDOWS(values)

    assert (verdict.status, verdict.reason) == (Status.INVALID, Reason.NOT_FINITE)
    assert np.isnan([verdict.score, verdict.p_value, verdict.level]).all()


@given(hnp.arrays(np.float32, (4, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_finite_window_passes_exactly_where_its_score_does(values: NDArray[np.float32]) -> None:
    verdict = WINDOWS(values)

    with np.errstate(over="ignore"):
        overflows = not np.isfinite(np.square(values).mean(dtype=np.float32))
    if verdict.status is Status.INVALID:
        assert overflows
    else:
        assert (verdict.status is Status.REJECT) == (not verdict.score <= 4.0)


def test_a_score_that_overflows_is_invalid_and_never_passes() -> None:
    verdict = WINDOWS(window(3e38))

    assert (verdict.status, verdict.reason) == (Status.INVALID, Reason.NOT_FINITE)


def test_a_frame_without_contrast_is_invalid_even_where_its_score_would_reject() -> None:
    verdict = FRAMES(frame(level=0, spread=0))

    assert (verdict.status, verdict.reason) == (Status.INVALID, Reason.NO_CONTRAST)
    assert verdict.reason.text.startswith("no contrast")


def test_the_p_value_is_the_share_of_good_parts_that_score_at_least_this() -> None:
    detector = Detector.from_bytes(model_bytes(threshold=4.0))

    p_values = [detector(window(value)).p_value for value in (0.0, 1.0, 5.0)]

    assert p_values[0] == 1.0
    assert p_values[1] == pytest.approx((1 + 60 - 10) / 61, abs=0.02)
    assert p_values[2] == pytest.approx(1 / 61)


def test_the_level_is_0_at_the_typical_good_part_and_1_at_the_threshold() -> None:
    levels = [WINDOWS(window(value)).level for value in (np.sqrt(2.0), 2.0)]

    assert levels == pytest.approx([0.0, 1.0], abs=1e-6)


def test_a_batch_is_judged_as_its_items_are() -> None:
    items = [frame(seed, level=level) for seed, level in enumerate((128, 200, 220, 5))]

    together, alone = FRAMES.batch(items), [FRAMES(item) for item in items]

    assert [verdict.status for verdict in together] == [verdict.status for verdict in alone]
    assert {Status.OK, Status.REJECT} == {verdict.status for verdict in alone}
    np.testing.assert_allclose([v.score for v in together], [v.score for v in alone], rtol=1e-6)
    np.testing.assert_allclose(together[2].evidence["anomaly_map"], alone[2].evidence["anomaly_map"], rtol=1e-5)


@pytest.mark.parametrize(
    ("items", "got"),
    [((frame() for _ in range(2)), "generator"), (None, "NoneType"), (3, "int"), (np.zeros((), np.uint8), "ndarray")],
)
def test_a_batch_that_does_not_tell_its_length_is_refused_with_a_hint(items: Any, got: str) -> None:
    with pytest.raises(
        InputError, match=rf"expected a list or an array of frames or windows, got {got}. .*list\(items\)"
    ):
        FRAMES.batch(items)


@pytest.mark.parametrize("masked", [False, True], ids=["nothing masked", "all masked"])
def test_a_masked_array_is_refused_because_its_mask_would_be_lost(masked: bool) -> None:
    measured = np.ma.masked_array(window(1.0), mask=np.full((4, 2), masked))
    pixels = np.ma.masked_array(frame(), mask=np.full((32, 48, 3), masked))

    for judge in (lambda: WINDOWS(measured), lambda: WINDOWS.batch([measured]), lambda: FRAMES(pixels)):
        with pytest.raises(
            InputError, match=r"expected a plain numpy array, got a masked array.*item\.filled\(numpy\.nan\)"
        ):
            judge()
    assert WINDOWS(np.ma.masked_invalid(window(1.0)).filled(np.nan)).status is Status.OK


@pytest.mark.parametrize(("path", "got"), [(None, "NoneType"), (3, "int"), (b"x.onnx", "bytes")])
def test_what_is_no_path_is_refused_with_a_hint(path: Any, got: str) -> None:
    with pytest.raises(InputError, match=rf"expected the path of a model file, got {got}. .*from_bytes"):
        Detector.load(path)


@pytest.mark.parametrize(("data", "got"), [("x.onnx", "str"), (None, "NoneType"), (bytearray(b"x"), "bytearray")])
def test_what_is_no_bytes_of_a_file_is_refused_with_a_hint(data: Any, got: str) -> None:
    with pytest.raises(InputError, match=rf"expected the bytes of a model file, got {got}. .*Detector\.load"):
        Detector.from_bytes(data)


@pytest.mark.parametrize("word", ["Any", "x", (3, 4), None])
def test_a_frame_size_that_is_neither_word_is_refused_with_both(word: Any, tmp_path: Path) -> None:
    (tmp_path / "frames.onnx").write_bytes(model_bytes(FRAME, threshold=0.5))

    with pytest.raises(ConfigError, match=r"frame_size: expected 'calibrated' or 'any', got") as refusal:
        Detector.load(tmp_path / "frames.onnx", frame_size=word)
    assert repr(word) in str(refusal.value)


def test_an_empty_batch_has_no_verdicts() -> None:
    assert FRAMES.batch([]) == []


def test_a_batch_of_several_sizes_is_refused() -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.5), frame_size="any")

    with pytest.raises(InputError, match=r"batch: expected frames of the same size.*Judge them one by one"):
        detector.batch([frame(size=(32, 48)), frame(size=(48, 32))])


def test_evidence_bears_the_names_of_the_outputs_and_is_not_copied() -> None:
    verdicts = FRAMES.batch([frame(0), frame(1)])

    assert list(verdicts[0].evidence) == ["anomaly_map", "score_peak"]
    maps = [verdict.evidence["anomaly_map"] for verdict in verdicts]
    assert maps[0].shape == (8, 8)
    assert maps[0].base is maps[1].base is not None
    assert float(verdicts[0].evidence["score_peak"]) == pytest.approx(float(maps[0].max()))


def test_channel_and_step_scores_have_the_score_as_their_mean() -> None:
    verdict = WINDOWS(np.array([[1, 0], [2, 0], [0, 0], [0, 1]], np.float32))

    np.testing.assert_allclose(verdict.evidence["channel_scores"], [1.25, 0.25])
    np.testing.assert_allclose(verdict.evidence["step_scores"], [0.5, 2.0, 0.0, 0.5])
    assert verdict.score == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        ([[1, 2]], "expected a numpy array, got list"),
        (frame().astype(np.float32), "expected a uint8 frame, got float32"),
        (frame().astype(np.uint16), r"expected a uint8 frame \(8 bits per channel\).*, got uint16 .*same bit depth"),
        (frame()[:, :, 0], r"expected a frame \[H, W, 3\] \(RGB\), got shape \[32, 48\]"),
        (frame(channels=1), r"\(RGB\), got shape \[32, 48, 1\]"),
        (frame()[np.newaxis], r"got shape \[1, 32, 48, 3\]"),
        (frame(size=(8, 48)), "at least 16 x 16 pixels, got 8 x 48"),
        (frame(size=(48, 32)), r"32 x 48 \(height x width\) as calibrated, got 48 x 32\. Was the camera changed"),
    ],
)
def test_a_frame_of_another_kind_is_refused_with_a_hint(item: Any, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        FRAMES(item)


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        (np.zeros((4, 2)), r"expected a float32 window \[4, 2\], got float64\. Use window.astype\('float32'\)"),
        (np.zeros((4, 2), ">f4"), "got >f4"),
        (np.zeros((2, 4), np.float32), r"expected a window of 4 steps x 2 channels, got shape \[2, 4\]"),
        (np.zeros((1, 4, 2), np.float32), r"got shape \[1, 4, 2\]"),
    ],
)
def test_a_window_of_another_kind_is_refused_with_a_hint(item: Any, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        WINDOWS(item)


def test_any_frame_size_is_judged_where_somebody_asked_for_it() -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.5), frame_size="any")

    assert detector(frame(size=(17, 90))).status is Status.OK


def test_any_frame_size_is_judged_where_the_calibration_parts_had_several() -> None:
    detector = Detector.from_bytes(model_bytes(replace(FRAME, frame_size=None), threshold=0.5))

    assert detector(frame(size=(64, 20))).status is Status.OK


def test_a_grey_frame_needs_no_channel_axis() -> None:
    detector = Detector.from_bytes(model_bytes(GREY, threshold=0.5))
    grey = frame(channels=1)

    assert detector(grey[:, :, 0]).score == detector(grey).score


def test_a_view_is_judged_as_its_copy() -> None:
    wide = frame(size=(32, 96))

    assert FRAMES(wide[:, ::2]).score == FRAMES(wide[:, ::2].copy()).score


def test_json_holds_the_verdict_and_null_for_what_was_not_judged() -> None:
    judged, invalid = json.loads(WINDOWS(window(2.0)).to_json()), json.loads(WINDOWS(window(np.nan)).to_json())

    assert judged == {
        "status": "REVIEW",
        "reason": "",
        "score": 4.0,
        "level": 1.0,
        "p_value": pytest.approx(1 / 61),
        "threshold": 4.0,
        "model": WINDOWS.model.short_digest,
    }
    assert [invalid[key] for key in ("score", "level", "p_value")] == [None, None, None]
    assert invalid["threshold"] == 4.0
    assert invalid["reason"] == "not_finite"


def test_arrays_stand_in_json_only_where_asked_for() -> None:
    verdict = WINDOWS(window(1.0))

    assert json.loads(verdict.to_json(arrays=True))["evidence"]["channel_scores"] == [1.0, 1.0]
    assert "evidence" not in json.loads(verdict.to_json())


def test_a_verdict_cannot_be_changed() -> None:
    verdict = WINDOWS(window(5.0))

    with pytest.raises(AttributeError):
        verdict.status = Status.OK  # type: ignore[misc]


def test_the_evidence_of_a_verdict_cannot_be_changed() -> None:
    for verdict in (WINDOWS(window(5.0)), *FRAMES.batch([frame(0), frame(1)]), invalid(Reason.LOST)):
        with pytest.raises(TypeError):
            verdict.evidence["another"] = np.zeros(1, np.float32)  # type: ignore[index]
        for array in verdict.evidence.values():
            with pytest.raises((ValueError, TypeError)):
                array[...] = 5.0


def test_a_copy_of_a_verdict_cannot_be_changed_either() -> None:
    verdict = FRAMES(frame(0))

    for other in (copy.deepcopy(verdict), copy.copy(verdict)):
        assert other.to_json(arrays=True) == verdict.to_json(arrays=True)
        assert not other.evidence["anomaly_map"].flags.writeable
        with pytest.raises(TypeError):
            other.evidence["another"] = 1  # type: ignore[index]


def test_two_threads_share_a_detector() -> None:
    items = [frame(seed, level=100 + 4 * seed) for seed in range(20)]
    expected = [FRAMES(item).score for item in items]
    scores: list[list[float]] = [[], []]

    def work(place: int) -> None:
        scores[place].extend(FRAMES(item).score for item in items)

    threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert scores == [expected, expected]


class _Changed:
    """A device that computes one output a little differently."""

    def __init__(self, data: bytes, output: str, factor: float) -> None:
        self._session, self._output, self._factor = open_session(data), output, factor

    def run(self, names: list[str], feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = self._session.run(names, feed)
        return [
            (array * self._factor).astype(array.dtype) if name == self._output else array
            for name, array in zip(names, outputs, strict=True)
        ]


def _on_a_changed_device(output: str, factor: float) -> Detector:
    data = model_bytes()
    return Detector(parse(data), Session(_Changed(data, output, factor).run, "cpu"))


def test_a_device_that_computes_alike_is_verified() -> None:
    _on_a_changed_device("score", 1 + 1e-6).verify()
    WINDOWS.verify()
    FRAMES.verify()


@pytest.mark.parametrize(
    ("output", "factor", "why"),
    [
        ("score", 1.1, "golden sample: expected the score .* on this cpu"),
        ("score", float("nan"), "golden sample: expected the score .* got nan"),
        ("channel_scores", 1.01, "channel_scores differs"),
        ("step_scores", float("nan"), "step_scores differs"),
    ],
)
def test_a_device_that_computes_something_else_must_not_judge(output: str, factor: float, why: str) -> None:
    with pytest.raises(DeviceError, match=why):
        _on_a_changed_device(output, factor).verify()


@pytest.mark.parametrize(
    ("output", "factor"), [("score", 10.0), ("score", float("nan")), ("status", 3.0), ("threshold", 2.0)]
)
def test_a_verdict_that_contradicts_itself_is_not_given(output: str, factor: float) -> None:
    review = _on_a_changed_device("score", 1.0)
    assert review(window(1.5)).status is Status.OK

    broken = Detector(
        parse(model_bytes(review=1.0)), Session(_Changed(model_bytes(review=1.0), output, factor).run, "cpu")
    )
    with pytest.raises(ModelFileError, match="forged, or unfit for this cpu"):
        broken(window(1.5))


def test_a_file_without_a_golden_sample_cannot_be_verified() -> None:
    with pytest.raises(DeviceError, match="no golden sample"):
        Detector.from_bytes(model_bytes(golden_sample=False)).verify()


def test_another_device_than_the_calibrated_one_is_verified_at_load() -> None:
    data = model_bytes(golden_sample=False, provider="cuda")

    with pytest.raises(DeviceError, match="no golden sample"):
        Detector.from_bytes(data, device="cpu")
    assert Detector.from_bytes(model_bytes(provider="cuda"), device="cpu")(window(1.0)).status is Status.OK


def test_a_graph_that_mixes_its_rows_is_refused_at_the_first_item() -> None:
    def one_for_all(model: Any) -> None:
        for node in model.graph.node:
            for place, name in enumerate(node.output):
                if name == "score":
                    node.output[place] = "scores"
        model.graph.node.append(helper.make_node("ReduceMean", ["scores"], ["score"], keepdims=0))

    detector = Detector.from_bytes(forge.onnx_edit(model_bytes(), one_for_all))

    with pytest.raises(ModelFileError, match=r"score of shape \[\]"):
        detector(window(1.0))


def test_a_reason_of_a_newer_file_is_told_as_unknown() -> None:
    def other_reason(model: Any) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "decide.not_finite")
        tensor.raw_data = np.array([9], "<i4").tobytes()

    verdict = Detector.from_bytes(forge.onnx_edit(model_bytes(), other_reason))(window(3e38))

    assert (verdict.status, verdict.reason) == (Status.INVALID, Reason.OTHER)


def test_what_onnx_runtime_cannot_load_is_a_bad_file(tmp_path: Path) -> None:
    forged = forge.onnx_edit(
        model_bytes(), lambda model: model.graph.node.append(helper.make_node("Abs", ["nowhere"], ["x"]))
    )

    with pytest.raises(ModelFileError, match=r"^ONNX Runtime cannot load the graph"):
        Detector.from_bytes(forged)
    (tmp_path / "forged.onnx").write_bytes(forged)
    with pytest.raises(ModelFileError, match=r"forged\.onnx: ONNX Runtime cannot load the graph"):
        Detector.load(tmp_path / "forged.onnx")


def test_what_onnx_runtime_cannot_judge_is_told_in_one_line() -> None:
    forged = forge.onnx_edit(model_bytes(), _look_up_beyond)

    with pytest.raises(JudgeError, match=r"failed on an input of shape \[1, 4, 2\]") as refusal:
        Detector.from_bytes(forged)(window(1.0))
    assert "\n" not in str(refusal.value)


def _failing(error: Exception, device: Literal["cpu", "cuda"] = "cpu") -> Detector:
    def run(names: list[str], feed: dict[str, Any]) -> list[Any]:
        raise error

    return Detector(parse(model_bytes()), Session(run, device))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("[ONNXRuntimeError] : 6 : \x1b[2J failed")]
)
def test_a_failure_of_onnx_runtime_is_not_blamed_on_the_input(error: Exception) -> None:
    detector = _failing(error)

    for judge in (lambda: detector(window(1.0)), lambda: detector.batch([window(1.0)]), detector.verify):
        with pytest.raises(
            JudgeError, match=r"although its type and size are right: .* Is there enough memory"
        ) as refusal:
            judge()
        assert str(refusal.value).isprintable()
    with pytest.raises(InputError, match="expected a float32 window"):
        detector(np.zeros((4, 2)))


def test_a_failure_of_a_device_is_the_devices() -> None:
    with pytest.raises(DeviceError, match="failed on an input"):
        _failing(RuntimeError("CUDA failure 700"), "cuda")(window(1.0))


def _look_up_beyond(model: Any) -> None:
    """Let the first node look up a position that does not exist."""
    model.graph.node[0].op_type = "Gather"
    model.graph.node[0].input[1] = "beyond"
    model.graph.initializer.add(name="beyond", data_type=7, dims=[1], raw_data=np.array([1000], "<i8").tobytes())


def test_a_blank_file_rejects_whatever_is_finite() -> None:
    blank = blank_bytes(graph(WINDOW), WINDOW)
    detector = Detector(parse(blank, allow_blank=True), open_session(blank))

    assert detector(window(0.0)).status is Status.REJECT
    assert detector(window(np.nan)).status is Status.INVALID


def test_nothing_is_logged_where_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Detector.from_bytes(model_bytes())(window(1.0))

    assert caplog.records == []


def _bound_to(provider: str) -> bytes:
    """Return a file whose promise is about this provider, as `calibrate` writes it."""
    model = parse(model_bytes(provider=provider))
    assert model.card.calibration is not None
    calibration = replace(model.card.calibration, provider=provider, precision="float32")
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    card = replace(model.card, calibration=calibration)
    return seal(model.data, card=card, golden=model.golden, log=model.log, tail=tail)


def test_another_provider_than_the_calibrated_one_is_refused_with_what_to_do() -> None:
    with pytest.raises(DeviceError, match=r"expected cuda.*got cpu.*andon calibrate .*--device cpu.*provider='any'"):
        Detector.from_bytes(_bound_to("cuda"), device="cpu")
    with pytest.raises(ConfigError, match="provider: expected 'calibrated' or 'any', got 'cpu'"):
        Detector.from_bytes(_bound_to("cpu"), provider="cpu")  # type: ignore[arg-type]


def test_on_another_provider_nothing_is_promised_and_each_verdict_says_so() -> None:
    elsewhere = Detector.from_bytes(_bound_to("cuda"), device="cpu", provider="any")
    here = Detector.from_bytes(_bound_to("cpu"))

    verdict = elsewhere(window(1.0))

    assert (elsewhere.promised, here.promised) == (False, True)
    assert elsewhere.promise == "no promise: the file was calibrated on cuda, and this device is cpu"
    assert here.promise.startswith("with 95 % confidence")
    assert verdict.outside_promise == ("provider",)
    assert verdict.to_dict()["outside_promise"] == ["provider"]
    assert "outside_promise" not in here(window(1.0)).to_dict()


def test_on_another_provider_the_golden_sample_is_still_checked() -> None:
    model = parse(_bound_to("cuda"))
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    without = seal(model.data, card=model.card, golden=None, log=model.log, tail=tail)

    with pytest.raises(DeviceError, match="no golden sample"):
        Detector.from_bytes(without, device="cpu", provider="any")


def test_auto_is_the_provider_of_the_calibration() -> None:
    assert Detector.from_bytes(_bound_to("cpu"), device="auto").device == "cpu"


def test_a_promise_about_another_provider_or_precision_than_the_cards_is_refused() -> None:
    model = parse(_bound_to("cpu"))
    assert model.card.calibration is not None
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    for name, other in (("provider", "cuda"), ("precision", "int8")):
        forged = replace(model.card, calibration=replace(model.card.calibration, **{name: other}))
        with pytest.raises(ModelFileError, match=rf"calibration\.{name}: expected .*Calibrate this one"):
            seal(model.data, card=forged, golden=model.golden, log=model.log, tail=tail)


def test_a_frame_of_another_size_is_outside_the_promise() -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.5), frame_size="any")

    assert detector(frame(size=(48, 32))).outside_promise == ("frame_size",)
    assert detector(frame(size=(32, 48))).outside_promise == ()


# frames with more than 8 bits


DEEP_FRAMES = Detector.from_bytes(model_bytes(DEEP, threshold=0.5))


@given(levels=hnp.arrays(np.uint8, (32, 48, 3)))
def test_a_frame_with_sixteen_bits_gets_the_verdict_of_the_same_frame_with_eight(levels: NDArray[np.uint8]) -> None:
    deep, shallow = DEEP_FRAMES(levels.astype(np.uint16) * 257), FRAMES(levels)

    assert (deep.status, deep.reason) == (shallow.status, shallow.reason)
    assert deep.score == pytest.approx(shallow.score, rel=1e-4, abs=1e-5, nan_ok=True)


def test_a_batch_of_deep_frames_is_judged_as_its_frames_alone() -> None:
    frames = [frame(seed=seed).astype(np.uint16) * 257 for seed in range(3)]

    assert [verdict.score for verdict in DEEP_FRAMES.batch(frames)] == pytest.approx(
        [DEEP_FRAMES(one).score for one in frames], rel=1e-6
    )


def test_a_file_for_sixteen_bits_refuses_eight() -> None:
    with pytest.raises(
        InputError, match=r"expected a uint16 frame \(more than 8 bits .*got uint8 \(8 bits per channel\)"
    ):
        DEEP_FRAMES(frame())


def test_the_golden_sample_of_a_deep_file_has_its_type_and_is_reproduced() -> None:
    golden = DEEP_FRAMES.model.golden
    assert golden is not None

    assert golden.input.dtype == "uint16"
    DEEP_FRAMES.verify()
