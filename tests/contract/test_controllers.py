"""Run the contract checks on all registered controllers. A new controller needs a peer here."""

import atexit
import datetime as dt
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import get_args

import pytest
from tests.modbus_server import SIZE, ModbusServer
from tests.monitor.receivers import free_port
from tests.opcua_server import NAMESPACE, OpcUaServer

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.controller_contract import CHECKS, ControllerSpecimen, Shown
from andon.monitor.controller_kind import ControllerKind
from andon.monitor.node_values import ValueName
from andon.monitor.process_image import ResultCode

CANARY = "canary-51d7-secret"
SECRET = Secret(env="ANDON_TEST_CONTROLLER_SECRET")
MISSING = Secret(env="ANDON_TEST_NO_SUCH_VARIABLE")


@contextmanager
def modbus(kind: ControllerKind) -> Iterator[ControllerSpecimen]:
    pytest.importorskip("pymodbus", reason="the extra [modbus]")
    from andon.monitor.controllers.modbus import BLOCK, Settings

    server = ModbusServer().start()
    places = {"press-3": 0, "press-4": 1}

    def shown(line: str) -> Shown | None:
        words = server.get("holding", 100 + BLOCK * places[line], BLOCK)
        if not any(words):
            return None
        return Shown(bool(words[0] & 1), ResultCode(words[3]), words[6] << 16 | words[7], words[1])

    def away() -> None:
        kept.append(server.get("holding", 0, SIZE))
        server.end()

    def back() -> None:
        server.go_on() if server.runs else server.start()
        if kept:  # a PLC keeps its memory
            server.set("holding", 0, *kept.pop())

    kept: list[list[int]] = []
    try:
        yield ControllerSpecimen(
            kind,
            Settings(address=server.url, register=100, acknowledge=20, timeout_s=0.5),
            shown=shown,
            hang=server.pause,
            away=away,
            back=back,
            timeout_s=0.5,
            refuse=lambda: server.refuse(4),
            acknowledge=lambda line, number: server.set(
                "holding", 20 + 2 * places[line], number >> 16, number & 0xFFFF
            ),
        )
    finally:
        server.end()


@functools.cache
def opcua_server() -> OpcUaServer:
    """Return a server for all checks of this process, because its start takes seconds."""
    values = {
        "State": ("", "String"), "Ready": (False, "Boolean"), "Heartbeat": (0, "UInt16"), "LastResult": (0, "Int16"),
        "PartId": ("", "String"), "Score": (0.0, "Float"), "Threshold": (0.0, "Double"), "Reason": ("", "String"),
        "ResultTime": ("", "DateTime"), "ModelDigest": ("", "String"), "Total": (0, "UInt32"), "OK": (0, "Int64"),
        "Review": (0, "Byte"), "NOK": (0, "Double"), "Invalid": (0, "UInt64"), "Alarms": (0, "SByte"),
        "ResultNumber": (0, "UInt32"),
    }  # fmt: skip
    nodes = {f"{line}.{name}": value for line in ("press-3", "press-4") for name, value in values.items()}
    variables = {name: dt.datetime(1601, 1, 1).isoformat() if kind == "DateTime" else value  # noqa: DTZ001
                 for name, (value, kind) in nodes.items()}  # fmt: skip
    server = OpcUaServer(
        free_port(), variables, types={name: kind for name, (_, kind) in nodes.items()}, password=CANARY
    )
    atexit.register(server.kill)
    return server.start()


@contextmanager
def opcua(kind: ControllerKind) -> Iterator[ControllerSpecimen]:
    pytest.importorskip("asyncua", reason="asyncua is not installed")
    server = opcua_server()
    server.do("reset")

    def shown(line: str) -> Shown | None:
        number, ready, heartbeat = (
            server.do("read", f"{line}.{name}")[0] for name in ("ResultNumber", "Ready", "Heartbeat")
        )
        result, status = server.do("read", f"{line}.LastResult")
        code = {"Bad": ResultCode.INVALID, "BadWaitingForInitialData": ResultCode.NONE}.get(status, result)
        return Shown(ready, ResultCode(code), number, heartbeat)

    def back() -> None:
        server.go_on()
        if not server.runs:
            server.start()

    settings = {
        "address": server.url, "nodes": f"nsu={NAMESPACE};s={{line}}.{{value}}", "user": "andon", "timeout_s": 1.0,
        "values": get_args(ValueName),
    }  # fmt: skip
    try:
        yield ControllerSpecimen(
            kind,
            kind.settings(**settings, password=SECRET),
            shown=shown,
            hang=server.pause,
            away=server.kill,
            back=back,
            timeout_s=2.0,  # of a connection
            refuse=lambda: server.do("refuse", True),
            missing_secret=kind.settings(**settings, password=MISSING),
            secrets=[CANARY],
        )
    finally:
        back()


PEERS: dict[str, Callable[[ControllerKind], AbstractContextManager[ControllerSpecimen]]] = {
    "modbus": modbus,
    "opcua": opcua,
}
"""For each controller, a function that starts a peer on loopback and returns the specimen with it."""


@pytest.fixture(params=names("andon.controllers"))
def specimen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControllerSpecimen]:
    name: str = request.param
    assert name in PEERS, f"the controller {name}: expected a peer for the contract in {__file__}, found none"
    monkeypatch.setenv(str(SECRET.env), CANARY)
    with PEERS[name](load("andon.controllers", name)) as made:
        yield made


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_controller_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
