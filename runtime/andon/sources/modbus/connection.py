"""A connection to a Modbus TCP server, with one request in flight.

Some devices and gateways answer late, and then a client can take the late reply for the answer to its next request. Therefore
every time-out and every answer that does not fit its request closes the connection. A reply that arrives later has no
connection. Before a request is sent, the connection is checked: a server that has closed it meanwhile, or that has sent bytes
which no request asked for, ends it too. No request is ever repeated.

The protocol is that of pymodbus. Modbus has no encryption and no passwords: use it in a separate network only.
"""

import logging
import re
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.printable import printable
from andon.sources.addresses import shown_address
from andon.sources.clock import Clock
from andon.sources.modbus.registers import RegisterKind

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient
    from pymodbus.pdu import ModbusPDU

PORT = 502
BitKind = Literal["coil", "discrete"]

ServerAddress = Annotated[str, Meta(description="address of the Modbus server, for example modbus://10.0.0.7:502")]
UnitId = Annotated[
    int,
    Meta(
        ge=0, le=255, description="unit identifier. Gateways need it, most controllers ignore it", extra={"unit": "id"}
    ),
]

_ADDRESS = re.compile(r"modbus://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\s?#\[\]]+)(?::(?P<port>\d{1,5}))?/?", re.IGNORECASE)
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "the device failed",
    5: "accepted, not done yet",
    6: "the device is busy",
    7: "not possible now",
    8: "parity error of the memory",
    10: "the gateway has no path to the unit",
    11: "the unit does not answer the gateway",
}
_READS: dict[RegisterKind | BitKind, tuple[str, int]] = {
    "coil": ("read_coils", 1),
    "discrete": ("read_discrete_inputs", 2),
    "holding": ("read_holding_registers", 3),
    "input": ("read_input_registers", 4),
}
_WRITE_COIL, _WRITE_REGISTERS = 5, 16
_PROBES = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""An idle connection to a machine that is gone ends after about 11 s."""


class ModbusFailed(Exception):
    """The server has not done what was asked. The text is for a person. It contains no text of the server.

    Args:
        text: the reason.
        refused: True if the server has answered that it refuses the request. The connection then stays open.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class Server(Struct, frozen=True):
    """The address of a Modbus server."""

    host: str
    port: int = PORT

    @property
    def shown(self) -> str:
        """The address for messages."""
        return printable(f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}")


