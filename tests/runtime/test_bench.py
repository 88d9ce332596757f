"""Figures of a model file on this machine."""

from pathlib import Path

import pytest
from tests.runtime import forge
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.runtime import ConfigError
from andon.runtime.bench import bench, resident_mb


@pytest.mark.parametrize("kind", ["frame", "window"])
def test_figures_are_positive_and_of_the_calibrated_size(tmp_path: Path, kind: str) -> None:
    spec, threshold = (FRAME, 0.5) if kind == "frame" else (WINDOW, 4.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(spec, threshold=threshold))
    told: list[str] = []

    # a busy machine may need a tenth of a second for one call
    measured = bench(path, seconds=0.2, progress=lambda *news: told.append(news[0]))

    assert measured.item_shape == ((32, 48, 3) if kind == "frame" else (4, 2))
    assert measured.calls >= 20
    assert 0 < measured.latency_ms <= measured.latency_p99_ms
    assert min(measured.per_second_one_caller, measured.per_second_two_callers, measured.gemm_ms) > 0
    assert measured.gemm_share == pytest.approx(measured.latency_ms / measured.gemm_ms)
    assert set(told) == {"latency", "throughput"}


def test_another_frame_size_is_measured_where_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(FRAME, threshold=0.5))

    assert bench(path, frame_size=(64, 80), seconds=0.01).item_shape == (64, 80, 3)


def test_resident_memory_is_known_on_linux() -> None:
    megabytes = resident_mb()

    assert megabytes is None or 10 < megabytes < 100_000


@pytest.mark.parametrize("size", ["[137000,137000]", "[1000000000000,1]", "[-5,48]", "[0,0]", "[50000001,16]"])
def test_a_forged_frame_size_is_refused_before_a_frame_is_made(tmp_path: Path, size: str) -> None:
    path = tmp_path / "model.onnx"
    data = model_bytes(FRAME, threshold=0.5)
    path.write_bytes(
        forge.text_edit(data, "andon", lambda text: text.replace('"frame_size":[32,48]', f'"frame_size":{size}'))
    )

    with pytest.raises(
        ConfigError, match=r"frame size: expected at least 16 x 16 and at most 50 million pixels, got .*--frame"
    ):
        bench(path, seconds=0.01)


@pytest.mark.parametrize("size", [(137_000, 137_000), (8, 800)])
def test_a_frame_size_that_cannot_be_measured_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(FRAME, threshold=0.5))

    with pytest.raises(ConfigError, match=rf"at most 50 million pixels, got {size[0]} x {size[1]}"):
        bench(path, frame_size=size, seconds=0.01)


def test_windows_of_a_forged_length_are_refused_before_one_is_made(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(_long_windows(20_000_000_000))

    with pytest.raises(ConfigError, match=r"window: expected at most 50 million values, got 40000000000"):
        bench(path, seconds=0.01)


def _long_windows(steps: int) -> bytes:
    """Return a file whose card and graph have windows of this number of steps."""
    data = forge.onnx_edit(
        model_bytes(WINDOW, golden_sample=False),
        lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", steps),
    )
    return forge.text_edit(data, "andon", lambda text: text.replace('"steps":4', f'"steps":{steps}'))
