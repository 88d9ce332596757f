"""Times of several model files with calls in turn."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.runtime.calls_in_turn import LEAST_ROUNDS, latencies, median_limits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    path.write_bytes(model_bytes(WINDOW))
    return path


def test_each_file_gets_its_time_and_its_limits(file: Path) -> None:
    rounds: list[int] = []

    found = latencies([file, file, file], seconds=0.0, progress=lambda _what, done, _total: rounds.append(done))

    assert len({one.model for one in found}) == 1
    assert len(found) == 3
    assert rounds == list(range(1, LEAST_ROUNDS + 1))
    assert all(one.cpu_ms >= 0 for one in found)
    assert all(0 < one.low_ms <= one.latency_ms <= one.high_ms <= one.latency_p99_ms for one in found)


def test_no_files_take_no_time() -> None:
    assert latencies([], seconds=60.0) == []


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
