"""Rows labelled as faulty are left out of training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.runtime.items import Item
from andon.runtime.schema import Channel
from andon.sources.collection import FoundLogs
from andon.sources.series.good_rows import faulty_count, good_rows
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import cut, window_spec


def log_of(faulty: NDArray[np.bool_] | None, rows: int = 60) -> Log:
    values = np.arange(rows, dtype=np.float32)[:, np.newaxis]
    run = Run(name="a", times_s=np.arange(rows, dtype=np.float64), values=values, faulty=faulty)
    found = FoundLogs(channels=(Channel(name="x"),), period_s=1.0, runs=1, rows=rows)
    return Log(found=found, runs=(run,))


def test_a_log_without_faults_is_unchanged() -> None:
    for log in (log_of(None), log_of(np.zeros(60, bool))):
        assert good_rows(log) is log


@given(start=st.integers(0, 50), length=st.integers(4, 10))
def test_no_window_holds_a_row_of_a_fault_and_the_others_keep_their_values(start: int, length: int) -> None:
    faulty = np.zeros(60, bool)
    faulty[start : start + length] = True
    log = log_of(faulty)
    windows = [item for item in cut(good_rows(log), window_spec(log.found, 5, 1)) if isinstance(item, Item)]

    for window in windows:
        at = window.data[:, 0].astype(int)
        assert not faulty[at].any()
        assert (np.diff(at) == 1).all()
    assert faulty_count(log) == faulty.sum()


def test_rows_in_a_recovery_time_are_left_out_too() -> None:
    log = log_of(np.zeros(60, bool))
    run = replace(log.runs[0], recovering=np.arange(60) > 30)
    assert np.isnan(good_rows(replace(log, runs=(run,))).runs[0].values[31:]).all()


def test_a_log_in_which_all_rows_are_faulty_is_refused_with_the_likely_cause() -> None:
    with pytest.raises(DataError, match="Are 0 and 1 swapped"):
        good_rows(log_of(np.ones(60, bool)))
