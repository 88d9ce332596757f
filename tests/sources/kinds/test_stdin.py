"""Rows of sensor values on standard input become windows."""

import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError, InputError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.kinds import stdin
from andon.sources.kinds.stdin import follow, receive
from andon.sources.live.sample_stream import Counters
from andon.sources.series.line_reader import MOST_BYTES, Read
from andon.sources.source import find

SPEC = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="voltage"), Channel(name="current")))
ROWS = [(float(at), [at * 1.5, -float(at)]) for at in range(12)]


class Ticking(FakeClock):
    """A clock that advances by one second with each reading."""

    def mono_s(self) -> float:
        self.now_s += 1.0
        return self.now_s


def items_of(
    text: bytes, *, clock: FakeClock | None = None, counters: Counters | None = None, pieces: int = 1 << 20
) -> list[Item | Lost]:
    """Write bytes to a pipe in pieces of some size, close it, and return the resulting items."""
    out, into = os.pipe()

    def write() -> None:
        for at in range(0, len(text), pieces):
            os.write(into, text[at : at + pieces])
        os.close(into)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(follow(out, SPEC, stdin.Settings(), clock or FakeClock(5e9), threading.Event(), counters=counters))
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
    assert windows(items_of(text)) == expected


@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_lines_may_come_in_pieces_and_the_last_without_its_end(pieces: int, expected: list[tuple[str, bytes]]) -> None:
    text = lines(*({"t": time_s, "values": row} for time_s, row in ROWS)).rstrip(b"\n")

    assert windows(items_of(text, pieces=pieces)) == expected


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
        b'{"t": 3, "values": {"\xb0C": 1}}\n',
        b'{"t": 3, "values": [1, 2], "x": ' + b"[" * 3000 + b"]" * 3000 + b"}\n",
        b'{"t": 3, "values": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        b'{"t": 3, "x": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b', "values": [1, 2]}\n',
        b'{"t": 1e19, "values": [1, 2]}\n',
        b'{"t": -1e19, "values": [1, 2]}\n',
        b'{"t": 1e20, "values": [1, 2]}\n',
        b'{"t": 1e300, "values": [1, 2]}\n',
        b'{"t": -1e300, "values": [1, 2]}\n',
        b'{"t": 1e308, "values": [1, 2]}\n',
        b'{"t": 1795305600250000000, "values": [1, 2]}\n',  # nanoseconds since 1970
        b'{"t": [3, 1e19], "values": [[1, 2], [1, 2]]}\n',
    ],
)
def test_a_bad_line_is_lost_and_counted_and_stops_nothing(bad: bytes, expected: list[tuple[str, bytes]]) -> None:
    halves = [lines(*({"t": time_s, "values": row} for time_s, row in part)) for part in (ROWS[:6], ROWS[6:])]
    counters = Counters()
    items = items_of(bad.join(halves), counters=counters)

    assert windows(items) == expected
    assert counters.unreadable == 1
    (lost,) = [item for item in items if isinstance(item, Lost) and item.reason is Reason.UNREADABLE]
    assert lost.ref.key == "stdin:line7"
    assert lost.detail.startswith("line 7: ")


@pytest.mark.parametrize(
    "empty",
    [
        b'{"t": [], "values": {"voltage": []}}\n',
        b'{"t": [], "values": []}\n',
        b'{"t": 3, "values": {}}\n',
        b"\n",
    ],
)
@pytest.mark.parametrize("at", [0, 6])
def test_a_line_without_samples_changes_nothing(empty: bytes, at: int, expected: list[tuple[str, bytes]]) -> None:
    halves = [lines(*({"t": time_s, "values": row} for time_s, row in part)) for part in (ROWS[:at], ROWS[at:])]

    assert windows(items_of(empty.join(halves))) == expected


@pytest.mark.parametrize("bad", [b'{"t": 1e19, "values": [1, 2]}\n', b'{"t": -1e300, "values": [1, 2]}\n'])
def test_a_broken_stamp_in_the_first_line_leaves_the_windows_as_they_are(
    bad: bytes, expected: list[tuple[str, bytes]]
) -> None:
    assert windows(items_of(bad + lines(*({"t": time_s, "values": row} for time_s, row in ROWS)))) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
far_times = st.floats(min_value=1e17, allow_infinity=False) | st.floats(max_value=-1e17, allow_infinity=False)
garbage = st.one_of(
    st.binary(max_size=30).map(lambda text: b"{" + text.replace(b"\n", b"")),
    st.builds(lambda values: json.dumps({"t": "x", "values": values}).encode(), json_values),
    st.builds(lambda t: json.dumps({"t": t, "values": [1, 2]}).encode(), far_times),
    st.builds(lambda t: json.dumps({"t": [1, t], "values": {"voltage": [1, 2]}}).encode(), far_times),
    st.integers(3000, 20_000).map(lambda deep: b'{"t":1,"values":' + b"[" * deep + b"]" * deep + b"}"),
    st.binary(max_size=4).map(lambda name: b'{"t":1,"values":{"\xff' + name.replace(b"\n", b"") + b'":1}}'),
)


