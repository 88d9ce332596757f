"""Rows of sensor values on standard input become windows."""

import json
import logging
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from andon.runtime.errors import InputError
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.clock import FakeClock
from andon.sources.items import Item, Lost
from andon.sources.kinds import stdin
from andon.sources.kinds.stdin import Counters, follow
from andon.sources.lines import MOST_BYTES
from andon.sources.source import StreamOptions, find

SPEC = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="voltage"), Channel(name="current")))
ROWS = [(float(at), [at * 1.5, -float(at)]) for at in range(12)]


class Ticking(FakeClock):
    """A second passes whenever somebody looks."""

    def mono_s(self) -> float:
        self.now_s += 1.0
        return self.now_s


def tell(
    text: bytes, *, clock: FakeClock | None = None, counters: Counters | None = None, pieces: int = 1 << 20
) -> list[Item | Lost]:
    """What comes of bytes written to a pipe, in pieces of some size, and its end."""
    out, into = os.pipe()

    def write() -> None:
        for at in range(0, len(text), pieces):
            os.write(into, text[at : at + pieces])
        os.close(into)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(follow(out, SPEC, StreamOptions(), clock or FakeClock(5e9), threading.Event(), counters=counters))
    finally:
        writer.join()
        os.close(out)


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def windows(items: list[Item | Lost]) -> list[tuple[str, bytes]]:
    return [(item.ref.key, item.data.tobytes()) for item in items if isinstance(item, Item)]


@pytest.fixture
def expected() -> list[tuple[str, bytes]]:
    values = np.array([row for _, row in ROWS], dtype=np.float32)
    return [(f"stdin#{end - 1}", values[end - 4 : end].tobytes()) for end in range(4, 13, 2)]


