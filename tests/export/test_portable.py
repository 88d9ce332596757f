"""One file, several runtimes: ONNX Runtime, OpenVINO in float32 and ONNX's reference evaluator agree."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import structs
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from tests.export.test_tiled_graph import Edges as MapsOnly
from tests.export.toys import Edges, Frames

from andon.calibration.request import CalibrationRequest
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.runtime.detector import Detector
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, ScoreRule, Tiles

SPEC = FrameSpec(channels=3, size=(48, 64))
SIZES = [(48, 64), (16, 16), (33, 47), (90, 120), (97, 301), (240, 320)]
LARGE = [(300, 500), (1080, 1920), (1200, 1600), (2160, 1000)]
Judge = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.generic]]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portable") / "edges.onnx"
    export(
        Pipeline(Edges(), SPEC, ScoreRule(map="edges", pool="top", smooth=1.0)),
        Frames(30, size=(90, 120)),
        path,
        request=CalibrationRequest(date="2026-01-02"),
    )
    return path


@pytest.fixture(scope="module")
def reference(file: Path) -> Judge:
    return reference_of(file)


def reference_of(file: Path) -> Judge:
    session = ReferenceEvaluator(str(file))
    return lambda frames: dict(zip(session.output_names, session.run(None, {"frame": frames}), strict=True))


@pytest.fixture(scope="module")
def openvino(file: Path) -> Judge:
    return openvino_of(file)


def openvino_of(file: Path) -> Judge:
    package = pytest.importorskip("openvino", exc_type=ImportError)
    compiled = package.Core().compile_model(
        file, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    return lambda frames: {name: compiled({"frame": frames})[name] for name in ("score", "status")}


def frames(height: int, width: int) -> NDArray[np.uint8]:
    """Return a good frame, one with a defect, one without contrast and one of noise."""
    generator = np.random.default_rng(height * width)
    good = np.clip(generator.normal(120, 20, (height, width, 3)), 0, 255)
    defect = good.copy()
    defect[height // 4 : height // 2, width // 3 : width // 2] = 250
    noise = generator.integers(0, 256, good.shape)
    return np.stack([good, defect, np.full_like(good, 90), noise]).astype(np.uint8)


def check(file: Path, other: Judge, size: tuple[int, int]) -> None:
    raw = frames(*size)
    detector = Detector.load(file, frame_size="any")
    verdicts = [detector(frame) for frame in raw]

    got = other(raw)

    assert got["status"].tolist() == [int(verdict.status) for verdict in verdicts]
    scores = [verdict.score for verdict in verdicts]
    np.testing.assert_allclose(np.asarray(got["score"], np.float64), np.asarray(scores), rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_reference_evaluator_gives_the_same_verdicts(file: Path, reference: Judge, size: tuple[int, int]) -> None:
    check(file, reference, size)


@pytest.mark.parametrize("size", SIZES + LARGE)
def test_openvino_gives_the_same_verdicts(file: Path, openvino: Judge, size: tuple[int, int]) -> None:
    check(file, openvino, size)


MARKED = np.zeros((90, 120), np.bool_)
MARKED[5:31, 10:77] = True
WHOLE = {
    "masks": structs.replace(SPEC, ignore=pack(MARKED), frame_size=(90, 120)),
    "tiles": structs.replace(SPEC, tiles=Tiles(rows=2, columns=3, overlap=16, chunk=2), frame_size=(90, 120)),
}
MARKED_TILE = np.zeros((90, 120), np.bool_)
MARKED_TILE[:70, :60] = True
WHOLE["masks and tiles"] = structs.replace(WHOLE["tiles"], ignore=pack(MARKED_TILE))


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_files_with_masks_or_tiles_have_the_same_verdicts_in_other_runtimes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "edges.onnx"
    scorer = Edges() if name == "masks" else MapsOnly()
    pipeline = Pipeline(scorer, WHOLE[name], ScoreRule(map="edges", pool="top", smooth=1.0))
    export(pipeline, Frames(30, size=(90, 120)), path, request=CalibrationRequest(date="2026-01-02"))

    check(path, reference_of(path), (90, 120))
    pytest.importorskip("openvino", exc_type=ImportError)
    check(path, openvino_of(path), (90, 120))


@pytest.mark.slow
@pytest.mark.parametrize("size", LARGE)
def test_the_reference_evaluator_gives_the_same_verdicts_for_large_frames(
    file: Path, reference: Judge, size: tuple[int, int]
) -> None:
    check(file, reference, size)


def test_the_graph_does_not_use_the_operator_that_runtimes_disagree_on(file: Path) -> None:
    assert not [node.name for node in onnx.load(file).graph.node if node.op_type == "Resize"]
