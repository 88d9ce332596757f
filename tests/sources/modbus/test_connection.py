"""A connection to a real Modbus server: a late, wrong or foreign answer never becomes a value."""

import contextlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.modbus_server import UNIT, ModbusServer, needs_pymodbus
from tests.monitor.receivers import full_server, until

from andon.foundation.errors import ConfigError
from andon.sources.clock import SystemClock
from andon.sources.modbus.connection import ModbusConnection, ModbusFailed, Server, parse_server, require_package

pytestmark = needs_pymodbus


@pytest.fixture(scope="module")
def running() -> Iterator[ModbusServer]:
    server = ModbusServer().start()
    yield server
    server.end()


@pytest.fixture
def server(running: ModbusServer) -> ModbusServer:
    running.reset()
    return running


def connected(server: ModbusServer, *, unit_id: int = UNIT, timeout_s: float = 5.0) -> ModbusConnection:
    require_package("this test")  # the first import takes longer than some time-outs
    connection = ModbusConnection(parse_server(server.url), unit_id=unit_id, timeout_s=timeout_s, clock=SystemClock())
    connection.connect()
    return connection


def test_registers_and_bits_are_read_and_written(server: ModbusServer) -> None:
    server.set("holding", 10, 1, 2, 65_535)
    server.set("input", 10, 7)
    server.set("discrete", 9, 1)
    connection = connected(server)

    assert connection.read_registers("holding", 10, 3) == [1, 2, 65_535]
    assert connection.read_registers("input", 10, 1) == [7]
    assert (connection.read_bit("discrete", 9), connection.read_bit("discrete", 10)) == (True, False)
    connection.write_registers(20, [5, 6])
    connection.write_coil(3, on=True)
    assert connection.read_bit("coil", 3)
    connection.write_coil(3, on=False)
    assert [(one.table, one.address, one.values) for one in server.written] == [
        ("holding", 20, [5, 6]),
        ("coil", 3, [1]),
        ("coil", 3, [0]),
    ]
    connection.close()


# Complaint 19: a late reply was returned as the answer to the next question.
def test_c19_a_late_reply_is_never_the_answer_to_the_next_request(server: ModbusServer) -> None:
    server.set("holding", 10, 111)
    server.set("holding", 20, 222)
    connection = connected(server, timeout_s=0.2)
    for _ in range(3):
        server.delay(0.35)
        connection.begin()
        with pytest.raises(ModbusFailed, match=r"reading holding 10: no answer within 0\.2 s"):
            connection.read_registers("holding", 10, 1)
        assert not connection.is_open
        connection.begin()
        connection.connect()
        deadline_s = time.monotonic() + 0.25  # the late reply arrives meanwhile
        while time.monotonic() < deadline_s:
            connection.begin()
            assert connection.read_registers("holding", 20, 1) == [222]
    connection.close()


# Complaint 19, on the connection itself: a client that keeps it open gets the late reply.
def test_c19_without_a_new_connection_the_late_reply_would_be_taken_for_the_answer(server: ModbusServer) -> None:
    server.set("holding", 10, 111)
    server.set("holding", 20, 222)

    def ask(number: int, address: int) -> bytes:
        return bytes([0, number, 0, 0, 0, 6, UNIT, 3, 0, address, 0, 1])

    with socket.create_connection(("127.0.0.1", server.port), 5.0) as raw:
        server.delay(0.2)
        raw.sendall(ask(1, 10))
        time.sleep(0.05)  # the client gives up, and asks something else on the same connection
        raw.sendall(ask(2, 20))
        first = raw.recv(11)
        late = first if first[-1] == 111 else raw.recv(11)

    assert late[-1] == 111
    assert late[:2] == b"\0\2"  # with the number of the second request, so that the number proves nothing


