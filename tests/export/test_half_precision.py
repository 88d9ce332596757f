"""The pretrained network in 16-bit floats. Everything but the speed on a GPU is tested on the CPU."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.export.test_quantization import RULE, Distances, bench_with
from tests.export.toys import FRAMES, Edges, Frames

from andon.calibration.request import CalibrationRequest
from andon.cli.inspect import render
from andon.export.export import Exported, Float16, export
from andon.export.graph import Pipeline, trace
from andon.export.half_precision import halve
from andon.foundation.errors import ConfigError, DeviceError, PrecisionError
from andon.runtime.detector import Detector
from andon.runtime.schema import ScoreRule
from andon.runtime.session import onnxruntime

REQUEST = CalibrationRequest(date="2026-01-02")


def export_half(path: Path, *, ratio: float = 0.5) -> Exported:
    return export(
        Pipeline(Distances(), FRAMES, RULE),
        Frames(70),
        path,
        request=REQUEST,
        reduced=Float16(device="cpu", bench=bench_with(ratio)),
    )


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace(Pipeline(Distances(), FRAMES, RULE))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_half(tmp_path_factory.mktemp("half") / "half.onnx")


def test_only_the_network_is_float16_and_its_borders_are_casts(graph: onnx.ModelProto) -> None:
    half = halve(graph)

    added = Counter(node.op_type for node in half.graph.node) - Counter(node.op_type for node in graph.graph.node)
    assert added == {"Cast": 2}  # one input, one output
    weights = {one.name.removesuffix(".float16") for one in half.graph.initializer if one.data_type == 10}
    convolutions = {name for name in weights if name.startswith("scorer.backbone.")}
    assert len(convolutions) == 10  # five convolutions with a bias
    floats = {one.name for one in half.graph.initializer if one.data_type == 1}
    assert "scorer.after.weight" in floats
    assert not floats & convolutions


def test_the_same_graph_gives_the_same_bytes_and_stays_as_it_is(graph: onnx.ModelProto) -> None:
    before = graph.SerializeToString(deterministic=True)

    assert halve(graph).SerializeToString(deterministic=True) == halve(graph).SerializeToString(deterministic=True)
    assert graph.SerializeToString(deterministic=True) == before


def test_scores_differ_from_float32_by_less_than_the_tolerance(graph: onnx.ModelProto) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (4, 60, 80, FRAMES.channels), np.uint8)
    ort = onnxruntime()

    exact, half = (
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"frame": frames}
        )[0]
        for model in (graph, halve(graph))
    )

    assert np.abs(half / exact - 1).max() < 0.005
    assert not np.array_equal(half, exact)


def test_weights_beyond_the_range_of_float16_are_refused(graph: onnx.ModelProto) -> None:
    large = onnx.ModelProto()
    large.CopyFrom(graph)
    for tensor in large.graph.initializer:
        if tensor.name == "scorer.backbone.back.weight":
            values = onnx.numpy_helper.to_array(tensor) * 1e6
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    with pytest.raises(ConfigError, match=r"expected weights up to 65504, got .* in scorer\.backbone\.back\.weight"):
        halve(large)


def test_a_detector_without_a_pretrained_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="because this detector has no pretrained network, got float16"):
        export(
            Pipeline(Edges(), FRAMES, ScoreRule(map="edges")),
            Frames(70),
            tmp_path / "m.onnx",
            request=REQUEST,
            reduced=Float16(device="cpu", bench=bench_with(0.5)),
        )
    assert not (tmp_path / "m.onnx").exists()


def test_the_file_says_that_it_is_float16_and_judges_with_its_own_threshold(exported: Exported) -> None:
    card = exported.model.card
    detector, frames = Detector.load(exported.path), Frames(70)

    assert card.calibration is not None
    assert (card.precision, card.calibration.precision, card.tolerance) == ("float16", "float16", 0.02)
    assert "on cpu, float16: the promise is valid" in render(exported.model)
    statuses = Counter(detector(frames.read(ref).data).status.name for ref in frames.refs)  # type: ignore[union-attr]
    assert statuses["OK"] >= 69
    assert exported.precision is not None
    assert exported.precision.agreement > 0.99


def test_a_file_that_is_not_faster_is_refused_with_the_figures_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        PrecisionError, match=r"precision float16: expected at least 1\.2 times the speed of float32, got 0\.91"
    ):
        export_half(tmp_path / "half.onnx", ratio=1.1)
    assert not (tmp_path / "half.onnx").exists()


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime().get_available_providers(), reason="this machine has CUDA")
def test_without_cuda_it_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="expected an onnxruntime with CUDAExecutionProvider for cuda"):
        export(Pipeline(Distances(), FRAMES, RULE), Frames(70), tmp_path / "m.onnx", request=REQUEST, reduced=Float16())
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.gpu
def test_on_a_gpu_the_promise_is_that_of_the_gpu(tmp_path: Path) -> None:
    exported = export(
        Pipeline(Distances(), FRAMES, RULE),
        Frames(70),
        tmp_path / "m.onnx",
        request=REQUEST,
        reduced=Float16(bench=bench_with(0.5)),
    )

    assert exported.model.card.provider == "cuda"
    assert Detector.load(exported.path, device="cuda").device == "cuda"
    with pytest.raises(DeviceError, match="expected cuda, on which the file was calibrated"):
        Detector.load(exported.path, device="cpu")
