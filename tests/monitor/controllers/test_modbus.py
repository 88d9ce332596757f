"""State and results in holding registers: complete, in one request, and read back. The PLC is a pymodbus server."""

import math
import struct
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.modbus_server import ModbusServer, needs_pymodbus
from tests.monitor.receivers import until
from tests.monitor.statuses import FULL

from andon.foundation.errors import ConfigError
from andon.foundation.settings import from_table
from andon.monitor.controller_kind import COMMON_KEYS, ControllerContext, ControllerFailed, ControllerTiming
from andon.monitor.controller_writer import ControllerWriter
from andon.monitor.controllers.modbus import BLOCK, CONTROLLER, STATES, ModbusController, Settings, block
from andon.monitor.process_image import LineResult, ProcessImage, ResultCode
from andon.monitor.status import LineState
from andon.sources.clock import SystemClock
from andon.sources.modbus.registers import decode

ADDRESS = 100
LINES = ("press", "oven")
IMAGE = ProcessImage(line="press", ready=True, heartbeat=65_537, result=ResultCode.REJECT, number=70_000, score=1.5)


@pytest.fixture(scope="module")
def running() -> Iterator[ModbusServer]:
    server = ModbusServer().start()
    yield server
    server.end()


@pytest.fixture
def server(running: ModbusServer) -> ModbusServer:
    running.reset()
    return running


def opened(url: str, lines: tuple[str, ...] = LINES, **given: Any) -> ModbusController:
    settings: dict[str, Any] = {"address": url, "register": ADDRESS, "timeout_s": 5.0}
    controller = CONTROLLER.open(
        Settings(**settings | given), ControllerContext(name="plc", lines=lines, clock=SystemClock())
    )
    assert isinstance(controller, ModbusController)
    return controller


def connected(url: str, lines: tuple[str, ...] = LINES, **given: Any) -> ModbusController:
    controller = opened(url, lines, **given)
    controller.connect()
    return controller


@needs_pymodbus
def test_the_block_of_a_line_is_written_in_one_request_and_read_back(server: ModbusServer) -> None:
    controller = connected(server.url, score=True)
    controller.write(IMAGE)
    controller.close()

    assert server.get("holding", ADDRESS, BLOCK) == [1, 1, 0, 2, 0x3FC0, 0, 1, 70_000 - 65_536]
    assert server.requests == [[16, ADDRESS, BLOCK], [3, ADDRESS, BLOCK]]


@needs_pymodbus
def test_each_line_has_its_own_block_in_the_order_of_the_file(server: ModbusServer) -> None:
    controller = connected(server.url, word_order="little", read_back=False)
    controller.write(ProcessImage(line="oven", state="retrying", alarms=3, result=ResultCode.INVALID, number=5))
    controller.close()

    assert server.get("holding", ADDRESS + BLOCK, BLOCK) == [0x202, 0, 3, 3, 0, 0, 5, 0]
    assert server.get("holding", ADDRESS, BLOCK) == [0] * BLOCK
    assert server.requests == [[16, ADDRESS + BLOCK, BLOCK]]


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (ResultCode.NONE, 0),
        (ResultCode.OK, 1),
        (ResultCode.REJECT, 2),
        (ResultCode.INVALID, 3),
        (ResultCode.REVIEW, 4),
    ],
)
def test_each_result_has_its_word_and_only_ok_is_1(result: ResultCode, word: int) -> None:
    assert block(ProcessImage(line="press", result=result), Settings(address="modbus://plc", register=0))[3] == word
    assert set(STATES) == set(get_args(LineState))


@given(
    number=st.integers(0, 2**40),
    heartbeat=st.integers(0, 2**40),
    alarms=st.integers(0, 2**20),
    score=st.none() | st.floats(),
    with_score=st.booleans(),
)
def test_every_image_fits_into_its_registers(
    number: int, heartbeat: int, alarms: int, score: float | None, with_score: bool
) -> None:
    settings = Settings(address="modbus://10.0.0.7", register=0, score=with_score)
    words = block(ProcessImage(line="a", number=number, heartbeat=heartbeat, alarms=alarms, score=score), settings)

    assert len(words) == BLOCK
    assert all(0 <= word <= 0xFFFF for word in words)
    assert decode(words[6:8], "uint32", "big") == number % 2**32
    assert words[1] == heartbeat % 2**16
    assert bool(words[0] & 2) == (words[2] > 0) == (alarms > 0)
    shown = decode(words[4:6], "float32", "big")
    if not with_score:
        assert words[4:6] == [0, 0]
    elif score is None or math.isnan(score):
        assert math.isnan(shown)
    elif abs(score) < 3e38:
        assert shown == struct.unpack(">f", struct.pack(">f", score))[0]
    else:
        assert abs(shown) >= 3e38


# Complaint 19: outputs that matter are read back.
@needs_pymodbus
def test_c19_a_register_that_does_not_keep_its_value_is_a_failure(server: ModbusServer) -> None:
    server.stick("holding", ADDRESS + 3)
    controller = connected(server.url)
    with pytest.raises(ControllerFailed, match="holding register 103: expected 2 after it was written, but it reads 0"):
        controller.write(IMAGE)
    controller.close()
    blind = connected(server.url, read_back=False)
    blind.write(IMAGE)
    blind.close()


