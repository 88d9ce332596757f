"""Logs in CSV, Parquet and other tables: time, channels, labels, missing values."""

import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources import source
from andon.sources.kinds import logs
from andon.sources.series.follow_log import LogSettings
from andon.sources.series.windows import cut, window_spec

PLAIN = "time,x,y\n0,1,2\n1,3,4\n2,5,6\n"


@pytest.fixture
def put(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str | bytes, name: str = "log.csv") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_any_separator_line_end_and_byte_order_mark_read_the_same(put, separator: str, end: str, start: bytes) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put(start + PLAIN.replace(",", separator).replace("\n", end).encode()))

    assert [channel.name for channel in log.found.channels] == ["x", "y"]
    assert log.runs[0].times_s.tolist() == [0, 1, 2]
    assert log.runs[0].values.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "stamps",
    [
        ("2020-03-09 10:14:33", "2020-03-09 10:14:34"),
        ("2020-03-09T10:14:33.000", "2020-03-09T10:14:34.000"),
        ("2020-03-09T10:14:33Z", "2020-03-09T10:14:34Z"),
        ("2020-03-09T12:14:33+02:00", "2020-03-09T12:14:34+02:00"),
        ('"2020-03-09 10:14:33"', '"2020-03-09 10:14:34"'),
        ("2020-03-09 10:14:33", "2020-03-09 10:14:34.0000000000"),
    ],
)
def test_dates_are_seconds_since_1970_in_utc(put, stamps: tuple[str, str]) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put(f"x,when\n1,{stamps[0]}\n2,{stamps[1]}\n"))

    assert log.runs[0].times_s.tolist() == [1583748873, 1583748874]
    assert [channel.name for channel in log.found.channels] == ["x"]


def test_without_a_time_rows_are_a_second_apart_and_that_is_said(put, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    with caplog.at_level(logging.WARNING):
        log = logs.collect(put("x,y\n1,2\n3,4\n"))

    assert log.runs[0].times_s.tolist() == [0, 1]
    assert "no time column" in caplog.text


def test_a_temperature_named_t_is_a_channel(put) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put("time,T\n0,20.5\n1,20.1\n"))

    assert [channel.name for channel in log.found.channels] == ["T"]


@pytest.mark.parametrize("name", ["anomaly", "label", "faulty", "is_anomaly", "Anomaly"])
def test_labels_are_truth_and_never_channels(put, name: str) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put(f"time;x;{name};changepoint\r\n0;1;0.0;1.0\r\n1;2;1.0;0.0\r\n"))

    assert [channel.name for channel in log.found.channels] == ["x"]
    assert log.runs[0].faulty is not None
    assert log.runs[0].faulty.tolist() == [False, True]


def test_labels_in_words_are_understood(put) -> None:  # type: ignore[no-untyped-def]
    faulty = logs.collect(put("time,x,label\n0,1,True\n1,2,False\n")).runs[0].faulty

    assert faulty is not None
    assert faulty.tolist() == [True, False]


def test_a_log_without_labels_has_no_truth(put) -> None:  # type: ignore[no-untyped-def]
    assert logs.collect(put(PLAIN)).runs[0].faulty is None


