"""CSV lines have a header, stay complete, and hold no formula."""

import csv
import io
import os
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.monitor.sinks.test_json_lines import opened as json_lines
from tests.monitor.sinks.test_json_lines import outcome, room_for
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.monitor.contract import outcomes
from andon.monitor.line_sink import LineSink
from andon.monitor.sinks.csv import COLUMNS, FORMAT, safe_text
from andon.runtime.items import Ref

HEADER = FORMAT.header
ROW = FORMAT.line(outcome(1))


def opened(path: Path, clock: FakeClock | None = None) -> LineSink:
    return LineSink(str(path), FORMAT, clock=clock or FakeClock(), stop=threading.Event())


def rows(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes()
    assert text == b"" or text.endswith(b"\n")
    found = list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))
    assert len(found) == max(0, text.count(b"\n") - 1)  # one line each
    assert all(tuple(row) == COLUMNS for row in found)
    return found


def numbers(path: Path) -> list[int]:
    return [int(row["seq"]) for row in rows(path)]


def test_the_columns_are_the_keys_of_json_lines(tmp_path: Path) -> None:
    sink = opened(tmp_path / "v.csv")
    for one in outcomes():
        sink.put(one)
    sink.close()
    found = rows(tmp_path / "v.csv")

    assert [row["status"] for row in found] == ["OK", "REJECT", "INVALID", "INVALID", "OK", "REJECT"]
    assert (found[1]["score"], found[1]["threshold"], found[1]["p_value"]) == ("2.0", "1.0", "0.1")
    assert (found[0]["alarms"], found[1]["alarms"]) == ("", "rejects raised 1")
    assert (found[2]["score"], found[2]["reason"], found[2]["detail"]) == ("", "no_contrast", "cut short")
    assert found[0]["item"] == "lot/0\\n\\x1b[2J.png"


def test_the_header_is_written_once_and_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    opened(path).close()
    for seq in (1, 2):
        sink = opened(path)
        sink.put(outcome(seq))
        sink.close()

    assert path.read_bytes().count(HEADER) == 1
    assert numbers(path) == [1, 2]


def test_a_file_that_log_rotation_renamed_or_emptied_gets_a_header_again(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "v.csv"
    sink = opened(path, clock)
    sink.put(outcome(1))
    path.rename(tmp_path / "v.csv.1")
    clock.sleep(1.0)
    sink.put(outcome(2))
    assert (numbers(tmp_path / "v.csv.1"), numbers(path)) == ([1], [2])
    os.truncate(path, 0)
    sink.put(outcome(3))
    sink.close()

    assert numbers(path) == [3]


@settings(max_examples=60)
@given(st.data())
def test_a_line_or_header_that_was_torn_at_any_byte_is_cut_off_when_the_file_is_opened_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "v.csv"
    whole = HEADER + b"".join(FORMAT.line(outcome(seq)) for seq in (1, 2, 3))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])

    sink = opened(path)
    sink.put(outcome(9))
    sink.close()

    assert numbers(path) == [*range(1, max(1, whole[:cut].count(b"\n"))), 9]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a,b\n1,2\n", id="another table"),
        pytest.param(b"seq,at\n", id="another header"),
        pytest.param(b"se\n", id="a part of the header with a line end"),
        pytest.param(HEADER + b"1,2\n", id="a foreign line after the header"),
        pytest.param(HEADER + b"x", id="a torn foreign line after the header"),
        pytest.param(ROW, id="a line without a header"),
        pytest.param(HEADER + ROW * 1000 + b"1,2\n", id="a foreign line far from the beginning"),
        pytest.param(b'{"seq":1,"at":"', id="JSON lines"),
        pytest.param(bytes(300), id="zeros"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious.csv"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="expected a new file, or a file of CSV lines from andon monitor"):
        opened(path)
    assert path.read_bytes() == content


def test_a_long_file_of_ours_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes(HEADER + ROW * 3000 + ROW[:40])

    sink = opened(path)
    sink.put(outcome(9))
    sink.close()

    assert numbers(path) == [1] * 3000 + [9]


def test_a_csv_file_and_a_file_of_json_lines_are_not_mixed(tmp_path: Path) -> None:
    opened(tmp_path / "v").close()
    sink = opened(tmp_path / "v")
    sink.put(outcome(1))
    sink.close()

    with pytest.raises(ConfigError, match="a file of JSON lines"):
        json_lines(tmp_path / "v")


def test_two_monitors_cannot_append_to_one_file(tmp_path: Path) -> None:
    first = opened(tmp_path / "v.csv")

    with pytest.raises(ConfigError, match="another monitor writes to this file"):
        opened(tmp_path / "v.csv")
    first.close()


@pytest.mark.parametrize("room", [0, 1, 40, len(HEADER), len(HEADER) + 10])
def test_a_full_disk_leaves_no_incomplete_line_and_no_lonely_header(tmp_path: Path, room: int) -> None:
    path = tmp_path / "v.csv"
    sink = opened(path)
    with room_for(room):
        sink.put(outcome(1))
        assert path.read_bytes() == b""
    sink.put(outcome(2))
    sink.close()

    assert sink.lost == 1
    assert numbers(path) == [2]


# OWASP: a spreadsheet runs a cell that begins like this
@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "|x", "%x", " =1", "'=1", '"=1', "\t=1", "\r=1", "\u3000=1"]
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_text(text).startswith(("'", "\\"))


@given(text=st.text(max_size=50))
def test_any_name_becomes_one_cell_of_one_line_without_a_formula(text: str) -> None:
    line = FORMAT.line(outcome(1, key=text))
    (row,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)

    assert line.count(b"\n") == 1
    assert FORMAT.is_line(line[:-1])
    assert len(row) == len(COLUMNS)
    assert not row[2][:1] or row[2][0] not in "=+-@\t\r\n"


def test_negative_numbers_stay_numbers() -> None:
    one = msgspec.structs.replace(outcome(1), ref=Ref(key="a", time_s=-1.5))

    assert b",-1.5," in FORMAT.line(one)


def test_a_pipe_gets_the_header_first(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(pipe)
    sink.put(outcome(1))
    sink.put(outcome(2))
    sink.close()
    got = os.read(reading, 1 << 16)
    os.close(reading)

    assert got == HEADER + ROW + FORMAT.line(outcome(2))
