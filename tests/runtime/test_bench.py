"""Figures of a model file on this machine."""

from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

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
