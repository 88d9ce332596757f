"""A coil as reject signal: written once, read back, and never repeated. The device is a pymodbus server in a child process."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.modbus_server import ModbusServer, needs_pymodbus

from andon.foundation.errors import ConfigError
from andon.monitor.reject import MemoryIntents, RejectRule
from andon.monitor.reject_kind import RejectFailed, reject_from_table
from andon.monitor.reject_signals import RejectSignals
from andon.monitor.rejects.modbus import REJECT, ModbusCoil, Settings
from andon.sources.clock import SystemClock

COIL = 7
RULE = RejectRule(travel_s=6.0, pulse_s=0.1)


@pytest.fixture(scope="module")
def running() -> Iterator[ModbusServer]:
    server = ModbusServer().start()
    yield server
    server.end()


@pytest.fixture
def server(running: ModbusServer) -> ModbusServer:
    running.reset()
    return running


def opened(server: ModbusServer, **given: Any) -> ModbusCoil:
    settings: dict[str, Any] = {"address": server.url, "coil": COIL, "timeout_s": 5.0}
    return ModbusCoil(Settings(**settings | given))


def signals(server: ModbusServer) -> list[int]:
    return [one.values[0] for one in server.written if (one.table, one.address) == ("coil", COIL)]


@needs_pymodbus
def test_each_signal_is_one_write_that_is_read_back_on_one_connection(server: ModbusServer) -> None:
    device = opened(server)
    assert server.connections == 0
    device.on()
    assert server.get("coil", COIL) == [1]
    device.off()
    device.on()
    device.close()

    assert signals(server) == [1, 0, 1]
    assert [one[0] for one in server.requests] == [5, 1, 5, 1, 5, 1]
    assert server.connections == 1


# Complaint 19: outputs that matter are read back.
@needs_pymodbus
def test_c19_a_coil_that_confirms_a_write_and_does_not_keep_it_is_a_failure(server: ModbusServer) -> None:
    server.stick("coil", COIL)
    device = opened(server)
    with pytest.raises(RejectFailed, match="coil 7: expected on after it was switched on, but it reads off"):
        device.on()
    device.close()
    blind = opened(server, read_back=False)
    blind.on()
    blind.close()

    assert [one[0] for one in server.requests] == [5, 1, 5]


# Complaint 19: after a time-out nothing is repeated, and the next signal has a new connection.
@needs_pymodbus
def test_c19_a_signal_without_an_answer_in_time_fails_and_is_not_repeated(server: ModbusServer) -> None:
    device = opened(server, timeout_s=0.2)
    device.off()
    server.delay(0.5)
    began_s = time.monotonic()
    with pytest.raises(RejectFailed, match=r"writing coil 7: no answer within 0\.2 s"):
        device.on()
    took_s = time.monotonic() - began_s
    assert signals(server) == [0, 1]
    device.off()
    device.close()

    assert took_s < 2.0
    assert signals(server) == [0, 1, 0]
    assert server.connections == 2


@needs_pymodbus
def test_a_device_that_hangs_is_given_up_and_works_again_afterwards(server: ModbusServer) -> None:
    device = opened(server, timeout_s=0.2)
    device.off()
    server.pause()
    try:
        with pytest.raises(RejectFailed, match="no answer within"):
            device.on()
        with pytest.raises(RejectFailed, match="no answer within"):
            device.on()
    finally:
        server.go_on()
    device = opened(server)
    device.on()
    device.close()

    assert server.get("coil", COIL) == [1]


@needs_pymodbus
def test_a_connection_that_the_device_closed_meanwhile_costs_no_signal(server: ModbusServer) -> None:
    device = opened(server)
    device.on()
    server.drop()
    time.sleep(0.05)
    device.off()
    device.close()

    assert signals(server) == [1, 0]
    assert server.connections == 2


@needs_pymodbus
def test_a_device_that_restarts_gets_the_next_signal() -> None:
    server = ModbusServer().start()
    try:
        device = opened(server)
        device.on()
        server.end()
        with pytest.raises(RejectFailed, match="Connection refused"):
            device.on()
        server.start()
        device.on()
        device.close()

        assert signals(server) == [1]
    finally:
        server.end()


@needs_pymodbus
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"coil": 200}, "writing coil 200: refused with exception 2 .illegal address."),
        ({"unit_id": 9}, "writing coil 7: refused with exception 11 .the unit does not answer the gateway."),
    ],
)
def test_a_write_that_is_refused_is_a_failure(server: ModbusServer, given: dict[str, Any], why: str) -> None:
    device = opened(server, **given)
    with pytest.raises(RejectFailed, match=why):
        device.on()
    device.close()

    assert signals(server) == []


@needs_pymodbus
def test_signals_of_parts_arrive_in_order_and_each_pulse_ends(server: ModbusServer) -> None:
    rule = RejectRule(travel_s=0.3, tolerance_s=5.0, pulse_s=0.02)
    clock = SystemClock()
    device = REJECT.open(Settings(address=server.url, coil=COIL, timeout_s=0.3))
    given = RejectSignals(rule, device, MemoryIntents(clock, lambda _: None), clock, name="press")
    given.start()
    now_s = clock.mono_s()
    for number in range(5):
        given.schedule(f"part {number}", now_s + 0.1 * number)
    given.close(10.0)

    assert given.status().fired == 5
    assert signals(server)[0::2] == [1] * 5
    assert server.get("coil", COIL) == [0]


def test_the_settings_must_fit_the_rule() -> None:
    settings = Settings(address="modbus://10.0.0.7", coil=COIL)
    REJECT.check(settings, RULE)
    with pytest.raises(ConfigError, match="expected read_back = false with pulse_s = 0"):
        REJECT.check(settings, RejectRule(travel_s=6.0))
    REJECT.check(Settings(address="modbus://10.0.0.7", coil=COIL, read_back=False), RejectRule(travel_s=6.0))
    with pytest.raises(ConfigError, match=r"timeout_s of at most travel_s - actuator_s = 0\.1 s, got 0\.2"):
        REJECT.check(settings, RejectRule(travel_s=0.1, pulse_s=0.1))


def test_a_table_of_a_line_is_checked() -> None:
    table: dict[str, object] = {
        "kind": "modbus",
        "address": "modbus://10.0.0.7",
        "coil": 7,
        "travel_s": 1.0,
        "pulse_s": 0.1,
    }
    assert reject_from_table(table, at="line[0].reject").settings == Settings(address="modbus://10.0.0.7", coil=7)
    for wrong, why in (
        ({"address": "10.0.0.7"}, r"address: 10\.0\.0\.7: expected modbus://HOST"),
        ({"coil": 70_000}, "coil: expected an integer from 0 to 65535, got 70000"),
        ({"coil": "7"}, "coil: expected an integer"),
    ):
        with pytest.raises(ConfigError, match=why):
            reject_from_table(table | wrong, at="line[0].reject")
