"""The severities of the converter's faults."""

import numpy as np
import pytest
from benchmarks.converter_severities import FAULT_ROWS, faulty_runs, render, shares, sweep
from benchmarks.sensor_models import Candidate, Windows

from andon.demo.power_converter import KINDS
from andon.foundation.progress import ProgressLine


def test_windows_in_recovery_count_as_neither_and_the_others_by_their_share_of_faulty_rows() -> None:
    log = faulty_runs("current_oscillation", 1.0, seed=3, runs=2)
    ends = np.arange(63, len(log.runs[0].values), 64)
    windows = {run.name: Windows(ends=ends, scores={}, rejected=np.zeros(len(ends), np.bool_)) for run in log.runs}

    share = shares(log, windows, 64)

    assert np.nansum(share) * 64 == pytest.approx(2 * FAULT_ROWS)
    assert np.isnan(share).any()
    assert (share == 1).sum() >= 2 * 2


@pytest.mark.slow
def test_a_stronger_fault_is_told_better_from_good_windows() -> None:
    lines = sweep(Candidate("pca", {}), [0.25, 1.0], seed=0, runs=12, progress=ProgressLine())

    assert {line.score for line in lines} == {"score", "t2", "q"}
    assert {line.fault for line in lines} == set(KINDS)
    q = {(line.fault, line.severity): line for line in lines if line.score == "q"}
    assert all(q[kind, 0.25].whole <= q[kind, 1.0].whole for kind in KINDS)
    assert min(q[kind, 1.0].whole for kind in KINDS) > 0.97
    assert "touched / whole" in render(lines)