# Complaint 19: an answer that waits before a request is sent belongs to no request.
def test_c19_bytes_that_no_request_asked_for_end_the_connection_before_anything_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = ModbusConnection(
            Server("127.0.0.1", listening.getsockname()[1]), unit_id=1, timeout_s=5.0, clock=SystemClock()
        )
        connection.connect()
        peer, _ = listening.accept()
        with peer:
            assert connection.usable
            peer.sendall(bytes([0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7]))
            until(lambda: not connection.usable)
            with pytest.raises(ModbusFailed, match="an answer without a request"):
                connection.read_registers("holding", 0, 1)
            assert not connection.is_open
            with contextlib.suppress(ConnectionResetError):  # the bytes were not read
                assert peer.recv(100) == b"", "a request was sent"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("0000 0000 0005 01 03 02 0007", id="too few registers"),
        pytest.param("0000 0000 0009 01 03 06 0007 0008 0009", id="too many registers"),
        pytest.param("0000 0000 0007 01 04 04 0007 0008", id="another function"),
        pytest.param("0000 0000 0003 01 84 02", id="a refusal of another function"),
        pytest.param("0000 0000 0007 01 03 99 0007 0008", id="a wrong length"),
        pytest.param("0000 0000 0002 01 7f", id="an unknown function"),
        pytest.param("0000 0000 0004 01 01 01 01", id="bits"),
        pytest.param("0000 1234 0007 01 03 04 0007 0008", id="another protocol"),
    ],
)
def test_an_answer_that_does_not_fit_ends_the_connection(server: ModbusServer, reply: str) -> None:
    connection = connected(server)
    server.spoil(bytes.fromhex(reply))

    with pytest.raises(ModbusFailed, match=r"answer") as failure:
        connection.read_registers("holding", 10, 2)
    assert not connection.is_open
    assert not failure.value.refused


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("0000 0000 0007 02 03 04 0007 0008", id="another unit"),
        pytest.param("0000 0000 0007 01 03 04 0007", id="cut short"),
    ],
)
def test_an_answer_of_another_unit_or_half_an_answer_is_no_answer(server: ModbusServer, reply: str) -> None:
    connection = connected(server, timeout_s=0.1)
    server.spoil(bytes.fromhex(reply))
    connection.begin()

    with pytest.raises(ModbusFailed, match=r"no answer within 0\.1 s"):
        connection.read_registers("holding", 10, 2)
    assert not connection.is_open


def test_a_confirmation_of_another_write_is_not_a_confirmation(server: ModbusServer) -> None:
    wrong: list[tuple[str, Callable[[ModbusConnection], None]]] = [
        ("0000 0000 0006 01 05 0003 0000", lambda one: one.write_coil(3, on=True)),
        ("0000 0000 0006 01 05 0004 ff00", lambda one: one.write_coil(3, on=True)),
        ("0000 0000 0006 01 10 0003 0001", lambda one: one.write_registers(3, [1, 2])),
    ]
    for reply, write in wrong:
        connection = connected(server)
        server.spoil(bytes.fromhex(reply))
        with pytest.raises(ModbusFailed, match=r"the confirmation of (another|other)"):
            write(connection)
        assert not connection.is_open


REFUSED: list[tuple[Callable[[ModbusConnection], object], str]] = [
    (lambda one: one.read_registers("holding", 199, 2), "reading holding 199 to 200: refused with exception 2 .illegal address."),
    (lambda one: one.write_registers(199, [1, 2]), "writing holding 199 to 200: refused with exception 2"),
    (lambda one: one.write_coil(200, on=True), "writing coil 200: refused with exception 2"),
    (lambda one: one.read_bit("coil", 200), "reading coil 200: refused with exception 2"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "why"), REFUSED)
def test_a_refusal_is_reported_and_the_connection_stays_open(
    server: ModbusServer, ask: Callable[[ModbusConnection], object], why: str
) -> None:
    connection = connected(server)
    with pytest.raises(ModbusFailed, match=why) as failure:
        ask(connection)

    assert failure.value.refused
    assert connection.is_open
    assert connection.read_registers("holding", 0, 1) == [0]
    connection.close()


@pytest.mark.parametrize(
    ("code", "meaning"), [(1, "illegal function"), (4, "the device failed"), (6, "the device is busy")]
)
def test_each_exception_code_has_a_meaning(server: ModbusServer, code: int, meaning: str) -> None:
    connection = connected(server)
    server.refuse(code)
    with pytest.raises(ModbusFailed, match=rf"refused with exception {code} \({meaning}\)"):
        connection.read_registers("holding", 0, 1)
    connection.close()


def test_a_wrong_unit_is_reported_as_what_the_gateway_says(server: ModbusServer) -> None:
    connection = connected(server, unit_id=9)
    with pytest.raises(ModbusFailed, match=r"exception 11 \(the unit does not answer the gateway\)"):
        connection.read_registers("holding", 0, 1)
    connection.close()


def test_a_server_that_hangs_costs_the_time_out_once_for_all_requests_together(server: ModbusServer) -> None:
    connection = connected(server, timeout_s=0.3)
    server.pause()
    try:
        began_s = time.monotonic()
        connection.begin()
        with pytest.raises(ModbusFailed, match=r"no answer within 0\.3 s"):
            connection.read_registers("holding", 0, 1)
        with pytest.raises(ModbusFailed, match=r"no answer within 0\.3 s"):
            connection.connect()
        took_s = time.monotonic() - began_s
    finally:
        server.go_on()

    assert 0.25 <= took_s < 2.0


