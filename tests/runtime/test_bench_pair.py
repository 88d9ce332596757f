"""The comparison of two model files with calls in turn."""

from pathlib import Path

import pytest
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.foundation.errors import ConfigError
from andon.runtime.bench_pair import bench_pair


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    path.write_bytes(model_bytes(WINDOW))
    return path


def test_a_file_is_as_fast_as_itself(file: Path) -> None:
    pair = bench_pair(file, file, seconds=0.1)

    assert pair.first.model == pair.second.model
    assert pair.pairs >= 20
    assert pair.low <= pair.ratio <= pair.high
    assert pair.ratio == pytest.approx(1.0, abs=0.5)


def test_the_size_of_a_frame_is_refused_for_windows(file: Path) -> None:
    with pytest.raises(ConfigError, match="--frame: expected a model file for frames"):
        bench_pair(file, file, frame_size=(20, 20))
