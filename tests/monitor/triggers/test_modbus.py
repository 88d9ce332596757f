"""Triggers from a counter or a bit: each once and in order. The device is a pymodbus server in a child process."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.modbus_server import ModbusServer, needs_pymodbus

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.trigger_kind import Trigger, TriggerContext
from andon.monitor.triggers.modbus import MOST_ACROSS_0, TRIGGER, Count, Settings, counted
from andon.sources.clock import SystemClock

ADDRESS = 30


@pytest.fixture(scope="module")
def running() -> Iterator[ModbusServer]:
    server = ModbusServer().start()
    yield server
    server.end()


@pytest.fixture
def server(running: ModbusServer) -> ModbusServer:
    running.reset()
    return running


class Follower:
    """Triggers that are followed in a thread of their own."""

    def __init__(self, url: str, **given: Any) -> None:
        self.stop = threading.Event()
        self.got: list[Trigger] = []
        self.heard: list[str] = []
        settings: dict[str, Any] = {"address": url, "register": ADDRESS, "poll_s": 0.005}
        triggers = TRIGGER.open(
            Settings(**settings | given), TriggerContext(line="press", clock=SystemClock(), stop=self.stop)
        )
        self._thread = threading.Thread(target=triggers.follow, args=(self.got.append, self.heard.append))
        self._thread.start()

    @property
    def numbers(self) -> list[int | None]:
        return [trigger.number for trigger in self.got]

    def wait(self, done: Callable[["Follower"], bool], limit_s: float = 20.0) -> None:
        until_s = time.monotonic() + limit_s
        while not done(self):
            assert time.monotonic() < until_s, f"waited too long: {self.got[-3:]}, {self.heard[-3:]}"
            time.sleep(0.002)

    def wait_for(self, *numbers: int | None) -> None:
        self.wait(lambda one: one.numbers == list(numbers))

    def ready(self) -> "Follower":
        self.wait(lambda one: one.heard[-1:] == [""])
        return self

    def end(self) -> float:
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


def settle() -> None:
    """Wait for some polls in which nothing may happen."""
    time.sleep(0.1)


@needs_pymodbus
def test_a_counter_gives_one_trigger_for_each_step_and_none_for_its_first_value(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    server.set("holding", ADDRESS, 41)
    follower = follow(server.url).ready()
    settle()
    assert follower.got == []
    server.set("holding", ADDRESS, 42)
    follower.wait_for(42)
    server.set("holding", ADDRESS, 43)
    follower.wait_for(42, 43)
    settle()

    assert follower.got == [Trigger(number=42), Trigger(number=43)]
    assert follower.end() < 2.0


@needs_pymodbus
def test_a_jump_gives_the_last_number_so_that_the_monitor_counts_the_skipped_ones(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    follower = follow(server.url, signal="input").ready()
    server.set("input", ADDRESS, 1)
    follower.wait_for(1)
    server.set("input", ADDRESS, 5)
    follower.wait_for(1, 5)


@needs_pymodbus
def test_the_numbers_go_on_where_the_register_begins_again_at_0(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    server.set("holding", ADDRESS, 65_534)
    follower = follow(server.url).ready()
    for value in (65_535, 0, 1):
        server.set("holding", ADDRESS, value)
        follower.wait(lambda one, value=value: one.numbers[-1:] == [65_536 * (value < 9) + value])  # type: ignore[misc]

    assert follower.numbers == [65_535, 65_536, 65_537]


@needs_pymodbus
def test_a_32_bit_counter_has_its_word_order(server: ModbusServer, follow: Callable[..., Follower]) -> None:
    server.set("holding", ADDRESS, 0xFFFF, 2)
    follower = follow(server.url, type="uint32", word_order="little").ready()
    server.set("holding", ADDRESS, 0, 3)
    follower.wait_for(3 << 16)


@needs_pymodbus
@pytest.mark.parametrize("last", [500, 40_000])
def test_a_counter_that_was_reset_gives_no_trigger_and_is_logged(
    server: ModbusServer, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture, last: int
) -> None:
    # 40 000 to 0 is a short way forward in 16 bits, and would begin a part that does not exist
    server.set("holding", ADDRESS, last)
    follower = follow(server.url).ready()
    with caplog.at_level(logging.WARNING):
        server.set("holding", ADDRESS, 0)
        settle()
    server.set("holding", ADDRESS, 1)
    follower.wait_for(1)

    assert f"the counter went back from {last} to 0" in caplog.text


@needs_pymodbus
def test_a_bit_gives_a_trigger_for_each_edge(server: ModbusServer, follow: Callable[..., Follower]) -> None:
    server.set("discrete", ADDRESS, 1)
    rising = follow(server.url, signal="discrete").ready()
    falling = follow(server.url, signal="discrete", edge="falling").ready()
    settle()
    assert (len(rising.got), len(falling.got)) == (0, 0)
    for _ in range(2):
        server.set("discrete", ADDRESS, 0)
        settle()
        server.set("discrete", ADDRESS, 1)
        settle()
    rising.wait_for(None, None)
    falling.wait_for(None, None)


# Parts that passed during an interruption are not triggered afterwards. Their numbers count as skipped.
@needs_pymodbus
@pytest.mark.slow
def test_triggers_from_the_time_of_an_interruption_are_not_given(follow: Callable[..., Follower]) -> None:
    server = ModbusServer().start()
    try:
        server.set("holding", ADDRESS, 10)
        follower = follow(server.url).ready()
        server.set("holding", ADDRESS, 11)
        follower.wait_for(11)
        server.end()
        follower.wait(lambda one: "Connection refused" in one.heard[-1])
        server.start()
        follower.wait(lambda one: one.heard[-1] == "")
        server.set("holding", ADDRESS, 15)  # until now it was 0, as after a reset
        settle()
        server.set("holding", ADDRESS, 16)
        follower.wait(lambda one: one.numbers[-1:] == [16])

        assert follower.numbers[0] == 11
        assert 11 not in follower.numbers[1:]
    finally:
        server.end()


# Complaint 19, and the same for a device that only hangs.
@needs_pymodbus
def test_c19_a_device_that_hangs_is_heard_once_and_its_late_replies_trigger_nothing(
    server: ModbusServer, follow: Callable[..., Follower]
) -> None:
    server.set("holding", ADDRESS, 10)
    follower = follow(server.url, timeout_s=0.2).ready()
    server.delay(0.6)
    follower.wait(lambda one: "no answer within 0.2 s" in one.heard[-1])
    server.set("holding", ADDRESS, 13)
    follower.wait(lambda one: one.heard[-1] == "")
    settle()
    assert follower.got == []
    server.set("holding", ADDRESS, 14)
    follower.wait_for(14)  # after 10: the monitor counts three skipped triggers
    server.pause()
    try:
        follower.wait(lambda one: "no answer within 0.2 s" in one.heard[-1])
        assert follower.end() < 2.0
    finally:
        server.go_on()


@needs_pymodbus
def test_a_wrong_unit_or_address_is_heard_once(server: ModbusServer, follow: Callable[..., Follower]) -> None:
    wrong: list[tuple[dict[str, int], str]] = [
        ({"unit_id": 9}, "exception 11"),
        ({"register": 200}, "exception 2 (illegal address)"),
    ]
    for settings, why in wrong:
        follower = follow(server.url, **settings)
        follower.wait(lambda one: len(one.heard) > 0)
        time.sleep(0.4)  # some more attempts
        assert len(follower.heard) == 1
        assert why in follower.heard[0]


@needs_pymodbus
@pytest.mark.slow
def test_ten_thousand_triggers_arrive_in_order(server: ModbusServer, follow: Callable[..., Follower]) -> None:
    follower = follow(server.url, poll_s=0.002).ready()
    for number in range(1, 10_001):
        server.set("holding", ADDRESS, number & 0xFFFF)
    follower.wait(lambda one: one.numbers[-1:] == [10_000], 60.0)

    numbers = [number for number in follower.numbers if number is not None]
    assert numbers == sorted(set(numbers))


@given(
    start=st.integers(0, 65_535),
    steps=st.lists(st.integers(0, MOST_ACROSS_0), max_size=200),
)
def test_the_number_grows_as_the_parts_do_whatever_the_register_shows(start: int, steps: list[int]) -> None:
    parts, count = start, counted(None, start, 65_536)
    for step in steps:
        parts += step
        count = counted(count, parts % 65_536, 65_536)
        assert count == Count(parts % 65_536, parts)


@given(value=st.integers(0, 65_535), back=st.integers(1, 65_535))
def test_a_step_back_is_a_new_start(value: int, back: int) -> None:
    if back <= value and back < 65_536 - MOST_ACROSS_0:
        assert counted(Count(value, value + 65_536), value - back, 65_536) == Count(value - back, value - back)


def test_the_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="address: nowhere: expected modbus://HOST"):
        from_table(Settings, {"address": "nowhere", "register": 1}, at="line[0].trigger")
    with pytest.raises(ConfigError, match="register: expected an integer from 0 to 65535"):
        from_table(Settings, {"address": "modbus://10.0.0.7", "register": -1}, at="line[0].trigger")
    with pytest.raises(ConfigError, match="signal: expected one of coil, discrete, holding, input"):
        from_table(Settings, {"address": "modbus://10.0.0.7", "register": 1, "signal": "bit"}, at="line[0].trigger")
