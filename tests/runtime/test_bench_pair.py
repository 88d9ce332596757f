"""The comparison of two model files with calls in turn."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.foundation.errors import ConfigError
from andon.runtime.bench_pair import bench_pair, median_limits


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


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=200))
def test_the_limits_surround_the_median_and_are_among_the_values(values: list[float]) -> None:
    low, high = median_limits(values, 0.95)

    assert low <= np.median(values) <= high
    assert {low, high} <= set(values)


def test_the_limits_hold_the_true_median_in_95_of_100_draws() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = median_limits(generator.lognormal(size=40).tolist(), 0.95)
        held += low <= 1.0 <= high

    assert held / 400 >= 0.93
