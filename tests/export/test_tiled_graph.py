"""The ONNX graph of a pipeline with tiles: it computes what the module does, in any batch, and each constant is stored once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.export.toys import Frames
from torch import Tensor, nn

from andon.calibration.request import CalibrationRequest
from andon.calibration.scoring import score
from andon.cli.inspect import render
from andon.export.decision import fold
from andon.export.evidence import Evidence
from andon.export.export import Exported, Int8, export
from andon.export.graph import Pipeline
from andon.export.tiled_graph import trace_tiled
from andon.export.tiles import CutTiles
from andon.foundation.errors import ConfigError, InputError
from andon.runtime import Detector
from andon.runtime.items import Item
from andon.runtime.mask_pixels import pack
from andon.runtime.model_file.onnx_subset import survey
from andon.runtime.schema import FrameSpec, Reason, ScoreRule, Tiles
from andon.runtime.session import onnxruntime

SPEC = FrameSpec(
    channels=3,
    size=(32, 48),
    mean=100.0,
    scale=50.0,
    frame_size=(80, 170),
    tiles=Tiles(rows=2, columns=5, overlap=16, chunk=3),
)
RULE = ScoreRule(map="edges", pool="top", share=0.1, smooth=0.7)


class Edges(nn.Module):
    """A scorer: the absolute response of a seeded convolution, in cells of 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.filters = nn.Conv2d(3, 8, 5, padding=2)

    def forward(self, prepared: Tensor) -> Evidence:
        planes = nn.functional.avg_pool2d(self.filters(prepared).abs(), 4)
        return Evidence({"edges": planes.mean(dim=1)}, {}, scene=planes)


def pipeline(spec: FrameSpec = SPEC, *, scene: bool = True) -> Pipeline:
    return Pipeline(Edges(), spec, RULE, scene=scene).eval()


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace_tiled(pipeline())


def batch(count: int, size: tuple[int, int] = (80, 170)) -> Tensor:
    source = Frames(count, size=size)
    items = [source.read(ref) for ref in source.refs]
    return torch.from_numpy(np.stack([item.data for item in items if isinstance(item, Item)]))