def _amid_garbage(bad: list[bytes], seed: int) -> None:
    """Mix bad lines into good ones, and check that no window of the good ones is missing and every bad line is lost."""
    rows = [(float(at), [at * 1.5, -float(at)]) for at in range(40)]
    good = [lines({"t": time_s, "values": row}).rstrip() for time_s, row in rows]
    places = sorted(np.random.default_rng(seed).integers(0, len(good) + 1, len(bad)).tolist())
    mixed = [(place, 0, line) for place, line in zip(places, bad, strict=True)]
    mixed += [(at, 1, line) for at, line in enumerate(good)]
    text = b"\n".join(line for _, _, line in sorted(mixed, key=lambda each: each[:2]))
    counters = Counters()
    items = items_of(text, counters=counters)

    assert windows(items) == windows(items_of(b"\n".join(good)))
    lost = [item for item in items if isinstance(item, Lost) and item.reason is Reason.UNREADABLE]
    assert len(lost) == counters.unreadable == len(bad)


@settings(max_examples=25)
@given(st.lists(garbage, max_size=20), st.integers(0, 99))
def test_every_window_comes_and_every_bad_line_is_counted_whatever_stands_between(bad: list[bytes], seed: int) -> None:
    _amid_garbage(bad, seed)


@pytest.mark.fuzz
@settings(max_examples=6, phases=[Phase.generate])  # the first example is the simplest one and tests little
@given(st.data())
def test_a_thousand_lines_of_garbage_stop_nothing(data: st.DataObject) -> None:
    for seed in range(4):
        _amid_garbage(data.draw(st.lists(garbage, min_size=50, max_size=50)), seed)


def test_null_and_numbers_beyond_float32_are_missing() -> None:
    items = items_of(lines({"t": [0, 1, 2, 3, 4], "values": [[1, 1], [1, 1], [None, 1], [1e300, 1], [1, 1]]}))

    assert not windows(items) or all(np.isfinite(np.frombuffer(data, np.float32)).all() for _, data in windows(items))


def test_an_unknown_channel_is_named_once_and_left_aside(
    expected: list[tuple[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    text = lines(
        *({"t": time_s, "values": {"voltage": row[0], "current": row[1], "volage": 3}} for time_s, row in ROWS)
    )
    with caplog.at_level(logging.WARNING):
        items = items_of(text)

    assert windows(items) == expected
    assert len(caplog.records) == 1
    assert "'volage'" in caplog.text
    assert "did you mean 'voltage'" in caplog.text


def test_silence_is_stale_and_gives_what_was_waiting() -> None:
    out, into = os.pipe()
    os.write(into, lines({"t": [0, 1, 2, 3], "values": [[1, 2]] * 4}))
    stream: Iterator[Item | Lost] = follow(out, SPEC, stdin.Settings(stale_after_s=2.0), Ticking(), threading.Event())
    items = [next(stream) for _ in range(4)]
    os.close(into)
    rest = list(stream)
    os.close(out)

    assert [item.reason.name if isinstance(item, Lost) else "window" for item in items] == [
        "WARMING",
        "window",
        "STALE",
        "STALE",
    ]
    assert len({item.ref.key for item in items}) == 4
    assert rest == []


def sent(rows: Iterable[object], *, every_s: float, clock: FakeClock) -> list[Item | Lost]:
    """Send rows one by one and return the resulting items. Bytes are sent as they are, other rows as JSON."""

    def reads() -> Iterator[Read]:
        for row in rows:
            text = row if isinstance(row, bytes) else json.dumps(row).encode()
            yield Read((text,), len(text) + 1)
            clock.sleep(every_s)

    return list(receive(reads(), SPEC, stdin.Settings(stale_after_s=2.0), clock, threading.Event()))


NOW_S = 1_795_305_600.0


@pytest.mark.parametrize(
    ("row", "why"),
    [
        pytest.param(
            lambda _now_s: {"t": NOW_S, "values": [1, 2]}, "with a time stamp that does not advance", id="frozen clock"
        ),
        pytest.param(
            lambda now_s: {"t": now_s, "values": {"Voltage": 1, "Current": 2}},
            "lines without a channel of the model file (got 'Voltage', 'Current'; expected 'voltage', 'current')",
            id="renamed channels",
        ),
        pytest.param(lambda now_s: {"t": now_s, "values": {}}, "lines without values", id="no values"),
        pytest.param(lambda _now_s: b"", "blank lines", id="blank lines"),
        pytest.param(
            lambda now_s: {"t": now_s + 5, "values": [1, 2]},
            "5.0 s ahead of this machine's clock",
            id="a clock that is ahead",
        ),
        pytest.param(
            lambda now_s: {"t": NOW_S + 1e-6 * (now_s - NOW_S), "values": [1, 2]},
            "with a time stamp that does not advance",
            id="a clock that hardly moves",
        ),
    ],
)
def test_lines_that_lead_to_no_window_are_stale_again_and_again_with_the_cause(
    row: Callable[[float], object], why: str
) -> None:
    clock = FakeClock(NOW_S)
    items = sent((row(clock.now_s) for _ in range(250)), every_s=0.1, clock=clock)

    stalls = [item for item in items if isinstance(item, Lost) and item.reason is Reason.STALE and why in item.detail]
    # 25 s: the first after 6 periods of 1 s, then one every 2 s
    assert len(stalls) >= 7
    assert len({item.ref.key for item in stalls}) == len(stalls)
    assert windows(items) == []


def test_a_sender_at_its_own_pace_is_never_stale_although_a_window_takes_longer_than_the_limit() -> None:
    clock = FakeClock(NOW_S)
    items = sent(({"t": clock.now_s, "values": [1, 2]} for _ in range(200)), every_s=0.5, clock=clock)

    assert len(windows(items)) > 40
    assert not [item for item in items if isinstance(item, Lost) and item.reason is Reason.STALE]


def test_windows_come_again_once_a_frozen_clock_moves_on() -> None:
    clock = FakeClock(NOW_S)
    frozen = ({"t": min(clock.now_s, NOW_S + 30.0), "values": [1, 2]} for _ in range(600))
    moving = ({"t": clock.now_s, "values": [1, 2]} for _ in range(400))
    items = sent(itertools.chain(frozen, moving), every_s=0.1, clock=clock)

    kinds = [item.reason.name if isinstance(item, Lost) else "window" for item in items]
    assert "STALE" in kinds
    assert kinds[-5:] == ["window"] * 5


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n" * 100,
        lines(*({"t": 5.0, "values": [1, 2]},) * 100),
        lines(*({"t": at, "values": {"Voltage": 1}} for at in range(100))),
        lines(*({"t": at, "values": {}} for at in range(100))),
        lines({"t": 1.0, "values": [1, 2]}),
    ],
    ids=["nothing", "blank lines", "frozen", "renamed", "no values", "one row"],
)
def test_an_end_without_a_window_is_said(text: bytes) -> None:
    items = items_of(text)

    assert windows(items) == []
    assert isinstance(items[-1], Lost)
    assert items[-1].reason is Reason.STALE
    assert "standard input ended" in items[-1].detail


def test_rows_without_effect_at_the_end_are_said_even_if_they_all_came_at_once(
    expected: list[tuple[str, bytes]],
) -> None:
    rows = [{"t": time_s, "values": row} for time_s, row in ROWS] + [{"t": ROWS[-1][0], "values": ROWS[-1][1]}] * 80
    items = items_of(lines(*rows))

    assert windows(items) == expected
    assert isinstance(items[-1], Lost)
    assert "80 of 81 rows with a time stamp that does not advance" in items[-1].detail


def test_a_closed_standard_input_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)

    with pytest.raises(InputError, match="it is closed"):
        stdin.stream("-", SPEC, stdin.Settings(), FakeClock(), threading.Event())


