"""Peak memory of a process that judges with a model file."""

import sys

import numpy as np
import pytest
from tests.runtime.hand_made import FRAME, model_bytes

from andon.runtime.peak_memory import peak_bytes, peak_memory_mb

linux = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@linux
def test_the_peak_of_a_judging_process_is_that_of_its_libraries_at_least() -> None:
    peak = peak_memory_mb(model_bytes(FRAME))

    assert peak is not None
    assert 20 < peak < 500


@linux
def test_memory_of_the_measuring_process_does_not_count() -> None:
    held = np.ones(40_000_000)  # 320 MB

    peak = peak_memory_mb(model_bytes(FRAME))

    assert held[-1] == 1
    assert peak is not None
    assert peak < 320


def test_a_file_that_cannot_judge_has_no_peak() -> None:
    assert peak_memory_mb(b"not a model file") is None


@linux
def test_memory_that_was_freed_still_counts() -> None:
    held = np.ones(20_000_000)  # 160 MB
    assert held[-1] == 1
    del held

    peak = peak_bytes()
    assert peak is not None
    assert peak > 150e6