# Complaint 19: a late reply was returned as the answer to the next question.
@needs_pymodbus
def test_c19_a_late_confirmation_never_confirms_the_next_write(server: ModbusServer) -> None:
    controller = connected(server.url, timeout_s=0.2)
    server.delay(0.4)
    with pytest.raises(ControllerFailed, match=r"writing holding 100 to 107: no answer within 0\.2 s"):
        controller.write(IMAGE)
    with pytest.raises(ControllerFailed, match="there is no connection"):
        controller.write(IMAGE)
    controller.close()
    controller.connect()
    controller.write(ProcessImage(line="press", number=70_001, result=ResultCode.OK))
    controller.close()

    assert [(one.values[3], one.values[7]) for one in server.written] == [(2, 4464), (1, 4465)]
    assert server.connections == 2


@needs_pymodbus
def test_a_plc_that_restarts_or_hangs_is_a_failure_and_works_after_a_new_connection() -> None:
    server = ModbusServer().start()
    try:
        controller = connected(server.url, timeout_s=0.3)
        controller.write(IMAGE)
        server.pause()
        with pytest.raises(ControllerFailed, match="no answer within"):
            controller.write(IMAGE)
        server.go_on()
        controller.close()
        server.end()
        with pytest.raises(ControllerFailed, match="Connection refused"):
            controller.connect()
        controller.close()
        server.start()
        controller.connect()
        controller.write(IMAGE)
        controller.close()

        assert server.get("holding", ADDRESS + 7) == [70_000 - 65_536]
    finally:
        server.end()


@needs_pymodbus
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"register": 195}, "writing holding 195 to 202: refused with exception 2 .illegal address."),
        ({"unit_id": 9}, "refused with exception 11 .the unit does not answer the gateway."),
    ],
)
def test_a_refused_write_is_a_failure(server: ModbusServer, given: dict[str, Any], why: str) -> None:
    controller = connected(server.url, **given)
    with pytest.raises(ControllerFailed, match=why):
        controller.write(IMAGE)
    controller.close()


@needs_pymodbus
def test_the_plc_acknowledges_the_number_that_it_has_taken(server: ModbusServer) -> None:
    controller = connected(server.url, acknowledge=20)
    assert controller.acknowledged("press") == 0
    server.set("holding", 20, 1, 4464, 0, 3)
    assert controller.acknowledged("press") == 70_000
    assert controller.acknowledged("oven") == 3
    controller.close()
    with pytest.raises(ControllerFailed, match="there is no connection"):
        controller.acknowledged("press")
    assert opened(server.url).acknowledged("press") is None


@needs_pymodbus
def test_the_writer_of_the_monitor_raises_the_alarm_while_the_plc_hangs_and_shows_the_next_result_afterwards(
    server: ModbusServer,
) -> None:
    clock, controller = SystemClock(), opened(server.url, ("bottles",), timeout_s=0.2)
    writer = ControllerWriter(
        "plc",
        "modbus",
        controller,
        lines=("bottles",),
        timing=ControllerTiming(every_s=0.05, max_age_s=0.5),
        clock=clock,
        status=lambda: FULL,
    )

    def result(code: ResultCode) -> LineResult:
        return LineResult(result=code, part="a", judged_wall_s=0.0, at_s=clock.mono_s())

    writer.start()
    try:
        writer.put("bottles", result(ResultCode.OK))
        until(lambda: server.get("holding", ADDRESS + 3, 5) == [1, 0, 0, 0, 1])
        before = server.get("holding", ADDRESS + 1)
        until(lambda: server.get("holding", ADDRESS + 1) != before)
        server.pause()
        until(lambda: "no answer within 0.2 s" in writer.status().failing)
        server.go_on()
        until(lambda: writer.status().connected)
        writer.put("bottles", result(ResultCode.REVIEW))
        until(lambda: server.get("holding", ADDRESS + 3, 5) == [4, 0, 0, 0, 2])
    finally:
        server.go_on()
        assert writer.close()


@needs_pymodbus
@pytest.mark.slow
def test_ten_thousand_results_arrive_in_order_and_each_with_its_number(server: ModbusServer) -> None:
    controller = connected(server.url)
    codes = [ResultCode.OK, ResultCode.REJECT, ResultCode.INVALID, ResultCode.REVIEW]
    for number in range(1, 10_001):
        controller.write(ProcessImage(line="press", number=number, result=codes[number % 4], heartbeat=number))
    controller.close()

    got = [(one.values[7], one.values[3]) for one in server.written]
    assert got == [(number, int(codes[number % 4])) for number in range(1, 10_001)]


def test_blocks_that_do_not_fit_are_refused_before_anything_is_written() -> None:
    url = "modbus://10.0.0.7"
    with pytest.raises(ConfigError, match="register: expected 16 registers up to 65535 for 2 lines, got 65521"):
        opened(url, register=65_521)
    with pytest.raises(ConfigError, match="acknowledge: expected 4 registers up to 65535 for 2 lines, got 65534"):
        opened(url, acknowledge=65_534)
    with pytest.raises(ConfigError, match=r"acknowledge: expected registers outside of 100 to 115.*got 115 to 118"):
        opened(url, acknowledge=115)
    with pytest.raises(ConfigError, match="got 97 to 100"):
        opened(url, acknowledge=97)
    opened(url, acknowledge=96)
    opened(url, acknowledge=116)


def test_the_settings_are_checked_and_take_no_key_of_all_controllers() -> None:
    with pytest.raises(ConfigError, match="address: plc: expected modbus://HOST"):
        from_table(Settings, {"address": "plc", "register": 1}, at="controller[0]")
    assert not set(Settings.__struct_fields__) & set(COMMON_KEYS)