@pytest.mark.parametrize(
    "text", ["time,x\n\n0,1\n1,2\n", "time,x\n \n\n0,1\n\n1,2\n\n", 'time,x\n\n"0","1"\n\n"1","2"\n']
)
def test_blank_lines_are_skipped_wherever_they_are(put, text: str) -> None:  # type: ignore[no-untyped-def]
    run = logs.collect(put(text)).runs[0]

    assert run.times_s.tolist() == [0, 1]
    assert run.values.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,x\n0,1\n\n\n1,2\n0.5,3\n", r"line 6, column 'time': expected ascending times"),
        ("time,x\n\n0,1\n\n1,two\n", r"line 5, column 'x': expected a number, got 'two'"),
        ("time,x\n\n0,1\n\n1\n", r"line 5: expected 2 fields"),
        ('time,x,"y"\n0,"1","two\nlines"\n1,2,3\n', r"line 2, column 'y': expected a number"),
        ('time,x\n"0","1"\n\n"\n1","2"\n"0","3"\n', r"line 6, column 'time': expected ascending times"),
        (
            'time,x\n0,"1"\n1,"' + "9" * 140_000 + '"\n',
            r"line 3: expected a row of CSV, .*: field larger .* not closed",
        ),
        ('time,"x' + "9" * 140_000 + "\n0,1\n", r"line 1: expected a row of CSV"),
    ],
)
def test_an_error_names_the_line_of_the_file_with_blank_lines_and_quotes_counted(put, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        logs.collect(put(text))


@pytest.mark.parametrize(
    "text", ["time,x,label\n0,1,0\n1,2,\n", "time,x,label\n0,1,True\n1,2,\n", 'time,x,label\n0,"1",0\n1,2,""\n']
)
def test_an_empty_label_is_refused_however_the_others_are_written(put, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"line 3, column 'label': .* expected 0 or 1 in every row, got an empty cell"):
        logs.collect(put(text))


@pytest.mark.parametrize(("per_s", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")])
@pytest.mark.parametrize("name", ["timestamp", "t"])
def test_stamps_in_another_unit_since_1970_become_seconds_and_that_is_said(  # type: ignore[no-untyped-def]
    put, per_s: float, unit: str, name: str
) -> None:
    stamps = [int(1_790_000_000 * per_s), int(1_790_000_001 * per_s)]
    log = logs.collect(put(f"{name},x\n{stamps[0]},1\n{stamps[1]},2\n"))

    assert log.runs[0].times_s.tolist() == [1_790_000_000.0, 1_790_000_001.0]
    assert log.found.period_s == 1.0
    assert log.notes == (f"times are {unit} since 1970, recognised from their size",)


@pytest.mark.parametrize(
    ("name", "period_s"), [("time_ms", 0.25), ("t [us]", 2.5e-4), ("Timestamp(ns)", 2.5e-7), ("time_s", 250.0)]
)
def test_the_name_of_a_time_column_states_its_unit(put, name: str, period_s: float) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put(f"{name},x\n0,1\n250,2\n500,3\n"))

    assert [channel.name for channel in log.found.channels] == ["x"]
    assert log.found.period_s == pytest.approx(period_s)


@pytest.mark.parametrize("stamps", [(0, 10**19), (0, 10**300), (1_790_000_000, 1_790_000_001_000)])
@pytest.mark.parametrize("name", ["timestamp", "t"])
def test_stamps_of_several_units_are_refused(put, stamps: tuple[int, int], name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=rf"column '{name}': expected times of one unit before the year 5000"):
        logs.collect(put(f"{name},x\n{stamps[0]},1\n{stamps[1]},2\n"))


def test_rows_out_of_order_are_refused_with_the_flag_that_sorts_them_and_sorted_on_request(put) -> None:  # type: ignore[no-untyped-def]
    text = put("time,x,label\n0,10,0\n2,12,1\n1,11,0\n3,13,0\n")
    with pytest.raises(DataError, match=r"line 4.* expected ascending times.* give --sort"):
        logs.collect(text)

    (run,) = (log := logs.collect(text, sort=True)).runs
    assert run.times_s.tolist() == [0, 1, 2, 3]
    assert run.values[:, 0].tolist() == [10, 11, 12, 13]
    assert run.faulty is not None
    assert run.faulty.tolist() == [False, False, True, False]
    assert "2 rows were out of order and were sorted by their times" in log.notes


@pytest.mark.parametrize(
    ("name", "values"), [("attack", "0101"), ("Normal/Attack", ["Normal", "Attack", "Normal", "A ttack"]),
                         ("is_outlier", "0101"), ("faultFlag", "0101"), ("labels", "0101")]
)  # fmt: skip
def test_a_column_of_two_values_with_a_word_for_a_label_in_its_name_is_truth(  # type: ignore[no-untyped-def]
    put, name: str, values: Sequence[str]
) -> None:
    rows = "".join(f"{at},{at},{value}\n" for at, value in enumerate(values))
    log = logs.collect(put(f"time,x,{name}\n{rows}"))

    assert [channel.name for channel in log.found.channels] == ["x"]
    assert log.runs[0].faulty is not None
    assert log.runs[0].faulty.tolist() == [False, True, False, True]
    assert log.notes == (f"label column {name!r}: not a channel. 2 of 4 rows are labelled as faulty",)


@pytest.mark.parametrize(
    ("name", "values"), [("fault_current", "0132"), ("valve", "0101"), ("status", "0101"), ("attack_angle", "0579")]
)
def test_a_measurement_is_a_channel_whatever_its_name_reminds_of(put, name: str, values: str) -> None:  # type: ignore[no-untyped-def]
    rows = "".join(f"{at},{at},{value}\n" for at, value in enumerate(values))
    log = logs.collect(put(f"time,x,{name}\n{rows}"))

    assert [channel.name for channel in log.found.channels] == ["x", name]
    assert log.runs[0].faulty is None


def test_dates_far_from_today_are_dates_all_the_same(put) -> None:  # type: ignore[no-untyped-def]
    times_s = logs.collect(put("time,x\n9999-12-31T23:59:58,1\n9999-12-31T23:59:59,2\n")).runs[0].times_s

    assert np.diff(times_s).tolist() == [1]


@pytest.mark.parametrize(
    ("stamps", "line", "wanted"),
    [
        (("2026-10-25T02:59:58", "2026-10-25T02:59:59+02:00", "2026-10-25T03:00:00"), 3, "without"),
        (("2026-10-25T02:59:58", "2026-10-25T02:59:59", "2026-10-25T03:00:00Z"), 4, "without"),
        (("2026-10-25T02:59:58Z", "2026-10-25T02:59:59"), 3, "with"),
        (("2026-10-25T02:59:58-05:00", "2026-10-25T02:59:59"), 3, "with"),
    ],
)
def test_a_zone_in_some_rows_only_is_refused_with_the_line(  # type: ignore[no-untyped-def]
    put, stamps: tuple[str, ...], line: int, wanted: str
) -> None:
    text = "time,x\n" + "".join(f"{stamp},1\n" for stamp in stamps)

    with pytest.raises(DataError, match=rf"line {line}, column 'time': expected a time {wanted} a time zone"):
        logs.collect(put(text))


def test_zones_that_differ_are_understood(put) -> None:  # type: ignore[no-untyped-def]
    text = "time,x\n2026-10-25T02:59:59+02:00,1\n2026-10-25T01:00:00Z,2\n2026-10-25T02:00:01+01:00,3\n"

    assert np.diff(logs.collect(put(text)).runs[0].times_s).tolist() == [1, 1]


def test_a_date_that_numpy_only_warns_of_is_read_without_a_warning(put) -> None:  # type: ignore[no-untyped-def]
    """Warnings are errors in these tests."""
    assert len(logs.collect(put("time;x\n2026-01-01T00:00:00,5;1\n2026-01-01T00:00:01,5;2\n")).runs[0].times_s) == 2


@given(holes=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=8))
def test_empty_fields_are_missing_samples_wherever_they_are(
    tmp_path_factory: pytest.TempPathFactory, holes: list[list[bool]]
) -> None:
    rows = [",".join([str(at), *("" if hole else "7.5" for hole in row)]) for at, row in enumerate(holes)]
    path = tmp_path_factory.mktemp("logs") / "log.csv"
    path.write_text("time,x,y,z\n" + "\n".join(rows))

    assert np.isnan(logs.collect(str(path)).runs[0].values).tolist() == holes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,x\n0,1\n1,two\n", r"line 3, column 'x': expected a number, got 'two'"),
        ("time,x,mode\n0,1,auto\n1,2,auto\n", r"line 2, column 'mode': expected a number, got 'auto'"),
        ("time,x\n0,1\n1\n", r"line 3: expected 2 fields"),
        ("time,x\n0,1\n1,2,3\n", r"line 3: expected 2 fields"),
        (
            "time,x\n5,1\n4,2\n",
            r"line 3, column 'time': expected ascending times, but this one is 1 s before the row above",
        ),
        ("when,x\n2020-03-09,1\nyesterday,2\n", r"line 3, column 'when': expected an ISO date"),
        ("time,x\n0,1\n,2\n", r"line 3, column 'time': expected a time in every row"),
        ("time,x,label\n0,1,0\n1,2,2\n", r"line 3, column 'label'.* expected 0 or 1"),
        ("0,1\n1,2\n", r"expected a header"),
        ("", r"expected a header"),
        ("time,x\n", r"expected rows"),
        ("time,x,x\n0,1,1\n", r"expected each column name once in the header, got 'x' more than once"),
        ("time,anomaly\n0,1\n", r"at least one numeric channel"),
        ("time,x\n0,1\n", r"two rows"),
        (b"time,x\n0,\xff\n", r"expected text in UTF-8, got byte 0xff, as in an older encoding.*\. Save it as UTF-8"),
        (
            "time;Druck;Öl\n0;1;2\n".encode("latin-1"),
            r"got byte 0xd6, as in an older encoding, such as Latin-1\. Save it",
        ),
        (PLAIN.encode("utf-16"), r"got byte 0xff, as in UTF-16\. Save it as UTF-8"),
        (
            "t;volt\n0;1,5\n1;-0,0601\n",
            r"line 2, column 'volt': .*'1,5'\. Decimal commas are not supported\. Write points \(1\.5\)",
        ),
        ('t,volt\n0,"1.234,5"\n', r"got '1\.234,5'\. Decimal commas are not supported\. Write points \(1234\.5\)"),
        ("time,volt\n0,1,5\n1,2,5\n", r"expected 2 fields as in the header, got 3\. Decimal commas are not supported"),
        ("time;mode\n0;a,1\n", r"got 'a,1'\. Remove the column, or encode it as numbers"),
    ],
)
def test_a_log_that_cannot_be_understood_is_refused_by_place(put, text: str | bytes, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"log\.csv.*" + message):
        logs.collect(put(text))


