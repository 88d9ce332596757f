"""JSON lines stay complete after problems with the process, the disk, the file's name or the reader."""

import fcntl
import logging
import os
import resource
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.monitor.judging import Outcome
from andon.monitor.line_sink import LONGEST_LINE
from andon.monitor.records import Record, line, record
from andon.monitor.sink import ConsumerGoneError
from andon.monitor.sinks.json_lines import JsonLines
from andon.runtime.items import Ref
from andon.runtime.schema import Status
from andon.runtime.verdict import Verdict


def outcome(seq: int, key: str = "a.png") -> Outcome:
    return Outcome(
        seq=seq,
        wall_s=0.0,
        ref=Ref(key=key),
        unit="frame",
        verdict=Verdict(status=Status.OK, score=1.0, threshold=2.0),
    )


LINE = line(record(outcome(1)))


def opened(path: Path, clock: FakeClock | None = None, stop: threading.Event | None = None) -> JsonLines:
    return JsonLines(str(path), clock=clock or FakeClock(), stop=stop or threading.Event())


def numbers(path: Path) -> list[int]:
    text = path.read_bytes()
    assert text == b"" or text.endswith(b"\n")
    return [msgspec.json.decode(one, type=Record).seq for one in text.splitlines()]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Limit the size of files. The system then writes only a part of the data, like a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_are_appended_to_those_of_an_earlier_run(tmp_path: Path) -> None:
    for seq in (1, 2):
        sink = opened(tmp_path / "v.jsonl")
        sink.put(outcome(seq))
        sink.close()

    assert numbers(tmp_path / "v.jsonl") == [1, 2]


@settings(max_examples=50)
@given(st.data())
def test_a_line_that_was_torn_at_any_byte_is_cut_off_when_the_file_is_opened_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "v.jsonl"
    whole = b"".join(line(record(outcome(seq))) for seq in (1, 2, 3))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])

    sink = opened(path)
    sink.put(outcome(9))
    sink.close()

    assert numbers(path) == [*range(1, whole[:cut].count(b"\n") + 1), 9]


def test_zeros_that_a_loss_of_power_left_at_the_end_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(line(record(outcome(1))) + bytes(300))

    opened(path).close()

    assert numbers(path) == [1]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x89PNG\r\n\x1a\n some picture without an end", id="a picture"),
        pytest.param(b"{" + b"x" * LONGEST_LINE, id="one endless line"),
        pytest.param(b'{"plc":{"host":"10.0.0.7"}}', id="a configuration without a last line end"),
        pytest.param(b'{"plc":{"host":"10.0.0.7"}}\n', id="a configuration in one line"),
        pytest.param(b'{\n  "plc": {\n    "host": "10.0.0.7"\n  }\n}', id="a pretty-printed configuration"),
        pytest.param(b'{\n  "plc": {\n    "host": "10.0.0.7"\n  }\n}\n', id="the same with a last line end"),
        pytest.param(b'{"x":1}\n', id="foreign JSON lines"),
        pytest.param(b'{"x":1}\n{"x":2', id="foreign JSON lines, torn"),
        pytest.param(b'{"seq":1}\n{"seq":2}\n', id="foreign lines that count"),
        pytest.param(b'{"seq":1,"event":"start"}', id="one foreign line that counts, torn"),
        pytest.param(LINE + b'{"x":1}\n', id="a foreign line after ours"),
        pytest.param(LINE + b'{"x":1', id="a torn foreign line after ours"),
        pytest.param(b'{"x":1}\n' + LINE, id="a foreign line before ours"),
        pytest.param(b'{"x":1}\n' + LINE * 1000, id="a foreign line long before ours"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(bytes(300), id="zeros"),
        pytest.param(b"[1,2]\n", id="a list"),
        pytest.param(b"a,b\n1,2\n", id="a table"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="expected a new file, or a file of JSON lines"):
        opened(path)
    assert path.read_bytes() == content


def test_a_long_log_of_ours_is_appended_to_and_only_its_torn_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    whole = b"".join(line(record(outcome(seq))) for seq in range(1, 3001))
    path.write_bytes(whole + LINE[:70])

    sink = opened(path)
    sink.put(outcome(9))
    sink.close()

    assert numbers(path) == [*range(1, 3001), 9]


def test_lines_of_another_version_of_ours_are_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(LINE.replace(b"}\n", b',"later":[1,2]}\n') + LINE.replace(b'"unit":"frame",', b""))

    opened(path).close()

    assert len(path.read_bytes().splitlines()) == 2


def test_a_link_is_written_through_and_the_rights_of_the_file_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "v-7.jsonl", tmp_path / "current.jsonl"
    target.write_bytes(LINE)
    target.chmod(0o640)
    link.symlink_to(target.name)

    sink = opened(link)
    sink.put(outcome(2))
    sink.close()

    assert link.is_symlink()
    assert numbers(target) == [1, 2]
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_folder_is_refused_and_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(pipe)
    sink.put(outcome(1))
    sink.close()

    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.read(reading, 1 << 16) == LINE
    os.close(reading)
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        opened(tmp_path)


def test_a_closed_stdout_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)

    with pytest.raises(ConfigError, match="got a closed one"):
        JsonLines("-", clock=FakeClock(), stop=threading.Event())