@pytest.mark.parametrize(
    "text",
    [
        lines(*({"t": time_s, "values": row} for time_s, row in ROWS)),
        lines(*({"t": time_s, "values": {"current": row[1], "voltage": row[0]}} for time_s, row in ROWS)),
        lines({"t": [time_s for time_s, _ in ROWS], "values": [row for _, row in ROWS]}),
        lines(
            {
                "t": [t for t, _ in ROWS],
                "values": {"current": [r[1] for _, r in ROWS], "voltage": [r[0] for _, r in ROWS]},
            }
        ),
        lines(
            *(
                {"t": time_s, "values": {name: value}}
                for time_s, row in ROWS
                for name, value in zip(("current", "voltage"), reversed(row), strict=True)
            )
        ),
    ],
    ids=["rows", "by name", "block", "block by name", "one channel a line"],
)
def test_every_way_to_say_it_gives_the_same_windows(text: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert windows(tell(text)) == expected


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_lines_may_come_in_pieces_and_the_last_without_its_end(pieces: int, expected: list[tuple[str, bytes]]) -> None:
    text = lines(*({"t": time_s, "values": row} for time_s, row in ROWS)).rstrip(b"\n")

    assert windows(tell(text, pieces=pieces)) == expected


@pytest.mark.parametrize(
    "bad",
    [
        b"not json\n",
        b'{"t": "noon", "values": [1, 2]}\n',
        b'{"t": 3}\n',
        b'{"t": 3, "values": [1]}\n',
        b'{"t": 3, "values": [1, 2, 3]}\n',
        b'{"t": 3, "values": [[1, 2]]}\n',
        b'{"t": [3, 4], "values": [[1, 2]]}\n',
        b'{"t": [3], "values": [1, 2]}\n',
        b'{"t": 3, "values": {"voltage": "high"}}\n',
        b'{"t": 3, "values": {"voltage": [1, 2]}}\n',
        b'{"t": 3, "values": [true, 2]}\n',
        b'{"t": 1e999, "values": [1, 2]}\n',
        b"\xff\xfe\n",
        b'{"t": 3, "values": [1, 2], "pad": "' + b"x" * MOST_BYTES + b'"}\n',
    ],
)
def test_a_bad_line_is_lost_and_counted_and_stops_nothing(bad: bytes, expected: list[tuple[str, bytes]]) -> None:
    halves = [lines(*({"t": time_s, "values": row} for time_s, row in part)) for part in (ROWS[:6], ROWS[6:])]
    counters = Counters()
    items = tell(bad.join(halves), counters=counters)

    assert windows(items) == expected
    assert counters.unreadable == 1
    (lost,) = [item for item in items if isinstance(item, Lost) and item.reason is Reason.UNREADABLE]
    assert lost.ref.key == "stdin:line7"
    assert lost.detail.startswith("line 7: ")


def test_null_and_numbers_beyond_float32_are_missing() -> None:
    items = tell(lines({"t": [0, 1, 2, 3, 4], "values": [[1, 1], [1, 1], [None, 1], [1e300, 1], [1, 1]]}))

    assert not windows(items) or all(np.isfinite(np.frombuffer(data, np.float32)).all() for _, data in windows(items))


def test_an_unknown_channel_is_named_once_and_left_aside(
    expected: list[tuple[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    text = lines(
        *({"t": time_s, "values": {"voltage": row[0], "current": row[1], "volage": 3}} for time_s, row in ROWS)
    )
    with caplog.at_level(logging.WARNING):
        items = tell(text)

    assert windows(items) == expected
    assert len(caplog.records) == 1
    assert "'volage'" in caplog.text
    assert "did you mean 'voltage'" in caplog.text


def test_silence_is_stale_and_gives_what_was_waiting() -> None:
    out, into = os.pipe()
    os.write(into, lines({"t": [0, 1, 2, 3], "values": [[1, 2]] * 4}))
    stream: Iterator[Item | Lost] = follow(out, SPEC, StreamOptions(stale_after_s=2.0), Ticking(), threading.Event())
    told = [next(stream) for _ in range(4)]
    os.close(into)
    rest = list(stream)
    os.close(out)

    assert [item.reason.name if isinstance(item, Lost) else "window" for item in told] == [
        "WARMING",
        "window",
        "STALE",
        "STALE",
    ]
    assert len({item.ref.key for item in told}) == 4
    assert rest == []


def test_a_stop_is_noticed_while_nothing_comes() -> None:
    out, into = os.pipe()
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()

    assert list(follow(out, SPEC, StreamOptions(), FakeClock(), stop)) == []
    timer.join()
    os.close(out)
    os.close(into)


@pytest.mark.parametrize("pieces", [40, 1 << 20])
def test_a_sender_that_begins_anew_is_followed_from_its_first_row(pieces: int) -> None:
    counters = Counters()
    rows = [(float(at), [1.0, 2.0]) for at in range(1000, 1020)] + [(float(at), [3.0, 4.0]) for at in range(40)]
    items = tell(lines(*({"t": time_s, "values": row} for time_s, row in rows)), counters=counters, pieces=pieces)

    assert counters.restarts == 1
    keys = [f"stdin#{end}" for end in range(3, 20, 2)] + [f"stdin-2#{end}" for end in range(3, 40, 2)]
    assert [key for key, _ in windows(items)] == keys


def test_one_channel_that_is_always_late_is_no_new_beginning() -> None:
    counters = Counters()
    rows = [
        {"t": at - (50 if name == "current" else 0), "values": {name: 1.0}}
        for at in range(40)
        for name in ("voltage", "current")
    ]
    tell(lines(*rows), counters=counters)

    assert counters.restarts == 0


@pytest.mark.parametrize("pieces", [36, 1 << 20])
def test_stamps_ahead_of_the_wall_clock_are_refused_and_said(pieces: int) -> None:
    rows = [{"t": 1000.0 + ahead, "values": [1.0, 2.0]} for ahead in (0, 1, *range(60, 80))]
    counters = Counters()
    items = tell(lines(*rows), clock=FakeClock(1001.0), pieces=pieces, counters=counters)

    lost = [item for item in items if isinstance(item, Lost) and item.reason is Reason.STALE]
    assert len(lost) == 1
    assert "ahead of this machine's clock" in lost[0].detail
    assert counters.restarts == 0


def test_a_dash_is_standard_input_and_a_model_of_frames_cannot_follow_it() -> None:
    assert find("-").name == "stdin"
    with pytest.raises(InputError, match="judges frames"):
        stdin.stream("-", FrameSpec(channels=1, size=(8, 8)), StreamOptions(), FakeClock(), threading.Event())
