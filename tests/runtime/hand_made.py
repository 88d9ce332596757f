"""Model files made by hand with the onnx package, without torch: a few nodes, scores that can be worked out on paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from andon.export import decision, golden
from andon.export.decision import INPUT_REASON, RAW_SCORE
from andon.runtime.calibration_facts import Calibration, Sampling
from andon.runtime.model_file.format import (
    BLANK,
    IR_VERSION,
    OPSET,
    LogEntry,
    ModelFile,
    Tail,
    append_log,
    parse,
    seal,
)
from andon.runtime.schema import (
    Card,
    Channel,
    FrameSpec,
    InputSpec,
    ScoreRule,
    Weights,
    WindowSpec,
)

FRAME = FrameSpec(channels=3, size=(8, 8), scale=128.0, mean=128.0, frame_size=(32, 48))
"""Scored by ``mean(|grey - 128| / 128)`` over an 8 x 8 picture; INVALID where the raw values spread by less than 2."""

GREY = FrameSpec(channels=1, size=(8, 8), scale=128.0, mean=128.0, frame_size=(32, 48))

DEEP = FrameSpec(
    channels=3, size=(8, 8), scale=128.0, mean=128.0, frame_size=(32, 48), dtype="uint16", black=0.0, white=65535.0
)
"""`FRAME` for 16 bits: frames times 257 get the same verdicts."""
WINDOW = WindowSpec(
    steps=4,
    hop=4,
    period_s=0.5,
    channels=(Channel(name="pressure", unit="bar", low=-2.0, high=2.0), Channel(name="flow", unit="l/min")),
)
"""Scored by the mean of the squares."""


def model_bytes(
    spec: InputSpec = WINDOW,
    *,
    threshold: float = 4.0,
    review: float | None = None,
    name: str = "hand made",
    nodes: Sequence[onnx.NodeProto] = (),
    weights: Mapping[str, NDArray[Any]] | None = None,
    calibrations: int = 1,
    golden_sample: bool = True,
    provider: str = "cpu",
) -> bytes:
    """Return a calibrated model file.

    Args:
        spec: `FRAME`, `GREY`, `WINDOW` or one like them.
        threshold: REJECT above it.
        review: lower limit of the REVIEW band. None means no such band.
        name: name in the card.
        nodes: more nodes, appended to the graph.
        weights: more initialisers.
        calibrations: number of entries of the log.
        golden_sample: True to include one.
        provider: provider in the card.
    """
    model = graph(spec)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in (weights or {}).items())
    blank = blank_bytes(model, spec, name=name, golden_sample=golden_sample, provider=provider)
    return calibrated(blank, threshold=threshold, review=review, calibrations=calibrations)


def model_file(spec: InputSpec = WINDOW, *, threshold: float = 4.0, review: float | None = None) -> ModelFile:
    """Return such a model file, parsed."""
    return parse(model_bytes(spec, threshold=threshold, review=review))


def graph(spec: InputSpec) -> onnx.ModelProto:
    """Input to the five outputs and the evidence, with a blank decision."""
    made = _frame_graph(spec) if isinstance(spec, FrameSpec) else _window_graph(spec)
    model = helper.make_model(made, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    decision.fold(model)
    return model


def blank_bytes(
    model: onnx.ModelProto,
    spec: InputSpec,
    *,
    name: str = "hand made",
    golden_sample: bool = True,
    provider: str = "cpu",
) -> bytes:
    """Return the graph as a model file before calibration."""
    frames = isinstance(spec, FrameSpec)
    card = Card(
        name=name,
        detector="hand_made",
        settings={"power": 2},
        input=spec,
        reading=ScoreRule(map="deviation"),
        outputs=tuple(output.name for output in model.graph.output[5:]),
        data_fingerprint="f" * 64,
        weights=(Weights(name="made-up", licence="MIT", sha256="a" * 64),) if frames else (),
        versions={"andon": "0.1.0", "onnx": "1.0"},
        provider="cuda" if provider == "cuda" else "cpu",
    )
    blank = seal(model.SerializeToString(deterministic=True), card=card, golden=None, log=(), tail=BLANK)
    if not golden_sample:
        return blank
    sample = golden.golden(blank, golden.synthetic(spec), origin="synthetic")
    return seal(blank, card=card, golden=sample, log=(), tail=BLANK)


def calibrated(blank: bytes, *, threshold: float, review: float | None = None, calibrations: int = 1) -> bytes:
    """Add a threshold, as if from 60 good parts that score a tenth of the threshold and more."""
    from msgspec.structs import replace

    model = parse(blank, allow_blank=True)
    calibration = Calibration(
        kind="promise",
        alpha=0.05,
        confidence=0.95,
        n=60,
        n_eff=60.0,
        above=0,
        unit="part" if isinstance(model.card.input, FrameSpec) else "window",
        sampling=(
            Sampling(method="single_files", units=60)
            if isinstance(model.card.input, FrameSpec)
            else Sampling(method="one_per_run", units=60, groups=60)
        ),
        part_keys_sha256="b" * 64,
        good_median=threshold / 2,
        good_scale=abs(threshold / 2),
        map_scale=threshold if isinstance(model.card.input, FrameSpec) else None,
        date="2026-01-02",
    )
    x = BLANK.x.copy()
    x[:60] = np.linspace(0.1, 1.0, 60) * threshold
    p = np.ones(257, np.float32)
    p[:61] = np.linspace(61, 1, 61) / 61
    p[61:] = p[60]
    log: tuple[LogEntry, ...] = ()
    for number in range(calibrations):
        entry = LogEntry(
            date="2026-01-02",
            andon="0.1.0",
            kind="promise",
            alpha=0.05,
            confidence=0.95,
            n=60,
            above=0,
            threshold=threshold + calibrations - 1 - number,
            part_keys_sha256="b" * 64,
            previous="",
        )
        log = append_log(log, entry)
    return seal(
        blank,
        card=replace(model.card, calibration=calibration),
        golden=model.golden,
        log=log,
        tail=Tail(threshold=threshold, review=threshold if review is None else review, x=x, p=p),
    )


def window(value: float) -> NDArray[np.float32]:
    """Return a window that scores ``value ** 2``."""
    return np.full((4, 2), value, np.float32)


def frame(
    seed: int = 0, *, size: tuple[int, int] = (32, 48), channels: int = 3, level: int = 128, spread: int = 5
) -> NDArray[np.uint8]:
    """Noise around a grey level; it scores about ``|level - 128| / 128``, and about 0.01 at 128."""
    generator = np.random.default_rng(seed)
    return generator.integers(level - spread, level + spread + 1, (*size, channels), dtype=np.uint8)


def _frame_graph(spec: FrameSpec) -> onnx.GraphProto:
    constants: dict[str, NDArray[Any]] = {
        "colours": np.array([3], np.int64),
        "inner": np.array([1, 2], np.int64),
        "all": np.array([1, 2, 3], np.int64),
        "sizes": np.array([8, 8], np.int64),
        "mean": np.array([spec.mean], np.float32),
        "scale": np.array([spec.scale], np.float32),
        "weights": np.ones((8, 8), np.float32),
        "contrast2": np.array([spec.min_contrast**2], np.float32),
        "none": np.array([0], np.int32),
        "no_contrast": np.array([2], np.int32),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["raw"], to=TensorProto.FLOAT),
        *(_to_grey_levels(spec) if spec.dtype == "uint16" else [helper.make_node("Identity", ["raw"], ["levels"])]),
        helper.make_node("ReduceMean", ["levels", "all"], ["level"], keepdims=1),
        helper.make_node("Sub", ["levels", "level"], ["apart"]),
        helper.make_node("Mul", ["apart", "apart"], ["apart2"]),
        helper.make_node("ReduceMean", ["apart2", "all"], ["variance"], keepdims=0),
        helper.make_node("Less", ["variance", "contrast2"], ["flat"]),
        helper.make_node("Where", ["flat", "no_contrast", "none"], [INPUT_REASON]),
        helper.make_node("ReduceMean", ["levels", "colours"], ["grey"], keepdims=0),
        helper.make_node("Resize", ["grey", "", "", "sizes"], ["small"], mode="linear", axes=[1, 2], antialias=1),
        helper.make_node("Sub", ["small", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Abs", ["scaled"], ["deviation"]),
        helper.make_node("Mul", ["deviation", "weights"], ["anomaly_map"]),
        helper.make_node("ReduceMean", ["anomaly_map", "inner"], [RAW_SCORE], keepdims=0),
        helper.make_node("ReduceMax", ["anomaly_map", "inner"], ["score_peak"], keepdims=0),
    ]
    return helper.make_graph(
        nodes,
        "hand_made",
        [
            helper.make_tensor_value_info(
                "frame",
                TensorProto.UINT16 if spec.dtype == "uint16" else TensorProto.UINT8,
                ["N", "H", "W", spec.channels],
            )
        ],
        [
            _value(RAW_SCORE),
            _value(INPUT_REASON, TensorProto.INT32),
            _value("anomaly_map", shape=["N", 8, 8]),
            _value("score_peak"),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def _to_grey_levels(spec: FrameSpec) -> list[onnx.NodeProto]:
    numbers = {"black": spec.black, "factor": 255.0 / (spec.white - spec.black), "lowest": 0.0, "highest": 255.0}
    return [
        *(helper.make_node("Constant", [], [name], value_float=number) for name, number in numbers.items()),
        helper.make_node("Sub", ["raw", "black"], ["above"]),
        helper.make_node("Mul", ["above", "factor"], ["unclipped"]),
        helper.make_node("Clip", ["unclipped", "lowest", "highest"], ["levels"]),
    ]


def _window_graph(spec: WindowSpec) -> onnx.GraphProto:
    constants: dict[str, NDArray[Any]] = {
        "center": np.array([channel.center for channel in spec.channels], np.float32),
        "scale": np.array([channel.scale for channel in spec.channels], np.float32),
        "zero": np.array([0.0], np.float32),
        "steps": np.array([1], np.int64),
        "sensors": np.array([2], np.int64),
        "both": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Sub", ["window", "center"], ["moved"]),
        helper.make_node("Div", ["moved", "scale"], ["standard"]),
        helper.make_node("Sub", ["window", "window"], ["nothing"]),  # 0 where finite, else NaN
        helper.make_node("IsNaN", ["nothing"], ["broken"]),
        helper.make_node("Cast", ["broken"], ["broken_int"], to=TensorProto.INT32),
        helper.make_node("ReduceMax", ["broken_int", "both"], [INPUT_REASON], keepdims=0),
        helper.make_node("Where", ["broken", "zero", "standard"], ["clean"]),
        helper.make_node("Mul", ["clean", "clean"], ["deviation"]),
        helper.make_node("ReduceMean", ["deviation", "both"], [RAW_SCORE], keepdims=0),
        helper.make_node("ReduceMean", ["deviation", "steps"], ["channel_scores"], keepdims=0),
        helper.make_node("ReduceMean", ["deviation", "sensors"], ["step_scores"], keepdims=0),
    ]
    return helper.make_graph(
        nodes,
        "hand_made",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", spec.steps, len(spec.channels)])],
        [
            _value(RAW_SCORE),
            _value(INPUT_REASON, TensorProto.INT32),
            _value("channel_scores", shape=["N", len(spec.channels)]),
            _value("step_scores", shape=["N", spec.steps]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


def _value(name: str, kind: int = int(TensorProto.FLOAT), shape: Sequence[str | int] = ("N",)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))
