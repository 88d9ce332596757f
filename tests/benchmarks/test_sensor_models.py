"""Functions that the benchmarks on sensor logs share."""

import numpy as np
import pytest
from benchmarks.sensor_models import Candidate, judge, row_scores, rows_as_log, train_detector
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.runtime.hand_made import WINDOW, model_bytes

from andon.calibration.request import PromiseRequest
from andon.runtime import Detector

ROWS_APART = structs.replace(WINDOW, hop=1, period_s=1.0)


@given(rows=st.integers(1, 40), steps=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_row_alarms_where_all_windows_that_contain_it_do(rows: int, steps: int, seed: int) -> None:
    ends = np.arange(steps - 1, rows)
    scores = np.random.default_rng(seed).normal(size=len(ends))

    found = row_scores(ends, scores, rows, steps)

    for row in range(rows):
        containing = scores[(ends >= row) & (ends - steps < row)]
        assert found[row] == (containing.min() if len(containing) else pytest.approx(np.nan, nan_ok=True))


def test_windows_are_slices_of_rows_and_are_judged_as_the_file_judges_them() -> None:
    detector = Detector.from_bytes(model_bytes(ROWS_APART, threshold=4.0))
    values = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    values[20:] *= 5

    windows = judge(detector, rows_as_log({"a": values}, ["pressure", "flow"]))["a"]

    assert windows.ends.tolist() == list(range(3, 30))
    verdicts = [detector(values[end - 3 : end + 1]) for end in windows.ends]
    assert windows.scores["score"] == pytest.approx([verdict.score for verdict in verdicts])
    assert windows.rejected.tolist() == [verdict.score > 4.0 for verdict in verdicts]


def test_a_candidate_is_learnt_from_good_rows_and_its_further_scores_come_along() -> None:
    values = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    log = rows_as_log({"a": values}, ["x", "y", "z"])

    detector = train_detector(
        Candidate("pca", {"steps": 1, "hop": 1}), log, seed=0, promise=PromiseRequest(no_promise=True)
    )
    windows = judge(detector, log)["a"]

    assert sorted(windows.scores) == ["q", "score", "t2"]
    assert 0 < windows.rejected.mean() < 0.1
