"""The truth about a log from a table of intervals."""

from pathlib import Path

import numpy as np
import pytest

from andon.foundation.errors import DataError
from andon.runtime.schema import Channel
from andon.sources.collection import FoundLogs
from andon.sources.series.interval_truth import is_interval_table, read_intervals, with_intervals
from andon.sources.series.log import Log, Run
from andon.sources.series.log_truth import events_of

DAY = 1_583_748_000.0  # 2020-03-09T10:00:00Z


def log_of(*names: str, begin_s: float = 0.0, apart_s: float = 0.0, per_s: float = 1.0) -> Log:
    runs = tuple(
        Run(
            name=name,
            times_s=begin_s + place * apart_s + np.arange(10, dtype=np.float64),
            values=np.zeros((10, 1), np.float32),
            time_per_s=per_s,
        )
        for place, name in enumerate(names)
    )
    found = FoundLogs(channels=(Channel(name="x"),), period_s=1.0, runs=len(runs), rows=10 * len(runs))
    return Log(found=found, runs=runs)


def table(folder: Path, text: str) -> Path:
    path = folder / "truth.csv"
    path.write_text(text, encoding="utf-8")
    return path


def faulty(log: Log, path: Path) -> list[list[int]]:
    labelled = with_intervals(log, read_intervals(path), path.name)
    return [np.flatnonzero(run.faulty).tolist() for run in labelled.runs if run.faulty is not None]


def test_both_ends_of_an_interval_are_faulty_and_all_other_rows_are_good(tmp_path: Path) -> None:
    assert faulty(log_of("a"), table(tmp_path, "start,end\n2,4\n7,7\n")) == [[2, 3, 4, 7]]


def test_dates_are_utc_and_numbers_since_1970_may_be_milliseconds(tmp_path: Path) -> None:
    log = log_of("a", begin_s=DAY)
    dates = "start;end\n2020-03-09 10:00:02;2020-03-09T10:00:03\n2020-03-09T11:00:05+01:00;2020-03-09 10:00:05\n"
    assert faulty(log, table(tmp_path, dates)) == [[2, 3, 5]]
    assert faulty(log, table(tmp_path, f"start,end\n{DAY * 1000 + 2000:.0f},{DAY * 1000 + 3000:.0f}\n")) == [[2, 3]]


def test_numbers_have_the_unit_of_the_time_column(tmp_path: Path) -> None:
    assert faulty(log_of("a", per_s=1000.0), table(tmp_path, "start,end\n2000,4000\n")) == [[2, 3, 4]]


def test_kinds_name_the_faults(tmp_path: Path) -> None:
    path = table(tmp_path, "start,end,kind\n1,2,leak\n3,4,valve\n")
    (run,) = with_intervals(log_of("a"), read_intervals(path), "truth.csv").runs
    assert run.fault is not None
    assert run.fault.tolist() == ["", "leak", "leak", "valve", "valve", "", "", "", "", ""]
    assert [(first, stop) for _, first, stop in events_of(run)] == [(1, 3), (3, 5)]


def test_intervals_of_several_files_are_found_by_their_time_or_by_a_column_file(tmp_path: Path) -> None:
    apart = log_of("x/a.csv", "x/b.csv", begin_s=DAY, apart_s=1000.0)
    assert faulty(apart, table(tmp_path, f"start,end\n{DAY + 1002},{DAY + 1003}\n")) == [[], [2, 3]]
    together = log_of("x/a.csv", "x/b.csv")
    for name in ("x/b.csv", "b.csv", "b"):
        assert faulty(together, table(tmp_path, f"start,end,file\n2,3,{name}\n")) == [[], [2, 3]]
    with pytest.raises(DataError, match=r"truth.csv, line 2: .* fits 2 files .* Add a column file"):
        faulty(together, table(tmp_path, "start,end\n2,3\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,end\n4,2\n", r"line 2: expected start <= end"),
        ("start,end\n20,30\n", r"line 2: expected an interval with rows of the log, which go from 0 s to 9 s"),
        ("start,end\nsoon,3\n", r"line 2: expected a time, got 'soon'"),
        ("start,end\n1,\n", r"line 2: expected a value"),
        ("start,end,file\n1,2,bb\n", r"line 2: expected the name of a file of the log, got 'bb'"),
        ("begin,end\n1,2\n", r"expected columns start,end"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        faulty(log_of("a"), table(tmp_path, text))


def test_a_table_of_intervals_is_recognised_by_its_columns(tmp_path: Path) -> None:
    assert is_interval_table(table(tmp_path, "start;end;kind\n"))
    assert not is_interval_table(table(tmp_path, "key,label\n"))
    assert not is_interval_table(tmp_path / "none.csv")