def test_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        opened(tmp_path / "no" / "v.jsonl")


def test_two_monitors_cannot_append_to_one_file(tmp_path: Path) -> None:
    first = opened(tmp_path / "v.jsonl")

    with pytest.raises(ConfigError, match="another monitor writes to this file"):
        opened(tmp_path / "v.jsonl")
    first.close()


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_loses_whole_lines_counts_them_says_so_once_and_goes_on_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    path = tmp_path / "v.jsonl"
    sink = opened(path)
    sink.put(outcome(1))
    with caplog.at_level(logging.WARNING):
        with room_for(path.stat().st_size + room):
            for seq in (2, 3, 4):
                sink.put(outcome(seq))
            assert numbers(path) == [1]
        sink.put(outcome(5))
    sink.close()

    assert numbers(path) == [1, 5]
    assert sink.lost == 3
    assert [entry.getMessage().partition(": ")[2][:16] for entry in caplog.records] == [
        "cannot be writte",
        "writing works ag",
    ]
    assert "3 lines were lost" in caplog.records[1].getMessage()


def test_a_file_that_was_renamed_by_log_rotation_is_made_anew_within_a_second(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "v.jsonl"
    sink = opened(path, clock)
    sink.put(outcome(1))
    path.rename(tmp_path / "v.jsonl.1")
    sink.put(outcome(2))
    clock.sleep(1.0)
    sink.put(outcome(3))
    sink.close()

    assert numbers(tmp_path / "v.jsonl.1") == [1, 2]
    assert numbers(path) == [3]


def test_a_folder_that_vanishes_is_a_state_and_its_lines_are_counted_as_lost(tmp_path: Path) -> None:
    clock, folder = FakeClock(), tmp_path / "share"
    folder.mkdir()
    sink = opened(folder / "v.jsonl", clock)
    folder.rename(tmp_path / "away")
    clock.sleep(1.0)
    sink.put(outcome(1))
    (tmp_path / "away").rename(folder)
    clock.sleep(1.0)
    sink.put(outcome(2))
    sink.close()

    assert sink.lost == 1
    assert numbers(folder / "v.jsonl") == [2]


def test_a_pipe_whose_reader_is_slow_gets_every_line(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got = bytearray()
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)

    def read_slowly() -> None:
        while piece := os.read(reading, 1000):
            got.extend(piece)
            time.sleep(0.0002)

    reader = threading.Thread(target=read_slowly, daemon=True)
    sink = opened(path)
    reader.start()
    for seq in range(1000):
        sink.put(outcome(seq))
    sink.close()
    reader.join(10.0)
    os.close(reading)

    assert [msgspec.json.decode(one, type=Record).seq for one in got.splitlines()] == list(range(1000))


def test_a_pipe_that_nobody_reads_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigError, match="a pipe without a reader"):
        opened(tmp_path / "pipe")


def test_a_reader_that_has_gone_ends_the_work(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = opened(path)
    os.close(reading)

    with pytest.raises(ConsumerGoneError):
        sink.put(outcome(1))
    sink.close()


def test_a_reader_that_does_not_read_cannot_hold_up_the_end(tmp_path: Path) -> None:
    path, stop = tmp_path / "pipe", threading.Event()
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLines(str(path), clock=_Ticking(), stop=stop)
    finished = threading.Event()

    def fill() -> None:
        while not stop.is_set():
            sink.put(outcome(1, key="k" * 1000))
        finished.set()

    threading.Thread(target=fill, daemon=True).start()
    assert not finished.wait(0.3)
    stop.set()

    assert finished.wait(2.0)
    assert sink.lost == 1
    sink.close()
    os.close(reading)


class _Ticking(FakeClock):
    """Real monotonic time."""

    def mono_s(self) -> float:
        return time.monotonic()


def test_the_file_is_one_of_bytes_on_systems_that_tell_them_from_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_BINARY", os.O_DSYNC, raising=False)  # stands for Windows' flag, and can be seen here
    sink = opened(tmp_path / "v.jsonl")

    assert fcntl.fcntl(sink._fd, fcntl.F_GETFL) & os.O_DSYNC == os.O_DSYNC
    sink.close()
