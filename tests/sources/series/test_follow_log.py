"""A CSV log that grows gives the windows of the complete log, and reports when it does not grow."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.kinds import logs
from andon.sources.series.follow_log import LogSettings

SPEC = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="x"), Channel(name="y")))
HEADER = b"time,y,x\n"


Step = bytes | Callable[[], object]


class Writer(FakeClock):
    """A program that appends to a file whenever the reader waits, and then stops the reader."""

    def __init__(self, path: Path, steps: list[Step]) -> None:
        super().__init__(1e6)
        self.path = path
        self.steps = list(steps)
        self.stop = threading.Event()

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if not self.steps:
            self.stop.set()
            return
        step = self.steps.pop(0)
        if isinstance(step, bytes):
            with self.path.open("ab") as file:
                file.write(step)
        else:
            step()


def follow(path: Path, *steps: Step, spec: WindowSpec = SPEC, stale_after_s: float = 1e9) -> list[Item | Lost]:
    path.touch()
    writer = Writer(path, list(steps))
    chosen = LogSettings(follow=True, poll_s=0.1, stale_after_s=stale_after_s)
    return list(logs.stream(str(path), spec, chosen, writer, writer.stop))


def replaced(path: Path) -> Callable[[], None]:
    """Return a step that renames the file, as a program that rotates logs does, and begins a new one."""

    def step() -> None:
        path.rename(path.with_name("old.csv"))
        path.write_bytes(HEADER)

    return step


def row(at: int) -> bytes:
    return f"{at},{at * 2},{at * 0.5}\n".encode()


def windows(items: list[Item | Lost]) -> list[tuple[str, object, bytes | Reason]]:
    return [
        (item.ref.key, item.ref.time_s, item.data.tobytes() if isinstance(item, Item) else item.reason)
        for item in items
        if isinstance(item, Item) or item.reason is not Reason.STALE
    ]


CELLS = st.one_of(st.just(""), st.integers(-9, 9).map(str), st.floats(-1e3, 1e3, width=32).map(repr))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.25, 6.0]), CELLS, CELLS), min_size=2, max_size=40),
    dates=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    pieces=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    stale_after_s=st.sampled_from([0.05, 1e9]),
)
def test_the_windows_are_the_same_whether_the_file_grew_or_was_complete(  # noqa: PLR0917 - arguments of a property
    tmp_path: Path,
    rows: list[tuple[float, str, str]],
    dates: bool,
    line_end: str,
    pieces: list[int],
    stale_after_s: float,
) -> None:
    lines, time_s = ["time,y,x"], 0.0
    for step_s, y, x in rows:
        time_s += step_s
        stamp = str(np.datetime64("2026-01-02T00:00:00.000000") + np.timedelta64(round(time_s * 1e6), "us"))
        lines.append(f"{stamp if dates else time_s},{y},{x}")
    content = (line_end.join(lines) + line_end).encode()
    complete = tmp_path / "whole" / "log.csv"
    complete.parent.mkdir(exist_ok=True)
    complete.write_bytes(content)
    expected = list(logs.stream(str(complete), SPEC, LogSettings(), FakeClock(), threading.Event()))
    growing = tmp_path / "log.csv"
    growing.unlink(missing_ok=True)
    steps, begin = list[bytes](), 0
    while begin < len(content):
        size = pieces[len(steps) % len(pieces)]
        steps.append(content[begin : begin + size])
        begin += size

    unfinished = follow(growing, *steps, stale_after_s=stale_after_s)
    assert windows(unfinished) == windows(expected)[: len(windows(unfinished))]
    growing.unlink()
    finished = follow(growing, *steps, replaced(growing), b"", b"", stale_after_s=stale_after_s)
    assert windows(finished) == windows(expected)


def test_a_row_counts_when_its_line_is_complete(tmp_path: Path) -> None:
    steps = [HEADER, *(row(at) for at in range(7)), b"7,14,3.5", b"\n", *(row(at) for at in range(8, 12))]
    items = follow(tmp_path / "log.csv", *steps)

    assert [item.ref.key for item in items if isinstance(item, Item)] == ["log.csv#3", "log.csv#5", "log.csv#7"]


def test_a_renamed_file_is_read_to_its_end_and_the_new_one_is_a_new_run(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"

    def rename() -> None:
        path.rename(tmp_path / "log.csv.1")
        with (tmp_path / "log.csv.1").open("ab") as file:
            file.write(b"3,6,1.5")  # a last line without its end

    steps: list[Step] = [HEADER, row(0), row(1), row(2), rename, b"", b"", HEADER, *(row(at) for at in range(100, 110))]
    items = follow(path, *steps)

    assert [item.ref.key for item in items if isinstance(item, Item)][:2] == ["log.csv#3", "log.csv-2#3"]
    assert {item.ref.group for item in items} == {"log.csv", "log.csv-2"}


def test_a_file_that_was_cut_is_a_new_run(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    steps: list[Step] = [HEADER, *(row(at) for at in range(6)), lambda: path.write_bytes(b""), b"", HEADER]
    items = follow(path, *steps, *(row(at) for at in range(8)))

    runs = [item.ref.group for item in items if isinstance(item, Item)]
    assert runs == ["log.csv", "log.csv", "log.csv-2"]


def test_a_row_that_cannot_be_read_is_invalid_and_the_others_are_judged(tmp_path: Path) -> None:
    bad = [b"oops\n", b"2.5,x,1\n", b"\xff\xfe,1,2\n", b"1,1,1\n", b"9" * 1_000_001 + b"\n"]
    before, after = b"".join(row(at) for at in range(3)), b"".join(row(at) for at in range(3, 12))
    items = follow(tmp_path / "log.csv", HEADER, before + b"".join(bad) + after)

    lost = [item for item in items if isinstance(item, Lost) and item.reason is Reason.UNREADABLE]
    assert [item.ref.key for item in lost] == [f"log.csv:line{number}" for number in range(5, 10)]
    assert [item.detail.split(",")[0] for item in lost] == [
        "line 5: expected 3 fields as in the header",
        "line 6: column 'y': expected a number",
        "line 7: expected text in UTF-8",
        "line 8: expected ascending times",
        "line 9: expected at most 1000000 bytes",
    ]
    assert [item.ref.key for item in items if isinstance(item, Item)][:2] == ["log.csv#3", "log.csv#5"]


def test_a_file_that_does_not_grow_is_stale_once_a_period(tmp_path: Path) -> None:
    items = follow(tmp_path / "log.csv", HEADER, row(0), *[b""] * 45, stale_after_s=1.0)

    stale = [item for item in items if isinstance(item, Lost) and item.reason is Reason.STALE]
    assert 3 <= len(stale) <= 5
    assert stale[0].detail.startswith("no data for 1.")
    assert len({item.ref.key for item in stale}) == len(stale)


def test_a_file_that_is_away_for_a_while_is_a_silence(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    items = follow(path, HEADER, row(0), path.unlink, *[b""] * 2, stale_after_s=1e9)

    assert items == []


def test_a_first_header_without_a_channel_of_the_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no channel 'x'"):
        follow(tmp_path / "log.csv", b"time,y,z\n", row(0))


def test_a_later_header_without_a_channel_is_invalid_and_the_next_file_is_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"

    def rotate(header: bytes) -> Callable[[], None]:
        def step() -> None:
            path.rename(tmp_path / "old.csv")
            path.write_bytes(header)

        return step

    steps: list[Step] = [HEADER, rotate(b"time,q\n"), b"1,2\n", b"", rotate(HEADER), b"", *(row(at) for at in range(8))]
    items = follow(path, *steps, b"", b"")

    given = [item for item in items if isinstance(item, Item) or item.reason is not Reason.WARMING]
    assert [(item.ref.key, type(item)) for item in given][:2] == [("log.csv-2:line1", Lost), ("log.csv-3#3", Item)]


def test_only_a_csv_file_can_be_followed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a CSV file to follow"):
        logs.stream(str(tmp_path), SPEC, LogSettings(follow=True), FakeClock(), threading.Event())


def test_a_followed_log_has_no_end() -> None:
    assert logs.SOURCE.endless("log.csv", LogSettings(follow=True))
    assert not logs.SOURCE.endless("log.csv", LogSettings())
