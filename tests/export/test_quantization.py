"""Quantisation of the pretrained network to int8, and the comparison with float32 that an int8 file must pass."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.export.toys import FRAMES, Frames
from torch import Tensor, nn

from andon.calibration.request import CalibrationRequest
from andon.cli.inspect import render
from andon.export.evidence import Evidence
from andon.export.export import Exported, Int8, export
from andon.export.graph import Pipeline, trace
from andon.export.precision_gate import (
    AGREEMENT,
    AUROC_LOSS,
    SPEED_UP,
    BenchFiles,
    PrecisionCheck,
    check_arithmetic,
    failure,
    precision_gate,
)
from andon.export.quantization import FLOAT_FIRST, PARTS, quantizable, quantize, some_frames
from andon.foundation.errors import ConfigError, DataError, DeviceError, ParityError, PrecisionError
from andon.runtime.bench_pair import BenchPair, OfPair
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.model_file.content import Tail
from andon.runtime.model_file.format import read, seal
from andon.runtime.schema import ScoreRule

RULE = ScoreRule(map="distance", pool="top", share=0.05)
GOOD = PrecisionCheck(
    speed_up=1.5,
    low=1.4,
    high=1.6,
    auroc=0.98,
    auroc_float32=0.98,
    agreement=1.0,
    compared=100,
    size_mb=1.0,
    size_mb_float32=2.0,
)


class Layers(nn.Module):
    """A small network with the operators of EfficientNet-Lite0: convolutions, bounded activations, sums."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.project = nn.Conv2d(8, 8, 1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.back = nn.Conv2d(16, 8, 1)

    def forward(self, prepared: Tensor) -> Tensor:
        first = self.project(self.depthwise(self.stem(prepared).clamp(0, 6)).clamp(0, 6))
        return first + self.back(self.expand(first).clamp(0, 6))  # type: ignore[no-any-return]


