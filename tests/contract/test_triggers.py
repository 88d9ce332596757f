"""Run the contract checks on all registered triggers. A new kind of trigger needs a sender here."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.modbus_server import ModbusServer, needs_pymodbus
from tests.monitor.receivers import CANARY, Broker, needs_mosquitto

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.trigger_contract import CHECKS, TriggerSpecimen
from andon.monitor.trigger_kind import TriggerKind

SECRET = Secret(env="ANDON_TEST_TRIGGER_SECRET")
MISSING = Secret(env="ANDON_TEST_NO_SUCH_VARIABLE")


@contextmanager
def mqtt(kind: TriggerKind, folder: Path) -> Iterator[TriggerSpecimen]:
    publish = pytest.importorskip("paho.mqtt.publish", reason="the extra [monitor]")
    from andon.monitor.triggers.mqtt import Settings

    broker = Broker(folder).start()

    def send(payload: str) -> None:
        publish.single("press-3/trigger", payload, qos=1, hostname="127.0.0.1", port=broker.port)

    def back() -> None:
        broker.start()

    settings = Settings(address=f"mqtt://127.0.0.1:{broker.port}/press-3/trigger", user="andon", password=SECRET)
    try:
        yield TriggerSpecimen(
            kind,
            settings,
            send=lambda number: send(f'{{"number": {number}}}'),
            hang=broker.pause,
            away=broker.end,
            back=back,
            refused=lambda: send(CANARY),
            missing_secret=msgspec.structs.replace(settings, password=MISSING),
            secrets=(CANARY,),
        )
    finally:
        broker.end()


@contextmanager
def modbus(kind: TriggerKind, _folder: Path) -> Iterator[TriggerSpecimen]:
    from andon.monitor.triggers.modbus import Settings

    server = ModbusServer().start()

    def back() -> None:
        server.start()

    try:
        yield TriggerSpecimen(
            kind,
            Settings(address=server.url, register=30, timeout_s=1.0),
            send=lambda number: server.set("holding", 30, number),
            hang=server.pause,
            away=server.end,
            back=back,
            longest_s=5.0,
        )
    finally:
        server.end()


SENDERS: dict[str, Callable[[TriggerKind, Path], AbstractContextManager[TriggerSpecimen]]] = {
    "modbus": modbus,
    "mqtt": mqtt,
}
MARKS = {"modbus": [needs_pymodbus], "mqtt": [needs_mosquitto]}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in names("andon.triggers")])
def specimen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TriggerSpecimen]:
    name: str = request.param
    assert name in SENDERS, f"the trigger {name}: expected a sender for the contract in {__file__}, found none"
    monkeypatch.setenv(str(SECRET.env), CANARY)
    with SENDERS[name](load("andon.triggers", name), tmp_path) as made:
        yield made


SLOW = {"a_sender_that_hangs_is_reported", "a_sender_that_goes_away_is_reported_and_its_return_is_used"}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=check.__name__, marks=[pytest.mark.slow] if check.__name__ in SLOW else [])
        for check in CHECKS
    ],
)
def test_triggers_keep_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
