"""Run the contract checks on all registered reject devices. A new device needs an ejector to watch here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec
import pytest
from tests.modbus_server import ModbusServer
from tests.monitor.rejects.test_http import Relay

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.reject import RejectRule
from andon.monitor.reject_contract import CHECKS, RejectSpecimen, Signal
from andon.monitor.reject_kind import RejectKind

CANARY = "canary-51d7-secret"
SECRET = Secret(env="ANDON_TEST_REJECT_SECRET")
MISSING = Secret(env="ANDON_TEST_NO_SUCH_VARIABLE")


@contextmanager
def http(kind: RejectKind) -> Iterator[RejectSpecimen]:
    pytest.importorskip("urllib3", reason="the extra [monitor]")
    from andon.monitor.rejects.http import Settings

    with Relay() as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.02,))
        thread.start()
        settings = Settings(url=f"{relay.address}/on", off_url=f"{relay.address}/off", token=SECRET, timeout_s=0.2)

        def fail() -> None:
            relay.status, relay.headers = 503, {"X-Reason": CANARY, "Retry-After": "0"}

        def hang() -> None:
            relay.delay_s = 1.5

        try:
            yield RejectSpecimen(
                kind,
                settings,
                RejectRule(travel_s=0.5, pulse_s=0.1),
                given=lambda: ["on" if path == "/on" else "off" for _, path, _, _ in relay.requests],
                fail=fail,
                hang=hang,
                missing_secret=msgspec.structs.replace(settings, token=MISSING),
                secrets=(CANARY,),
            )
        finally:
            relay.shutdown()
            thread.join()


@contextmanager
def modbus(kind: RejectKind) -> Iterator[RejectSpecimen]:
    pytest.importorskip("pymodbus", reason="the extra [modbus]")
    from andon.monitor.rejects.modbus import Settings

    server = ModbusServer().start()
    hung = False

    def given() -> list[Signal]:
        if hung:  # a signal that has arrived meanwhile is seen when the server goes on
            server.go_on()
        return ["on" if one.values[0] else "off" for one in server.written]

    def hang() -> None:
        nonlocal hung
        hung = True
        server.pause()

    try:
        yield RejectSpecimen(
            kind,
            Settings(address=server.url, coil=7, timeout_s=0.2),
            RejectRule(travel_s=0.5, pulse_s=0.1),
            given=given,
            fail=lambda: server.refuse(4),
            hang=hang,
        )
    finally:
        server.end()


EJECTORS: dict[str, Callable[[RejectKind], AbstractContextManager[RejectSpecimen]]] = {"http": http, "modbus": modbus}


@pytest.fixture(params=names("andon.rejects"))
def specimen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RejectSpecimen]:
    name: str = request.param
    assert name in EJECTORS, f"the device {name}: expected an ejector for the contract in {__file__}, found none"
    monkeypatch.setenv(str(SECRET.env), CANARY)
    with EJECTORS[name](load("andon.rejects", name)) as made:
        yield made


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_a_reject_device_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