class Distances(nn.Module):
    """A scorer like patchcore, with seeded weights: the distance of features from their mean on one frame."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Layers()
        self.after = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.after.weight, 1 / 9)

    def forward(self, prepared: Tensor) -> Evidence:
        features = self.backbone(prepared)
        away = (features - features.mean(dim=(2, 3), keepdim=True)).square().mean(1, keepdim=True).sqrt()
        return Evidence({"distance": self.after(away)[:, 0]}, {})


def bench_with(ratio: float) -> BenchFiles:
    """Return a bench whose second file takes `ratio` times the time of the first."""

    def bench(first: Path, second: Path) -> BenchPair:
        sides = [
            OfPair(path=str(path), model="", file_mb=path.stat().st_size / 1e6, item_shape=(60, 80, 3), latency_ms=ms)
            for path, ms in ((first, 1.0), (second, ratio))
        ]
        return BenchPair(
            first=sides[0], second=sides[1], device="cpu", pairs=20, ratio=ratio, low=0.9 * ratio, high=1.1 * ratio
        )

    return bench


def export_int8(path: Path, *, ratio: float = 0.5) -> Exported:
    return export(
        Pipeline(Distances(), FRAMES, RULE),
        Frames(70),
        path,
        request=CalibrationRequest(date="2026-01-02"),
        reduced=Int8(parts=Frames(90), bench=bench_with(ratio)),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_int8(tmp_path_factory.mktemp("int8") / "int8.onnx")


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace(Pipeline(Distances(), FRAMES, RULE))


def test_the_file_says_that_it_is_int8_and_so_does_its_promise(exported: Exported) -> None:
    card = read(exported.path).card

    assert card.calibration is not None
    assert (card.precision, card.calibration.precision) == ("int8", "int8")
    assert card.tolerance == 0.02
    assert "on cpu, int8: the promise is valid" in render(exported.model)


def test_the_threshold_comes_from_the_scores_of_the_int8_graph(exported: Exported) -> None:
    detector, frames = Detector.load(exported.path), Frames(70)
    calibration = exported.model.card.calibration
    assert calibration is not None

    scores = sorted(detector(frames.read(ref).data).score for ref in frames.refs)  # type: ignore[union-attr]

    raised = scores[-1 - calibration.above] + 0.02 * max(scores[-1 - calibration.above], calibration.good_scale)
    assert detector.threshold == pytest.approx(raised, rel=1e-6)


def test_the_figures_of_the_comparison_are_returned(exported: Exported) -> None:
    check = exported.precision

    assert check is not None
    assert check.speed_up == 2.0
    assert check.low == pytest.approx(1 / 0.55)
    assert 0.5 < check.auroc <= 1.0
    assert check.compared > 100
    assert failure(check) == ""


def test_an_int8_file_reproduces_its_golden_sample(exported: Exported) -> None:
    Detector.load(exported.path).verify()


def test_loading_an_int8_file_checks_its_golden_sample(exported: Exported) -> None:
    # on processors without VNNI, 16-bit sums saturate, and no other check would notice it
    model = exported.model
    assert model.golden is not None
    forged = replace(model, golden=replace(model.golden, score=model.golden.score * 1.5))

    with pytest.raises(DeviceError, match="golden sample: expected the score"):
        Detector.open(forged, device="cpu", threads=1, frame_size="any", provider="calibrated")


def test_an_int8_file_that_is_not_faster_is_refused_with_the_figures(exported: Exported) -> None:
    data = exported.model.data

    with pytest.raises(
        PrecisionError,
        match=r"precision int8: expected at least 1\.2 times the speed of float32, got 1\.05 times as fast as float32 on this "
        r"machine \(95 % limits 0\.95 to 1\.17\), AUROC on synthetic defects \d\.\d+ \(float32: \d\.\d+\), the same decision on "
        r"100\.0% of \d+ parts and defects, \d\.\d\d MB .*Leave out --precision int8\.",
    ):
        precision_gate(data, data, Frames(10), bench=bench_with(1 / 1.05))


@pytest.mark.slow
def test_a_refused_int8_file_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(PrecisionError, match="times the speed of float32"):
        export_int8(tmp_path / "slow.onnx", ratio=1 / 1.05)

    assert not (tmp_path / "slow.onnx").exists()


def test_the_same_graph_and_parts_give_the_same_bytes(graph: onnx.ModelProto) -> None:
    first, second = (quantize(graph, Frames(8)).SerializeToString(deterministic=True) for _ in range(2))

    assert first == second


def test_only_the_network_after_its_first_layers_becomes_int8(graph: onnx.ModelProto) -> None:
    quantised = quantize(graph, Frames(8))

    producers = {name: node.op_type for node in quantised.graph.node for name in node.output}
    weights = [
        node.input[1]
        for node in quantised.graph.node
        if node.op_type == "Conv" and producers.get(node.input[1]) == "DequantizeLinear"
    ]
    assert [name.removeprefix("scorer.backbone.").split(".")[0] for name in weights] == ["expand", "back"]
    kept = Counter(node.op_type for node in quantised.graph.node)
    before = Counter(node.op_type for node in graph.graph.node)
    assert kept["Conv"] == before["Conv"]
    assert kept["Sqrt"] == before["Sqrt"]


def test_the_operators_between_the_convolutions_are_quantised_too(graph: onnx.ModelProto) -> None:
    operators = {node.name: node.op_type for node in graph.graph.node}

    assert Counter(operators[name] for name in quantizable(graph)) == {"Conv": 2, "Clip": 1}
    assert FLOAT_FIRST == 3  # the sum has one input that stays float32


def test_quantising_does_not_change_the_graph_that_it_is_given(graph: onnx.ModelProto) -> None:
    before = graph.SerializeToString(deterministic=True)

    quantize(graph, Frames(2))

    assert graph.SerializeToString(deterministic=True) == before


def test_a_quantised_graph_names_no_tool_and_no_other_operator_set(graph: onnx.ModelProto) -> None:
    quantised = quantize(graph, Frames(2))

    assert [(entry.domain, entry.version) for entry in quantised.opset_import] == [("", 20)]
    assert (quantised.producer_name, list(quantised.metadata_props)) == ("andon", [])
    assert all(tensor.HasField("raw_data") for tensor in quantised.graph.initializer)


def test_a_detector_without_a_pretrained_network_is_refused() -> None:
    frame = onnx.helper.make_tensor_value_info("frame", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])
    score = onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])
    relu = onnx.helper.make_node("Relu", ["frame"], ["score"], name="relu")

    with pytest.raises(ConfigError, match="expected float32, because this detector has no pretrained network"):
        quantizable(onnx.helper.make_model(onnx.helper.make_graph([relu], "plain", [frame], [score])))


def test_at_most_32_readable_frames_set_the_ranges() -> None:
    assert len(some_frames(Frames(90))) == PARTS
    assert len(some_frames(Frames(3, lost=[1]))) == 2


@pytest.mark.slow
def test_frames_of_16_bits_can_set_the_ranges_too() -> None:
    class Deep(Frames):
        def read(self, ref: Ref) -> Item | Lost:
            item = super().read(ref)
            return Item(ref, item.data.astype(np.uint16) * 257) if isinstance(item, Item) else item

    deep = replace(FRAMES, dtype="uint16", white=65535.0)

    quantised = quantize(trace(Pipeline(Distances(), deep, RULE)), Deep(4))

    assert "QuantizeLinear" in {node.op_type for node in quantised.graph.node}


def test_parts_that_cannot_be_read_are_an_error() -> None:
    with pytest.raises(DataError, match="expected readable training parts, got none of 2"):
        some_frames(Frames(2, lost=[0, 1]))


@given(
    speed_up=st.floats(0.1, 5.0),
    auroc=st.floats(0.5, 1.0),
    auroc_float32=st.floats(0.5, 1.0),
    agreement=st.floats(0.0, 1.0),
)
def test_a_file_passes_only_if_it_is_faster_and_decides_alike(
    speed_up: float, auroc: float, auroc_float32: float, agreement: float
) -> None:
    check = replace(GOOD, speed_up=speed_up, auroc=auroc, auroc_float32=auroc_float32, agreement=agreement)

    good_enough = speed_up >= SPEED_UP and auroc_float32 - auroc <= AUROC_LOSS and agreement >= AGREEMENT
    near = abs(auroc_float32 - auroc - AUROC_LOSS) < 1e-9
    assert near or (failure(check) == "") == good_enough


@pytest.mark.parametrize(
    ("figures", "missing"),
    [
        ({"speed_up": float("nan")}, "speed"),
        ({"auroc": 0.97}, "AUROC"),
        ({"agreement": 0.9}, "decision"),
    ],
    ids=str,
)
def test_the_first_requirement_that_is_not_met_is_named(figures: dict[str, float], missing: str) -> None:
    assert missing in failure(replace(GOOD, **figures))


def test_a_golden_sample_that_depends_on_the_arithmetic_is_refused(exported: Exported) -> None:
    model = exported.model
    assert model.golden is not None
    golden = replace(model.golden, score=model.golden.score * 1.05)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)

    check_arithmetic(model.data, [])
    with pytest.raises(ParityError, match="the golden sample depends on the arithmetic"):
        check_arithmetic(seal(model.data, card=model.card, golden=golden, log=model.log, tail=tail), [])


def test_scores_that_depend_on_the_arithmetic_more_than_the_file_states_are_refused(exported: Exported) -> None:
    model = exported.model
    frames = [Frames(30).read(ref).data for ref in Frames(30).refs]  # type: ignore[union-attr]
    card = replace(model.card, tolerance=1e-12)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)

    check_arithmetic(model.data, frames)
    with pytest.raises(ParityError, match="between integer and float arithmetic"):
        check_arithmetic(seal(model.data, card=card, golden=model.golden, log=model.log, tail=tail), frames)


def test_parts_without_visible_damage_are_refused(exported: Exported) -> None:
    data = exported.model.data

    with pytest.raises(PrecisionError, match="expected frames onto which damage can be drawn, got none"):
        precision_gate(data, data, Frames(4, lost=range(4)), bench=bench_with(0.5))
