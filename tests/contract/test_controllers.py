"""Run the contract checks on all registered controllers. A new controller needs a peer here."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.modbus_server import SIZE, ModbusServer

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.controller_contract import CHECKS, ControllerSpecimen, Shown
from andon.monitor.controller_kind import ControllerKind
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


PEERS: dict[str, Callable[[ControllerKind], AbstractContextManager[ControllerSpecimen]]] = {"modbus": modbus}
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