def test_a_row_number_that_pandas_wrote_is_not_a_channel(put, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    log = logs.collect(put(",time,x\n0,0,5\n1,1,6\n"))

    assert [channel.name for channel in log.found.channels] == ["x"]
    assert "row number" in caplog.text


def test_a_folder_is_its_files_in_order_with_the_channels_of_the_first(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put("time,y,x\n0,2,1\n1,4,3\n", "b/2.csv")
    put(PLAIN, "a.csv")
    put("not a log", "readme.txt")
    log = logs.collect(str(tmp_path))

    assert [run.name for run in log.runs] == ["a.csv", "b/2.csv"]
    assert log.runs[1].values.tolist() == [[1, 2], [3, 4]]
    assert (log.found.runs, log.found.rows) == (2, 5)


def test_files_with_other_channels_do_not_share_a_folder(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put(PLAIN, "a.csv")
    put("time,x,z\n0,1,2\n1,1,2\n", "b.csv")

    with pytest.raises(DataError, match=r"b\.csv differs from a\.csv in y, z"):
        logs.collect(str(tmp_path))


def test_a_file_above_two_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    path.touch()
    os.truncate(path, 3 << 30)  # a sparse file: uses no disk space

    with pytest.raises(DataError, match=r"expected a file of at most 2 GB, got 3\.0 GB"):
        logs.collect(str(path))


@pytest.mark.parametrize(
    ("times_s", "period_s"),
    [
        (np.arange(50) * 0.1, 0.1),
        (1.6e9 + np.arange(50) * 0.001, 0.001),
        (np.arange(50) / 3, 1 / 3),
        (np.array([0, 1, 2, 4, 5, 6, 7.0]), 1.0),
    ],
)
def test_the_period_is_the_median_distance_without_the_noise_of_stamps(times_s: np.ndarray, period_s: float) -> None:
    assert logs.period_of([times_s], "log") == pytest.approx(period_s, rel=1e-12)


def test_a_logger_that_often_skips_a_second_loses_no_windows_by_it(put) -> None:  # type: ignore[no-untyped-def]
    times_s = np.floor(np.arange(2000) * 1.05)
    log = logs.collect(put("time,x\n" + "\n".join(f"{time_s:.0f},1" for time_s in times_s)))

    assert log.found.channels[0].max_gap_s == 4
    assert all(isinstance(item, Item) for item in cut(log, window_spec(log.found, 64, 16)))


def test_a_slow_channel_has_a_period_of_its_own(put) -> None:  # type: ignore[no-untyped-def]
    rows = "\n".join(f"{at / 2},{at},{at if at % 10 == 0 else ''},{'' if at else 1}" for at in range(60))
    log = logs.collect(str(put(f"time,fast,slow,once\n{rows}\n")))

    assert log.found.period_s == 0.5
    assert log.found.channel_periods_s == (0.5, 5.0, None)


def test_a_parquet_file_reads_as_its_csv_does(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    stamps = np.array(["2020-03-09T10:14:33", "2020-03-09T10:14:34"], dtype="datetime64[ns]")
    table = arrow.table({"when": stamps, "x": [1.5, None], "n": [1, 2], "anomaly": [False, True]})
    parquet.write_table(table, tmp_path / "log.parquet")
    one = logs.collect(str(tmp_path / "log.parquet"))
    other = logs.collect(put("when,x,n,anomaly\n2020-03-09 10:14:33,1.5,1,0\n2020-03-09 10:14:34,,2,1\n"))

    assert one.found == other.found
    for field in ("times_s", "values", "faulty"):
        np.testing.assert_array_equal(getattr(one.runs[0], field), getattr(other.runs[0], field))


def test_text_in_parquet_and_other_files_of_that_name_are_refused(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"time": [0, 1], "mode": ["a", "b"]}), tmp_path / "log.parquet")

    with pytest.raises(DataError, match="column 'mode': expected a number, got 'a'"):
        logs.collect(str(tmp_path / "log.parquet"))
    with pytest.raises(DataError, match="expected a Parquet file"):
        logs.collect(put("no parquet", "other.parquet"))


def test_a_folder_of_pictures_with_a_table_beside_is_no_log(put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    put(PLAIN, "names.csv")
    assert logs.SOURCE.accepts(str(tmp_path))
    put(b"", "train/good/0.png")

    assert not logs.SOURCE.accepts(str(tmp_path))
    assert source.find(str(tmp_path / "names.csv")).name == "logs"


def test_its_stream_gives_the_windows_of_the_log(put) -> None:  # type: ignore[no-untyped-def]
    text = put("time,x\n" + "\n".join(f"{at},{at * at}" for at in range(100)))
    spec = window_spec(logs.collect(text).found, 8, 3)
    items = logs.stream(text, spec, LogSettings(), FakeClock(), threading.Event())

    given = [item.data.tobytes() for item in items if isinstance(item, Item)]
    assert given == [item.data.tobytes() for item in cut(logs.collect(text), spec) if isinstance(item, Item)]


def test_a_model_of_frames_cannot_judge_a_log(put) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="judges frames"):
        logs.stream(put(PLAIN), FrameSpec(channels=1, size=(8, 8)), LogSettings(), FakeClock(), threading.Event())


@pytest.mark.timing
def test_a_large_log_is_read_by_the_fast_parser(put) -> None:  # type: ignore[no-untyped-def]
    row = ",".join(["1.25"] * 8)
    text = put("time," + ",".join("abcdefgh") + "\n" + "\n".join(f"{at},{row}" for at in range(50_000)))
    begin_s = time.process_time()
    logs.collect(text)

    assert time.process_time() - begin_s < 1.5  # 0.1 s where measured


@pytest.mark.data
@pytest.mark.skipif("ANDON_DATA" not in os.environ, reason="needs ANDON_DATA")
def test_skab_reads_whole() -> None:
    log = logs.collect(str(Path(os.environ["ANDON_DATA"]) / "skab"))

    labelled = [run.faulty for run in log.runs if run.faulty is not None]
    assert (log.found.runs, len(labelled), len(log.found.channels)) == (35, 34, 8)
    assert sum(len(faulty) for faulty in labelled) == 37_401
    assert sum(int(faulty.sum()) for faulty in labelled) == 13_067
    assert log.found.period_s == 1.0