def test_a_stop_is_noticed_while_nothing_comes() -> None:
    out, into = os.pipe()
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()

    assert list(follow(out, SPEC, stdin.Settings(), FakeClock(), stop)) == []
    timer.join()
    os.close(out)
    os.close(into)


@pytest.mark.parametrize("pieces", [40, 1 << 20])
def test_a_sender_that_begins_anew_is_followed_from_its_first_row(pieces: int) -> None:
    counters = Counters()
    rows = [(float(at), [1.0, 2.0]) for at in range(1000, 1020)] + [(float(at), [3.0, 4.0]) for at in range(40)]
    items = items_of(lines(*({"t": time_s, "values": row} for time_s, row in rows)), counters=counters, pieces=pieces)

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
    items_of(lines(*rows), counters=counters)

    assert counters.restarts == 0


@pytest.mark.parametrize("pieces", [36, 1 << 20])
def test_stamps_ahead_of_the_wall_clock_are_refused_and_said(pieces: int) -> None:
    rows = [{"t": 1000.0 + ahead, "values": [1.0, 2.0]} for ahead in (0, 1, *range(60, 80))]
    counters = Counters()
    items = items_of(lines(*rows), clock=FakeClock(1001.0), pieces=pieces, counters=counters)

    lost = [item for item in items if isinstance(item, Lost) and item.reason is Reason.STALE]
    assert len(lost) == 1
    assert "ahead of this machine's clock" in lost[0].detail
    assert counters.restarts == 0


def test_a_dash_is_standard_input_and_a_model_of_frames_cannot_follow_it() -> None:
    assert find("-").name == "stdin"
    with pytest.raises(ConfigError, match="judges frames"):
        stdin.stream("-", FrameSpec(channels=1, size=(8, 8)), stdin.Settings(), FakeClock(), threading.Event())


def test_a_model_file_for_a_high_rate_gives_advice_on_blocks() -> None:
    fast, slow = (
        WindowSpec(steps=4, hop=2, period_s=period_s, channels=(Channel(name="voltage"),)) for period_s in (0.001, 0.1)
    )

    assert "send blocks of samples" in stdin.SOURCE.advice(fast)
    assert stdin.SOURCE.advice(slow) == ""
