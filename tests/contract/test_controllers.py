"""Run the contract checks on all registered controllers. A new controller needs a peer here."""

import atexit
import contextlib
import datetime as dt
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import get_args

import pytest
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


@contextlib.contextmanager
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


PEERS: dict[str, Callable[[ControllerKind], AbstractContextManager[ControllerSpecimen]]] = {"opcua": opcua}
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
