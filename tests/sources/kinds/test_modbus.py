"""Registers of a Modbus device become windows. The device is a pymodbus server in a child process."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.modbus_server import ModbusServer, needs_pymodbus
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table, from_texts
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.kinds import modbus
from andon.sources.kinds.modbus import ModbusStream, Schedule, Settings
from andon.sources.modbus.registers import Register

SPEC = WindowSpec(steps=4, hop=2, period_s=0.05, channels=(Channel(name="voltage"), Channel(name="current")))
REGISTERS = {
    "voltage": Register(address=10, type="float32"),
    "current": Register(address=12, type="int16", scale=0.5, offset=1.0),
}
VOLTAGE = [0x4240, 0]  # 48.0


@pytest.fixture(scope="module")
def running() -> Iterator[ModbusServer]:
    server = ModbusServer().start()
    yield server
    server.end()


@pytest.fixture
def server(running: ModbusServer) -> ModbusServer:
    running.reset()
    running.set("holding", 10, *VOLTAGE, 0xFFFE)
    return running


class Follower:
    """A stream that is read in a thread of its own."""

    def __init__(self, url: str, **given: Any) -> None:
        self.stop = threading.Event()
        self.items: list[Item | Lost] = []
        settings: dict[str, Any] = {"registers": REGISTERS, "stale_after_s": 0.5}
        self.stream: ModbusStream = modbus.stream(url, SPEC, Settings(**settings | given), SystemClock(), self.stop)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for item in self.stream:
            self.items.append(item)

    @property
    def windows(self) -> list[Item]:
        return [item for item in self.items if isinstance(item, Item)]

    @property
    def stale(self) -> list[Lost]:
        return [item for item in self.items if isinstance(item, Lost) and item.reason is Reason.STALE]

    def wait(self, done: Callable[["Follower"], bool], limit_s: float = 20.0) -> None:
        until_s = time.monotonic() + limit_s
        while not done(self):
            assert time.monotonic() < until_s, f"waited too long: {self.items[-3:]}"
            time.sleep(0.01)

    def end(self) -> float:
        """Stop the stream. Return the time until its end."""
        began_s = time.monotonic()
        self.stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        return time.monotonic() - began_s


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def begin(url: str, **given: Any) -> Follower:
        followers.append(Follower(url, **given))
        return followers[-1]

    yield begin
    for one in followers:
        one.end()


@needs_pymodbus
def test_registers_become_windows_with_their_type_scale_and_offset(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    follower = follow(server.url)
    follower.wait(lambda one: len(one.windows) >= 3)

    for window in follower.windows[:3]:
        np.testing.assert_array_equal(window.data, [[48.0, 0.0]] * 4)
    assert server.connections == 1
    assert {tuple(one) for one in server.requests} == {(3, 10, 3)}, "registers without a hole are one request"
    assert follower.end() < 2.0


@needs_pymodbus
def test_registers_with_a_hole_are_two_requests_of_one_poll(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    server.set("input", 13, 7)
    follower = follow(
        server.url, registers={"voltage": REGISTERS["voltage"], "current": Register(address=13, kind="input")}
    )
    follower.wait(lambda one: len(one.windows) >= 1)

    np.testing.assert_array_equal(follower.windows[0].data, [[48.0, 7.0]] * 4)
    assert {tuple(one) for one in server.requests} == {(3, 10, 2), (4, 13, 1)}


# Complaint 19: a late reply was returned as the answer to the next question.
@needs_pymodbus
def test_c19_a_late_reply_gives_no_value_and_the_next_poll_has_a_new_connection(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    follower = follow(server.url, timeout_s=0.3)
    follower.wait(lambda one: len(one.windows) >= 1)
    # the late reply has the old value, and it arrives while newer values are polled
    server.delay(0.5)
    time.sleep(0.12)
    server.set("holding", 12, 0)
    follower.wait(lambda one: one.stream.counters.connections >= 2)
    polls = follower.stream.counters.polls
    follower.wait(lambda one: one.stream.counters.polls >= polls + 10)

    currents = np.concatenate([window.data[:, 1] for window in follower.windows])
    changed = int(np.argmax(currents == 1.0))
    assert changed > 0
    assert (currents[changed:] == 1.0).all(), "an old value came back"
    assert follower.stream.counters.failed >= 1


@needs_pymodbus
def test_a_poll_that_takes_longer_than_the_period_leaves_out_polls_and_doubles_none(
    server: ModbusServer, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        follower = follow(server.url)
        follower.wait(lambda one: one.stream.counters.polls >= 2)
        before = len(server.requests)
        server.delay(0.18)
        follower.wait(lambda one: one.stream.counters.left_out >= 3)
        began_s, at = time.monotonic(), len(server.requests)
        time.sleep(0.3)
        took_s, polls = time.monotonic() - began_s, len(server.requests) - at

    assert at > before
    assert polls <= took_s / SPEC.period_s + 2, "the polls that were left out must not be made up for"
    assert follower.stream.counters.failed == 0
    assert "polls were left out, because a poll or the judge took longer than the period of 0.05 s" in caplog.text


@needs_pymodbus
@pytest.mark.slow
def test_a_device_that_restarts_is_polled_again_and_its_absence_is_stale_with_the_reason(
    follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    server = ModbusServer()
    with caplog.at_level(logging.INFO, logger="andon"):
        follower = follow(server.url)
        follower.wait(lambda one: len(one.stale) >= 2)
        assert "Connection refused" in follower.stale[-1].detail
        try:
            server.start()
            server.set("holding", 10, *VOLTAGE)
            follower.wait(lambda one: len(one.windows) >= 1)
            server.end()
            stale = len(follower.stale)
            follower.wait(lambda one: len(one.stale) > stale)
            server.start()
            windows = len(follower.windows)
            follower.wait(lambda one: len(one.windows) > windows + 1)
        finally:
            server.end()

    refused = [record for record in caplog.records if "Connection refused" in record.message]
    assert len(refused) <= 2, "an absence is logged once, not once for each attempt"
    assert sum("the device answers" in record.message for record in caplog.records) == 2


@needs_pymodbus
def test_a_device_that_hangs_is_stale_and_the_stream_still_ends_in_time(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    follower = follow(server.url, timeout_s=0.3)
    follower.wait(lambda one: len(one.windows) >= 1)
    server.pause()
    try:
        stale = len(follower.stale)
        follower.wait(lambda one: len(one.stale) > stale)
        assert "no answer within 0.3 s" in follower.stale[-1].detail
        assert follower.end() < 2.0
    finally:
        server.go_on()


@needs_pymodbus
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"unit_id": 9}, "exception 11 (the unit does not answer the gateway)"),
        (
            {"registers": REGISTERS | {"current": Register(address=199, type="int32")}},
            "reading holding 199 to 200: refused with exception 2 (illegal address)",
        ),
    ],
)
def test_a_wrong_unit_or_address_gives_no_sample_and_the_reason(
    server: ModbusServer, follow: Callable[..., Follower], given: dict[str, Any], why: str
) -> None:
    follower = follow(server.url, **given)
    follower.wait(lambda one: len(one.stale) >= 1)

    assert why in follower.stale[0].detail
    assert follower.windows == []
    assert follower.stream.counters.connections == 1, "a refusal does not end the connection"


@needs_pymodbus
def test_a_wrong_type_is_seen_as_missing_values_and_never_as_a_number_that_is_not_finite(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    server.set("holding", 10, 0x7FC0, 0)  # NaN as float32
    follower = follow(server.url)
    follower.wait(lambda one: len(one.items) >= 1)

    assert follower.windows == []


@given(
    period_s=st.floats(0.005, 10),
    start_s=st.floats(0, 2e9),
    took_s=st.lists(st.floats(0, 50), max_size=20),
)
def test_polls_are_due_in_order_and_never_before_the_one_before_has_ended(
    period_s: float, start_s: float, took_s: list[float]
) -> None:
    schedule, now_s = Schedule(period_s, start_s), start_s
    due_before = -1.0
    for took in took_s:
        due_s = schedule.due_s
        assert due_s >= now_s - 1e-6
        assert due_s > due_before
        due_before, now_s = due_s, max(now_s, due_s) + took
        left_out = schedule.polled(now_s)
        assert left_out >= 0
        assert schedule.due_s - due_s == pytest.approx((left_out + 1) * period_s, rel=1e-3, abs=1e-5)


def opened(settings: Settings, spec: Any = SPEC, url: str = "modbus://127.0.0.1:9") -> object:
    return modbus.stream(url, spec, settings, FakeClock(), threading.Event())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"registers": None}, "registers: expected a register for each channel of the model file, got none for voltage, current"),
        ({"registers": {"voltage": REGISTERS["voltage"]}}, "got none for current. Add for example current = { address = 100"),
        (
            {"registers": REGISTERS | {"volts": Register(address=1)}},
            r"expected channels of the model file, got volts \(did you mean 'voltage'\?\)",
        ),
        ({"period_s": 0.1}, r"period_s: expected at most the period of the model file, 0\.05 s, got 0\.1"),
        ({"stale_after_s": 0.05}, r"stale_after_s: expected more than the time between two polls, 0\.05 s, got 0\.05"),
    ],
)  # fmt: skip
def test_settings_with_which_nothing_could_be_judged_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        opened(Settings(**({"registers": REGISTERS} | given)))


def test_a_fast_model_is_refused_with_advice_to_send_blocks() -> None:
    fast = WindowSpec(steps=4, hop=2, period_s=0.001, channels=SPEC.channels)
    with pytest.raises(ConfigError, match=r"expected a period of at least 0\.005 s.*blocks of samples"):
        opened(Settings(registers=REGISTERS), fast)


@pytest.mark.parametrize(("period_s", "text"), [(0.02, "needs 50 polls per second"), (0.05, ""), (1.0, "")])
def test_a_model_file_for_a_high_rate_gives_advice(period_s: float, text: str) -> None:
    advice = modbus.SOURCE.advice(WindowSpec(steps=4, hop=2, period_s=period_s, channels=(Channel(name="pressure"),)))

    assert text in advice
    assert bool(advice) == bool(text)


def test_a_model_file_for_frames_and_a_wrong_address_are_refused() -> None:
    with pytest.raises(ConfigError, match="this model file judges frames"):
        opened(Settings(registers=REGISTERS), FrameSpec(channels=3, size=(16, 16)))
    with pytest.raises(ConfigError, match="expected modbus://HOST"):
        opened(Settings(registers=REGISTERS), url="modbus://host/1")


def test_registers_can_be_given_in_toml_and_as_a_flag() -> None:
    table = {
        "voltage": {"address": 10, "type": "float32"},
        "current": {"address": 12, "type": "int16", "scale": 0.5, "offset": 1},
    }
    in_toml = from_table(Settings, {"registers": table}, at="line[0].source")
    as_flag = from_texts(
        Settings, {"registers": "voltage=holding:10:float32,current=holding:12:int16:0.5:1"}, where="flags"
    )

    assert in_toml.by_channel == as_flag.by_channel == REGISTERS


@pytest.mark.parametrize(
    ("registers", "why"),
    [
        ({"a": {"address": 70_000}}, r"registers: .*`int` <= 65535.*\$\[.*address"),
        ({"a": {"address": 1, "kin": "input"}}, "unknown field `kin`"),
        ({"a": {"address": 1, "type": "double"}}, "Invalid enum value 'double'"),
        ({"a": {}}, "missing required field `address`"),
        ({"a": {"address": 65_535, "type": "int32"}}, "expected two registers up to 65535"),
        ("a=holding", "registers: expected CHANNEL=KIND:ADDRESS"),
    ],
)
def test_wrong_registers_are_refused_with_their_place(registers: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        from_table(Settings, {"registers": registers}, at="line[0].source")
