"""A real Modbus TCP server (pymodbus) on loopback, in a child process that a test can pause and end.

The protocol is that of pymodbus. The memory is our own: it can delay replies, refuse requests, and list what was written. The
test controls it with JSON lines: ``python -m tests.modbus_server PORT`` reads them from standard input, and answers each on
standard output.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

needs_pymodbus = pytest.mark.skipif(importlib.util.find_spec("pymodbus") is None, reason="pymodbus is not installed")

SIZE = 200
"""Addresses of each table. Those behind them are illegal."""
UNIT = 1
TABLES = {1: "coil", 5: "coil", 15: "coil", 2: "discrete", 3: "holding", 6: "holding", 16: "holding", 4: "input"}


class Written(NamedTuple):
    """One write that the server got."""

    table: str
    address: int
    values: list[int]
    at_s: float
    """Monotonic time of this machine, which is the same in both processes."""


class ModbusServer:
    """The server as a test sees it."""

    def __init__(self, port: int | None = None) -> None:
        from tests.monitor.receivers import free_port  # not in the child process, which needs no test packages

        self.port = port or free_port()
        self._known = port is not None
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"modbus://127.0.0.1:{self.port}"

    def start(self) -> "ModbusServer":
        from tests.monitor.receivers import free_port

        for _ in range(10):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.modbus_server", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            assert self._process.stdout is not None
            if answer := self._process.stdout.readline():
                assert json.loads(answer) == "ready"
                self._known = True
                return self
            self._process.wait()  # another process has taken the port in the meantime
            if self._known:
                time.sleep(0.2)  # clients know this port
            else:
                self.port = free_port()
        raise AssertionError(f"the Modbus server did not start at port {self.port}")

    def reset(self) -> None:
        """Close all connections, forget all values and wishes, and begin all lists again."""
        self._ask("reset")

    def set(self, table: str, address: int, *values: float) -> None:
        self._ask("set", table, address, values)

    def get(self, table: str, address: int, count: int = 1) -> list[int]:
        return list(self._ask("get", table, address, count))

    def delay(self, seconds: float, replies: int = 1) -> None:
        """Delay the next replies. Their content is that of the moment of the request."""
        self._ask("delay", seconds, replies)

    def refuse(self, code: int) -> None:
        """Answer all requests with an exception code. 0 ends that."""
        self._ask("refuse", code)

    def stick(self, table: str, address: int) -> None:
        """Confirm writes to an address, and do not keep them."""
        self._ask("stick", table, address)

    def spoil(self, reply: bytes) -> None:
        """Send these bytes instead of the next reply. The first two bytes become the number of the transaction."""
        self._ask("spoil", reply.hex())

    def drop(self) -> None:
        """Close all connections."""
        self._ask("drop")

    @property
    def written(self) -> list[Written]:
        return [Written(*one) for one in self._ask("written")]

    @property
    def requests(self) -> list[list[Any]]:
        """Function, address and count of each request."""
        return list(self._ask("requests"))

    @property
    def connections(self) -> int:
        """Number of connections that were opened."""
        return int(self._ask("connections"))

    @property
    def cpu_s(self) -> float:
        return float(self._ask("cpu"))

    def pause(self) -> None:
        from tests.stopped_process import stop

        assert self._process is not None
        stop(self._process.pid)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def runs(self) -> bool:
        """True from `start` to `end`, also while it is paused."""
        return self._process is not None

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()

    def _ask(self, *command: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Memory:
    """The tables of one unit, in the child process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.tables: dict[str, list[int]] = {name: [0] * SIZE for name in set(TABLES.values())}
        self.written: list[Written] = []
        self.requests: list[tuple[int, int, int]] = []
        self.stuck: set[tuple[str, int]] = set()
        self.delay_s, self.delayed = 0.0, 0
        self.refusal = 0

    def device_ids(self) -> list[int]:
        return [UNIT]

    async def async_getValues(self, unit: int, function: int, address: int, count: int = 1) -> Any:  # noqa: N802
        from pymodbus.constants import ExcCodes

        self._require(unit)
        if function in (1, 2, 3, 4):  # else pymodbus reads what it has written
            self.requests.append((function, address, count))
            if self.refusal:
                return ExcCodes(self.refusal)
        if address + count > SIZE:
            return ExcCodes.ILLEGAL_ADDRESS
        values = self.tables[TABLES[function]][address : address + count]
        if function == 5:  # the answer to a write: as PLCs do, it repeats what was asked for
            values = self.written[-1].values
        else:
            await self._wait()
        return [bool(value) for value in values] if TABLES[function] in ("coil", "discrete") else values

    async def async_setValues(self, unit: int, function: int, address: int, values: Sequence[int]) -> Any:  # noqa: N802
        from pymodbus.constants import ExcCodes

        self._require(unit)
        table = TABLES[function]
        self.requests.append((function, address, len(values)))
        if self.refusal:
            return ExcCodes(self.refusal)
        if address + len(values) > SIZE:
            return ExcCodes.ILLEGAL_ADDRESS
        self.written.append(Written(table, address, [int(value) for value in values], time.monotonic()))
        for place, value in enumerate(values, address):
            if (table, place) not in self.stuck:
                self.tables[table][place] = int(value)
        await self._wait()
        return None

    def _require(self, unit: int) -> None:
        from pymodbus.exceptions import NoSuchIdException

        if unit != UNIT:
            raise NoSuchIdException(f"unit {unit}")

    async def _wait(self) -> None:
        if self.delayed:
            self.delayed -= 1
            await asyncio.sleep(self.delay_s)


async def serve(port: int) -> None:
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    memory = Memory()
    opened: list[bool] = []
    spoiled: list[bytes] = []

    def packet(sending: bool, data: bytes) -> bytes:
        return data[:2] + spoiled.pop()[2:] if sending and spoiled else data

    server = ModbusTcpServer(
        SimDevice(UNIT, SimData(0, datatype=DataType.REGISTERS)),
        address=("127.0.0.1", port),
        trace_packet=packet,
        trace_connect=opened.append,
    )
    server.context = memory  # type: ignore[assignment]
    await server.serve_forever(background=True)
    loop = asyncio.get_running_loop()

    def delay(seconds: float, replies: int) -> None:
        memory.delay_s, memory.delayed = seconds, replies

    def put(table: str, address: int, values: list[int]) -> None:
        memory.tables[table][address : address + len(values)] = values

    def drop() -> None:
        for connection in list(server.active_connections.values()):
            if connection.transport is not None:
                connection.transport.close()  # pymodbus hears of it as of a lost connection

    def reset() -> None:
        memory.reset()
        drop()
        opened.clear()
        spoiled.clear()

    commands: dict[str, Callable[..., Any]] = {
        "reset": reset,
        "set": put,
        "get": lambda table, address, count: memory.tables[table][address : address + count],
        "delay": delay,
        "refuse": lambda code: setattr(memory, "refusal", code),
        "stick": lambda table, address: memory.stuck.add((table, address)),
        "spoil": lambda reply: spoiled.append(bytes.fromhex(reply)),
        "drop": drop,
        "written": lambda: memory.written,
        "requests": lambda: memory.requests,
        "connections": lambda: opened.count(True),
        "cpu": time.process_time,
    }

    def answer(name: str, *arguments: Any) -> None:
        print(json.dumps(commands[name](*arguments)), flush=True)

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(answer, *json.loads(line))
        os._exit(0)  # the test has ended

    threading.Thread(target=listen, daemon=True).start()
    print(json.dumps("ready"), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1])))