@pytest.mark.parametrize("size", [(80, 170), (48, 176), (31, 500)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_graph_computes_what_the_module_does(graph: onnx.ModelProto, count: int, size: tuple[int, int]) -> None:
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    raw, module = batch(count, size), pipeline()

    with torch.no_grad():
        score, reason, *evidence = module(raw)
    got = session.run(None, {"frame": raw.numpy()})

    assert [output.name for output in session.get_outputs()][2:] == module.evidence_names()
    np.testing.assert_array_equal(got[1], reason.numpy())
    for expected, computed in zip((score, *evidence), (got[0], *got[2:]), strict=True):
        np.testing.assert_allclose(computed, expected.numpy(), rtol=2e-5, atol=2e-5)


def test_a_frame_has_the_same_score_and_map_alone_and_in_every_batch(graph: onnx.ModelProto) -> None:
    session = onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    raw = batch(3).numpy()
    alone = [session.run(None, {"frame": raw[place : place + 1]}) for place in range(3)]

    for places in ([0, 1], [2, 0], [0, 1, 2], [2, 1, 0]):
        together = session.run(None, {"frame": raw[places]})
        for row, place in enumerate(places):
            for expected, computed in zip(alone[place], together, strict=True):
                np.testing.assert_array_equal(computed[row], expected[0])


def test_chunks_are_written_out_and_weights_are_stored_once(graph: onnx.ModelProto) -> None:
    operators = Counter(node.op_type for node in graph.graph.node)
    contents = Counter((tuple(one.dims), one.data_type, one.raw_data) for one in graph.graph.initializer)

    assert operators["Conv"] == 4 + 1 + 2  # four chunks, the scene, and two for the smoothing
    assert not {"Loop", "If", "Scan"} & set(operators)
    assert max(contents.values()) == 1
    assert "scorer.filters.weight" in {one.name for one in graph.graph.initializer}
    onnx.checker.check_model(graph, full_check=True)


def test_the_reader_of_model_files_accepts_the_graph(graph: onnx.ModelProto) -> None:
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    folded = fold(copied, SPEC)

    assert [value.name for value in survey(folded.SerializeToString()).inputs] == ["frame"]


@pytest.mark.slow
def test_frames_of_16_bits_have_the_scores_of_those_of_8_bits(graph: onnx.ModelProto) -> None:
    deep = structs.replace(SPEC, dtype="uint16", black=0.0, white=65535.0)
    raw = batch(2).numpy()

    sessions = [
        onnxruntime().InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (graph, trace_tiled(pipeline(deep)))
    ]
    eight, sixteen = (
        session.run(None, {"frame": frames})
        for session, frames in zip(sessions, (raw, raw.astype(np.uint16) * 257), strict=True)
    )

    for one, other in zip(eight, sixteen, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_same_pipeline_gives_the_same_bytes(graph: onnx.ModelProto) -> None:
    again = trace_tiled(pipeline())

    assert again.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


MARKED = np.zeros((80, 170), np.bool_)
MARKED[:70, :48] = True
MASKED = structs.replace(SPEC, ignore=pack(MARKED))
CHUNKS = [3, 1, 3, 2]
"""Number of tiles of each chunk. The first of five tiles is masked in the first row, and partly in the second one."""


@pytest.fixture(scope="module")
def masked_graph() -> onnx.ModelProto:
    return trace_tiled(pipeline(MASKED))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_graph_of_frames_with_a_mask_computes_what_the_module_does(
    masked_graph: onnx.ModelProto, count: int
) -> None:
    session = onnxruntime().InferenceSession(masked_graph.SerializeToString(), providers=["CPUExecutionProvider"])
    raw, module = batch(count), pipeline(MASKED)

    with torch.no_grad():
        score, reason, *evidence = module(raw)
    got = session.run(None, {"frame": raw.numpy()})

    np.testing.assert_array_equal(got[1], reason.numpy())
    for expected, computed in zip((score, *evidence), (got[0], *got[2:]), strict=True):
        np.testing.assert_allclose(computed, expected.numpy(), rtol=2e-5, atol=2e-5)


def test_masked_tiles_are_not_in_the_graph_and_tiles_without_masked_pixels_are_not_filled(
    masked_graph: onnx.ModelProto,
) -> None:
    cut = CutTiles(MASKED, MASKED.tiles) if MASKED.tiles is not None else None
    assert cut is not None
    operators = Counter(node.op_type for node in masked_graph.graph.node)
    filled = {node.name.split("_fill_")[0] for node in masked_graph.graph.node if "_fill_" in node.name}

    assert [len(chunk.columns) for chunk in cut.chunks] == CHUNKS
    assert operators["Conv"] == len(CHUNKS) + 1 + 2  # the chunks, the scene, and two for the smoothing
    assert filled == {f"tiles{number}" for number, chunk in enumerate(cut.chunks) if cut.counting(chunk) is not None}
    assert 0 < len(filled) < len(CHUNKS)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), others=st.integers(0, 2))
def test_pixels_under_the_mask_never_change_what_the_graph_computes_and_other_frames_at_most_its_last_bits(
    masked_session: Any, seed: int, others: int
) -> None:
    generator = np.random.default_rng(seed)
    raw = generator.integers(0, 256, (3, 80, 170, 3), np.uint8)
    changed = raw.copy()
    changed[:, MARKED] = generator.integers(0, 256, (3, int(MARKED.sum()), 3), np.uint8)

    alone = masked_session.run(None, {"frame": raw[:1]})
    together = masked_session.run(None, {"frame": raw[: 1 + others]})
    masked = masked_session.run(None, {"frame": changed[: 1 + others]})

    for expected, computed, one in zip(together, masked, alone, strict=True):
        np.testing.assert_array_equal(computed, expected)
        # ONNX Runtime may sum in another order in a larger batch
        np.testing.assert_allclose(computed[0], one[0], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def masked_session(masked_graph: onnx.ModelProto) -> Any:
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = 1  # as a loaded file by default: the order of sums depends on the number of threads
    return onnxruntime().InferenceSession(masked_graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_a_file_with_mask_and_tiles_states_how_many_tiles_it_leaves_out(tmp_path: Path) -> None:
    request = CalibrationRequest(date="2026-01-02")
    exported = export(
        pipeline(MASKED, scene=False), Frames(70, size=(80, 170)), tmp_path / "edges.onnx", request=request
    )

    spec = exported.model.card.input
    assert isinstance(spec, FrameSpec)
    assert spec.tiles is not None
    assert spec.tiles.left_out == 10 - sum(CHUNKS)
    assert (spec.ignore, spec.frame_size) == (MASKED.ignore, (80, 170))
    assert "1 of the tiles has no pixel that counts and is left out" in render(exported.model)


def test_an_input_without_tiles_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an input with tiles"):
        trace_tiled(pipeline(FrameSpec(channels=3, size=(32, 48))))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("tiled") / "edges.onnx"
    request = CalibrationRequest(date="2026-01-02")
    return export(pipeline(scene=False), Frames(70, size=(80, 170)), path, request=request)


def test_a_file_with_tiles_states_its_tiles_and_the_memory_that_it_needs(exported: Exported) -> None:
    card = exported.model.card

    assert isinstance(card.input, FrameSpec)
    assert card.input.tiles == SPEC.tiles
    assert card.memory_mb is not None
    assert 20 < card.memory_mb < 500


def test_a_file_with_tiles_accepts_frames_of_its_size_only(exported: Exported) -> None:
    detector = Detector.load(exported.path)

    assert detector(np.asarray(batch(1)[0])).evidence["anomaly_map"].shape == (12, 44)
    with pytest.raises(InputError, match="expected frames of 80 x 170"):
        detector(np.asarray(batch(1, (80, 171))[0]))


def test_a_file_with_tiles_refuses_another_frame_size_even_if_asked_for(exported: Exported) -> None:
    free = Detector.load(exported.path, frame_size="any")

    with pytest.raises(InputError, match=r"expected frames of 80 x 170 .* the size of the file's tiles, got 80 x 171"):
        free(np.asarray(batch(1, (80, 171))[0]))
    free.verify()


def test_a_file_with_tiles_is_not_calibrated_on_frames_of_another_size(exported: Exported) -> None:
    scored = score(exported.model.data, Frames(3, size=(80, 200)))

    assert scored.frame_sizes == ()
    assert (scored.reason == Reason.WRONG_INPUT).all()


def test_lower_precisions_are_refused_with_tiles(tmp_path: Path) -> None:
    parts = Frames(70, size=(80, 170))

    with pytest.raises(ConfigError, match="--precision: expected float32 with tiles"):
        export(
            pipeline(scene=False),
            parts,
            tmp_path / "int8.onnx",
            request=CalibrationRequest(date="2026-01-02"),
            reduced=Int8(parts=parts),
        )
    assert not (tmp_path / "int8.onnx").exists()
