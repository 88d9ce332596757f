"""Run the contract checks on all registered outputs. A new output needs a receiver here."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.monitor.receivers import CANARY, Broker, HttpReceiver, Request, needs_mosquitto

from andon.foundation.registry import load, names
from andon.foundation.secret import Secret
from andon.monitor.output import OutputKind
from andon.monitor.output_contract import CHECKS, Got, OutputSpecimen, messages

SECRET = Secret(env="ANDON_TEST_OUTPUT_SECRET")
MISSING = Secret(env="ANDON_TEST_NO_SUCH_VARIABLE")
POISON = messages(1)[0]


@contextmanager
def webhook(kind: OutputKind, _folder: Path) -> Iterator[OutputSpecimen]:
    from andon.monitor.outputs.webhook import Settings

    got: list[Got] = []
    hangs, over = threading.Event(), threading.Event()
    poison = msgspec.structs.replace(POISON, key="f" * 32)

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        if hangs.is_set():
            over.wait()
        if request.key == poison.key:
            return 400, {"X-Reason": CANARY}
        got.append(Got(request.key, request.body))
        return 200, {}

    def start(port: int = 0) -> HttpReceiver:
        receiver = HttpReceiver(port)
        receiver.answer = answer
        return receiver

    receivers = [start()]

    def hang() -> None:
        hangs.set()
        receivers[-1].shutdown()  # the system still accepts connections

    settings = Settings(url=receivers[0].url, token=SECRET, timeout_s=1.0)
    try:
        yield OutputSpecimen(
            kind,
            settings,
            got=lambda: got,
            hang=hang,
            away=receivers[0].end,
            back=lambda: receivers.append(start(receivers[-1].port)),
            refused=poison,
            missing_secret=msgspec.structs.replace(settings, token=MISSING),
            secrets=(CANARY,),
        )
    finally:
        over.set()
        receivers[-1].end()


@contextmanager
def mqtt(kind: OutputKind, folder: Path) -> Iterator[OutputSpecimen]:
    pytest.importorskip("paho.mqtt", reason="the extra [monitor]")
    from tests.monitor.outputs.test_mqtt import Subscriber, properties

    from andon.monitor.outputs.mqtt import Settings

    broker = Broker(folder, "max_packet_size 20000").start()
    subscriber = Subscriber(broker.port)

    def got() -> list[Got]:
        return [Got(dict(properties(one).UserProperty)["key"], bytes(one.payload)) for one in subscriber.events]

    def back() -> None:
        broker.start()

    settings = Settings(host="127.0.0.1", port=broker.port, user="andon", password=SECRET)
    try:
        yield OutputSpecimen(
            kind,
            settings,
            got=got,
            hang=broker.pause,
            away=broker.end,
            back=back,
            refused=msgspec.structs.replace(POISON, payload=b"x" * 30_000),
            missing_secret=msgspec.structs.replace(settings, password=MISSING),
            secrets=(CANARY,),
        )
    finally:
        subscriber.end()
        broker.end()


@contextmanager
def kafka(kind: OutputKind, _folder: Path) -> Iterator[OutputSpecimen]:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (extra [kafka])")
    from tests.monitor.kafka_broker import KafkaBroker, Reader

    from andon.monitor.outputs.kafka import MOST_BYTES, Settings

    broker = KafkaBroker().start()
    readers: list[Reader] = []

    def got() -> list[Got]:
        if not readers:
            readers.append(Reader(broker))
        return [Got(key, one.value()) for key, one in zip(readers[0].keys, readers[0].records, strict=False)]

    def back() -> None:
        broker.start()

    settings = Settings(servers=broker.servers)
    try:
        yield OutputSpecimen(
            kind,
            settings,
            got=got,
            hang=broker.pause,
            away=broker.end,
            back=back,
            refused=msgspec.structs.replace(POISON, payload=b"x" * (MOST_BYTES + 1)),
            missing_secret=Settings(servers=broker.servers, user="andon", password=MISSING),
            secrets=(CANARY,),
        )
    finally:
        for reader in readers:
            reader.end()
        broker.end()


RECEIVERS: dict[str, Callable[[OutputKind, Path], AbstractContextManager[OutputSpecimen]]] = {
    "kafka": kafka,
    "mqtt": mqtt,
    "webhook": webhook,
}
MARKS = {"mqtt": [needs_mosquitto]}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, [])) for name in names("andon.outputs")])
def specimen(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OutputSpecimen]:
    name: str = request.param
    assert name in RECEIVERS, f"the output {name}: expected a receiver for the contract in {__file__}, found none"
    monkeypatch.setenv(str(SECRET.env), CANARY)
    with ExitStack() as stack:
        yield stack.enter_context(RECEIVERS[name](load("andon.outputs", name), tmp_path))


@pytest.mark.parametrize("check", [pytest.param(check, id=check.__name__) for check in CHECKS])
def test_an_output_keeps_the_contract(check, specimen):  # type: ignore[no-untyped-def]
    check(specimen)