def test_a_server_that_sends_single_bytes_is_given_up() -> None:
    over = threading.Event()

    def trickle(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            for byte in bytes([0, 1, 0, 0, 0, 200, 1, 3, 197]) + bytes(200):
                if over.wait(0.05):
                    return
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        connection = ModbusConnection(
            Server("127.0.0.1", listening.getsockname()[1]), unit_id=1, timeout_s=0.3, clock=SystemClock()
        )
        connection.connect()
        connection.begin()
        began_s = time.monotonic()
        with pytest.raises(ModbusFailed, match=r"no answer within 0\.3 s"):
            connection.read_registers("holding", 0, 98)
        took_s = time.monotonic() - began_s
        over.set()
        thread.join()

    assert took_s < 2.0
    assert not connection.is_open


def test_a_connection_that_the_server_has_closed_is_not_usable(server: ModbusServer) -> None:
    connection = connected(server)
    connection.read_bit("coil", 1)  # the server has accepted the connection
    assert connection.usable
    server.drop()
    until(lambda: not connection.usable)

    assert not connection.usable
    with pytest.raises(ModbusFailed, match="has closed the connection"):
        connection.write_coil(1, on=True)
    assert server.written == []


def test_a_request_without_a_connection_opens_none(server: ModbusServer) -> None:
    connection = connected(server)
    connection.read_bit("coil", 1)  # the server has accepted the connection
    connection.close()
    connection.close()

    with pytest.raises(ModbusFailed, match="there is no connection"):
        connection.read_registers("holding", 0, 1)
    assert server.connections == 1


def test_a_server_that_is_away_is_named_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    away = ModbusConnection(Server("127.0.0.1", port), unit_id=1, timeout_s=5.0, clock=SystemClock())
    with pytest.raises(ModbusFailed, match=rf"^the Modbus server 127\.0\.0\.1:{port}: Connection refused$"):
        away.connect()
    with full_server() as port:
        silent = ModbusConnection(Server("127.0.0.1", port), unit_id=1, timeout_s=0.1, clock=SystemClock())
        with pytest.raises(ModbusFailed, match="no connection in time"):
            silent.connect()


def test_the_library_logs_nothing_because_each_failure_is_an_exception(
    server: ModbusServer, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connected(server, timeout_s=0.05)
    server.delay(0.1)
    connection.begin()
    with caplog.at_level(logging.DEBUG), pytest.raises(ModbusFailed):
        connection.read_registers("holding", 0, 1)

    assert caplog.records == []


@pytest.mark.slow
def test_ten_thousand_requests_are_answered_in_order(server: ModbusServer) -> None:
    connection = connected(server)
    for number in range(10_000):
        connection.begin()
        connection.write_registers(10, [number >> 16, number & 0xFFFF])
        assert connection.read_registers("holding", 10, 2) == [number >> 16, number & 0xFFFF]
    connection.close()

    assert [one.values[1] for one in server.written] == [number & 0xFFFF for number in range(10_000)]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("modbus://10.0.0.7", Server("10.0.0.7", 502)),
        ("MODBUS://plc.line-3:1502/", Server("plc.line-3", 1502)),
        ("modbus://[fe80::1]:503", Server("fe80::1", 503)),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, parsed: Server) -> None:
    assert parse_server(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.7",
        "modbus://",
        "modbus://host:0",
        "modbus://host:65536",
        "modbus://host/unit/1",
        "modbus://me:word@host",
    ],
)
def test_another_address_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected modbus://HOST\[:PORT\]") as refusal:
        parse_server(text)
    assert "word" not in str(refusal.value)


def test_the_modules_can_be_imported_without_the_library() -> None:
    code = (
        "import sys; sys.modules['pymodbus'] = None\n"
        "import andon.sources.kinds.modbus, andon.monitor.rejects.modbus, andon.monitor.triggers.modbus\n"
        "import andon.monitor.controllers.modbus as controller\n"
        "from andon.monitor.rejects.modbus import REJECT, Settings\n"
        "from andon.foundation.errors import MissingExtra\n"
        "try:\n"
        "    REJECT.open(Settings(address='modbus://10.0.0.7', coil=1))\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "the reject signal modbus needs pymodbus" in done.stdout
    assert "[modbus]" in done.stdout