def parse_server(text: str) -> Server:
    """Return the parts of ``modbus://HOST[:PORT]``.

    Raises:
        ConfigError: the text is not such an address.

    >>> parse_server("modbus://10.0.0.7"), parse_server("modbus://[::1]:1502").shown
    (Server(host='10.0.0.7', port=502), '[::1]:1502')
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or PORT) if found is not None else 0
    if found is None or not 0 < port < 65_536:
        raise ConfigError(
            f"{shown_address(text)}: expected modbus://HOST[:PORT], got another address. Write for example modbus://10.0.0.7."
        )
    return Server(found["host"].strip("[]"), port)


def require_package(what: str) -> None:
    """Import pymodbus, so that a missing package is found at the start.

    Raises:
        MissingExtra: pymodbus is not installed.
    """
    _pymodbus(what)


def _pymodbus(what: str) -> "type[ModbusTcpClient]":
    with needs("modbus", what):
        from pymodbus.client import ModbusTcpClient
    log = logging.getLogger("pymodbus.logging")
    if log.level == logging.NOTSET:  # a host program may have chosen a level
        log.setLevel(logging.CRITICAL)  # each failure is an exception here, which its caller reports once
    return ModbusTcpClient


class ModbusConnection:
    """A connection, used by one thread. It is opened by `connect` only, and never by a request.

    Args:
        server: address of the server.
        unit_id: unit identifier of all requests.
        timeout_s: longest time for connecting, and for all requests from one `begin` to the next.
        clock: for the time-out.
    """

    def __init__(self, server: Server, *, unit_id: int, timeout_s: float, clock: Clock) -> None:
        self._server = server
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        self._clock = clock
        self._until_s = 0.0
        self._client: ModbusTcpClient | None = None
        self.begin()

    def begin(self) -> None:
        """Give the calls that follow the whole time-out together."""
        self._until_s = self._clock.mono_s() + self._timeout_s

    def connect(self) -> None:
        """Open a new connection. An open one is closed first.

        Raises:
            ModbusFailed: the server cannot be reached.
        """
        self.close()
        client_type = _pymodbus("a connection to a Modbus server")
        try:
            # not by the client: it would log the reason of a failure and not return it
            opened = socket.create_connection((self._server.host, self._server.port), self._left_s())
        except OSError as error:
            raise self._failed(_why_unreachable(error)) from None
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(opened)
        client = client_type(
            self._server.host, port=self._server.port, timeout=self._timeout_s, retries=0, trace_packet=self._packet
        )
        client.socket = opened
        self._client = client

    @property
    def is_open(self) -> bool:
        """True until `close`, or until the first failure that is not a refusal."""
        return self._client is not None

    @property
    def usable(self) -> bool:
        """True if the connection is open, the server has not closed it, and no bytes wait that no request asked for."""
        if self._client is None or self._client.socket is None:
            return False
        opened = self._client.socket
        opened.setblocking(False)
        try:
            opened.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # closed by the server, or a reply without a request

    def close(self) -> None:
        """Close the connection. A later reply is lost with it."""
        client, self._client = self._client, None
        if client is not None:
            client.close()  # type: ignore[no-untyped-call]

    def read_registers(self, kind: RegisterKind, address: int, count: int) -> list[int]:
        """Return the content of registers.

        Raises:
            ModbusFailed: there is no answer, another answer, or a refusal.
        """
        answer = self._read(kind, address, count)
        if len(answer.registers) != count:
            raise self._wrong(f"{len(answer.registers)} registers instead of {count}")
        return list(answer.registers)

    def read_bit(self, kind: BitKind, address: int) -> bool:
        """Return the state of a coil or of a discrete input.

        Raises:
            ModbusFailed: see `read_registers`.
        """
        answer = self._read(kind, address, 1)
        if not 1 <= len(answer.bits) <= 8:  # a byte
            raise self._wrong(f"{len(answer.bits)} bits instead of 1")
        return bool(answer.bits[0])

    def write_registers(self, address: int, words: Sequence[int]) -> None:
        """Write neighbouring holding registers in one request.

        Raises:
            ModbusFailed: see `read_registers`. If it is not `refused`, the registers may have been written.
        """
        answer = self._ask(
            f"writing holding {_range(address, len(words))}",
            lambda client: client.write_registers(address, list(words), device_id=self._unit_id),
            _WRITE_REGISTERS,
        )
        if (answer.address, answer.count) != (address, len(words)):
            raise self._wrong("the confirmation of other registers")

    def write_coil(self, address: int, *, on: bool) -> None:
        """Switch a coil.

        Raises:
            ModbusFailed: see `read_registers`. If it is not `refused`, the coil may have been switched.
        """
        answer = self._ask(
            f"writing coil {address}",
            lambda client: client.write_coil(address, on, device_id=self._unit_id),
            _WRITE_COIL,
        )
        if (answer.address, bool(answer.bits[0])) != (address, on):
            raise self._wrong("the confirmation of another coil or state")

    def _read(self, kind: RegisterKind | BitKind, address: int, count: int) -> "ModbusPDU":
        method, function = _READS[kind]
        return self._ask(
            f"reading {kind} {_range(address, count)}",
            lambda client: getattr(client, method)(address, count=count, device_id=self._unit_id),
            function,
        )

    def _ask(self, what: str, ask: "Callable[[ModbusTcpClient], ModbusPDU]", function: int) -> "ModbusPDU":
        """Send a request and return its answer. Close the connection unless there is a proper answer, also on an interrupt."""
        from pymodbus.exceptions import ModbusException

        client = self._client
        if client is None:
            raise self._failed("there is no connection")
        answered = False
        try:
            left_s = self._left_s()
            if not self.usable:
                raise self._failed("the server has closed the connection, or has sent an answer without a request")
            client.comm_params.timeout_connect = left_s
            try:
                answer = ask(client)
            except (ModbusException, OSError, ValueError, LookupError, struct.error) as error:
                # not the error as a cause: its text may contain bytes of the server
                raise self._failed(self._why(error, what)) from None
            code = int(answer.exception_code)
            if answer.isError() and answer.function_code & 0x7F == function:
                answered = True
                meaning = _EXCEPTIONS.get(code, "unknown to Modbus")
                raise self._failed(f"{what}: refused with exception {code} ({meaning})", refused=True)
            if answer.function_code != function:
                raise self._wrong(f"an answer to function {answer.function_code & 0x7F} instead of {function}")
            answered = True
            return answer
        finally:
            if not answered:
                self.close()

    def _packet(self, sending: bool, data: bytes) -> bytes:
        """Check an answer, or the begin of it, whenever the client has received bytes.

        A server that sends single bytes gets no more time. pymodbus 3.14 and older would wait for ever.
        """
        if not sending:
            if any(data[2:4]):
                raise self._failed("expected the answer to the request, got one of another protocol")
            left_s = self._left_s()
            if self._client is not None:
                self._client.comm_params.timeout_connect = left_s
        return data

    def _left_s(self) -> float:
        left_s = self._until_s - self._clock.mono_s()
        if left_s <= 0:
            raise self._failed(self._late())
        return left_s

    def _why(self, error: Exception, what: str) -> str:
        if self._clock.mono_s() >= self._until_s or isinstance(error, TimeoutError):
            return f"{what}: {self._late()}"
        if isinstance(error, OSError) and error.strerror:
            return f"{what}: {error.strerror}"
        if self._client is None or self._client.socket is None:
            return f"{what}: the server has closed the connection"
        return f"{what}: the answer is not an answer to the request, or cannot be read"

    def _late(self) -> str:
        return f"no answer within {self._timeout_s:g} s"

    def _wrong(self, got: str) -> ModbusFailed:
        self.close()
        return self._failed(f"expected the answer to the request, got {got}")

    def _failed(self, text: str, *, refused: bool = False) -> ModbusFailed:
        return ModbusFailed(f"the Modbus server {self._server.shown}: {text}", refused=refused)


def _keep_alive(opened: socket.socket) -> None:
    """Let the system probe an idle connection, so that `usable` notices one that was lost without a word.

    A reject signal after a quiet hour would otherwise be written into such a connection, and fail.
    """
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # Linux; other systems have other names
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _range(address: int, count: int) -> str:
    return f"{address}" if count == 1 else f"{address} to {address + count - 1}"


def _why_unreachable(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, socket.gaierror):
        return f"the name of the host cannot be looked up: {error.strerror}"
    return error.strerror or type(error).__name__
