"""A Kafka output delivers at least once and in order to a broker that goes away, hangs or refuses, and shows no secret.

The broker is librdkafka's own mock cluster in a process of its own. It speaks the protocol, and has no disk and no logins.
"""

import contextlib
import functools
import logging
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.outputs.running_output import RunningOutput
from tests.monitor.outputs.test_webhook import certificate
from tests.monitor.receivers import CANARY, free_port, put, silent_server, until

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.redaction import redact
from andon.foundation.secret import Secret
from andon.foundation.settings import from_table
from andon.monitor.event import decode
from andon.monitor.memory_outbox import MemoryOutbox
from andon.monitor.output import Connected, Delivered, Gone, Message, OutputContext, Refused, Reply
from andon.monitor.outputs.kafka import MOST_BYTES, OUTPUT, Settings, reason_of
from andon.sources.clock import SystemClock

confluent_kafka: Any = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (extra [kafka])")

from tests.monitor.kafka_broker import KafkaBroker, Reader  # noqa: E402 - skipped without the package

Running = functools.partial(RunningOutput, OUTPUT)


def context() -> OutputContext:
    return OutputContext(name="plant", clock=SystemClock())


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    one = KafkaBroker().start()
    yield one
    one.end()


@contextlib.contextmanager
def reading(broker: KafkaBroker) -> Iterator[Reader]:
    reader = Reader(broker)
    try:
        yield reader
    finally:
        reader.end()


def settings_of(broker: KafkaBroker, **changes: Any) -> Settings:
    return Settings(servers=broker.servers, **changes)


def test_events_arrive_in_order_in_one_partition_with_the_line_as_key(broker: KafkaBroker) -> None:
    with Running(settings_of(broker), *range(1, 301)) as running:
        running.finish()
        assert running.sender.status().delivered == 300
    with reading(broker) as reader:
        until(lambda: len(reader.records) == 300)
        records = list(reader.records)

    events = [decode(record.value()) for record in records]
    assert [event.seq for event in events] == list(range(1, 301))
    assert reader.keys == [event.key for event in events]
    assert {record.key() for record in records} == {b"press-3"}
    assert len({record.partition() for record in records}) == 1
    assert [record.offset() for record in records] == list(range(300))  # nothing was written twice


def test_an_event_about_the_process_has_a_key_too(broker: KafkaBroker) -> None:
    heard: list[Reply] = []
    connection = OUTPUT.open(settings_of(broker), context()).connect(heard.append)
    until(lambda: Connected(window=20) in heard)
    for seq in range(1, 9):
        connection.send(Message(seq, f"{seq:032x}", b"{}", "", "stop"))
    until(lambda: len(heard) == 9)
    connection.close()
    with reading(broker) as reader:
        until(lambda: len(reader.records) == 8)

    assert {record.key() for record in reader.records} == {b"-"}
    assert len({record.partition() for record in reader.records}) == 1


# the issue: 10 000 messages in order, with the broker killed and hung on the way
@pytest.mark.slow
def test_ten_thousand_events_survive_a_hang_in_order_and_none_is_lost(broker: KafkaBroker) -> None:
    with contextlib.ExitStack() as stack, Running(settings_of(broker), *range(1, 10_001)) as running:
        until(lambda: running.sender.status().delivered > 0)
        reader = stack.enter_context(reading(broker))  # this broker keeps 5 MB only
        until(lambda: running.sender.status().delivered > 2_000)
        broker.pause()
        until(lambda: running.failing.startswith("no answer"), 30.0)
        time.sleep(7.0)  # longer than the sender waits for an answer: it connects again
        broker.go_on()
        running.finish(60.0)
        until(lambda: bool(reader.records) and reader.records[-1].headers()[0][1] == b"%032x" % 10_000)
        reader.quiet()

    assert reader.numbers == list(range(1, 10_001))
    assert not running.lost


# complaint 20: an event is done when the broker has confirmed it, so a killed broker loses none that was not
def test_a_broker_that_is_killed_and_comes_back_gets_all_that_was_not_confirmed(broker: KafkaBroker) -> None:
    outbox = MemoryOutbox()
    put(outbox, *range(1, 3001))
    with Running(settings_of(broker), outbox=outbox) as running:
        until(lambda: running.sender.status().delivered > 500)
        broker.end()
        until(lambda: running.failing == "no broker can be reached")
        confirmed = 3000 - outbox.backlog()
        put(outbox, *range(3001, 3101))
        broker.start()
        running.finish()
        assert not running.failing
    with reading(broker) as reader:  # the new broker knows nothing of the old one
        until(lambda: bool(reader.numbers) and reader.numbers[-1] == 3100)

    assert confirmed >= 480
    assert reader.numbers == list(range(confirmed + 1, 3101))


def test_a_monitor_that_starts_before_the_broker_delivers_when_it_comes(broker: KafkaBroker) -> None:
    broker.end()
    with Running(settings_of(broker), 1, 2, 3) as running:
        until(lambda: running.failing == "no broker can be reached")
        broker.start()
        running.finish()


def test_one_of_several_brokers_that_is_away_or_has_no_address_does_not_matter(broker: KafkaBroker) -> None:
    servers = f"nowhere.invalid:9092,127.0.0.1:{free_port()},{broker.servers}"
    with Running(Settings(servers=servers, insecure=True), 1, 2, 3) as running:
        running.finish()
        assert not running.failing


def test_a_name_that_cannot_be_looked_up_is_the_reason() -> None:
    with Running(Settings(servers="nowhere.invalid:9092", insecure=True), 1) as running:
        until(lambda: running.failing == "the name of a broker cannot be looked up")


# complaints 6 and 20: a hung broker is noticed, and does not delay the end
@pytest.mark.slow
def test_a_broker_that_hangs_does_not_delay_the_end_and_nothing_is_lost(broker: KafkaBroker) -> None:
    outbox = MemoryOutbox()
    with Running(settings_of(broker), 1, outbox=outbox) as running:
        running.finish()
        broker.pause()
        put(outbox, *range(2, 500))
        running.sender.wake()
        time.sleep(0.1)
        start_s = time.monotonic()
        assert running.sender.close(2.0)
        assert time.monotonic() - start_s < 2.5  # the limit is 2 s; the rest is for a busy machine
    assert outbox.backlog() == 498
    broker.go_on()
    with Running(settings_of(broker), outbox=outbox) as running:
        running.finish()
    with reading(broker) as reader:
        until(lambda: bool(reader.numbers) and reader.numbers[-1] == 499)

    assert reader.numbers == list(range(1, 500))


@pytest.mark.slow
def test_a_broker_that_hangs_is_noticed_without_an_event(broker: KafkaBroker) -> None:
    heard: list[Reply] = []
    connection = OUTPUT.open(settings_of(broker), context()).connect(heard.append)
    until(lambda: Connected(window=20) in heard)
    broker.pause()
    start_s = time.monotonic()
    until(lambda: isinstance(heard[-1], Gone))
    took_s = time.monotonic() - start_s
    connection.close()

    # the client may close the connection itself, and then cannot connect
    assert heard[-1] in (Gone("no answer in time"), Gone("no broker can be reached"))
    assert 4.0 < took_s < 15.0  # 5 s without an event, then 5 s without an answer


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="native threads are counted in /proc")
@pytest.mark.parametrize("state", ["works", "hangs", "is away"])
def test_no_native_thread_is_left_after_the_end(broker: KafkaBroker, state: str) -> None:
    if state == "hangs":
        broker.pause()
    if state == "is away":
        broker.end()
        time.sleep(0.2)
    settings = settings_of(broker)
    before = native_threads()
    for _ in range(3):
        heard: list[Reply] = []
        connection = OUTPUT.open(settings, context()).connect(heard.append)
        if state == "works":
            until(lambda heard=heard: bool(heard))  # type: ignore[misc]
            connection.send(Message(1, "k", b"{}", "a", "stop"))
        time.sleep(0.1)
        start_s = time.monotonic()
        connection.close()
        assert time.monotonic() - start_s < 1.0
        until(lambda connection=connection: not connection.hung, 2.0)  # type: ignore[misc]
    until(lambda: native_threads() <= before, 5.0)


def test_an_event_above_the_limit_is_dead_and_the_next_go_on(broker: KafkaBroker) -> None:
    outbox = MemoryOutbox()
    put(outbox, 1)
    put(outbox, 2, detail="x" * MOST_BYTES)
    put(outbox, 3)
    with Running(settings_of(broker), outbox=outbox) as running:
        running.finish()
    with reading(broker) as reader:
        until(lambda: len(reader.records) == 2)

    assert reader.numbers == [1, 3]
    assert [dead.seq for dead in outbox.dead] == [2]
    assert "larger than the broker accepts" in running.lost[0].detail


class LoginServer:
    """A broker that knows the protocol as far as the login, and refuses each one with a text of its own."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.passwords: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError, struct.error):
                while self._answer(client):
                    pass

    def _answer(self, client: socket.socket) -> bool:
        size = client.recv(4, socket.MSG_WAITALL)
        if len(size) < 4:
            return False
        request = client.recv(struct.unpack(">i", size)[0], socket.MSG_WAITALL)
        api, _version, number = struct.unpack(">hhi", request[:8])
        if api == 18:  # ApiVersions 3
            ranges = {0: 7, 3: 4, 17: 1, 18: 3, 22: 1, 36: 0}
            listed = b"".join(struct.pack(">hhhB", key, 0, last, 0) for key, last in ranges.items())
            body = struct.pack(">hB", 0, len(ranges) + 1) + listed + struct.pack(">iB", 0, 0)
        elif api == 17:  # SaslHandshake 1
            body = struct.pack(">hih", 0, 1, 5) + b"PLAIN"
        elif api == 36:  # SaslAuthenticate 0: error 58 is SASL_AUTHENTICATION_FAILED
            self.passwords.append(request.rpartition(b"\0")[2])
            text = f"wrong: {CANARY}".encode()
            body = struct.pack(">hh", 58, len(text)) + text + struct.pack(">i", 0)
        else:
            return False
        client.sendall(struct.pack(">ii", 4 + len(body), number) + body)
        return True


# complaint 25: no secret in any message, nor in what the client logs
def test_a_wrong_password_is_no_poison_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDON_TEST_KAFKA", CANARY)
    server = LoginServer()
    settings = Settings(
        servers=f"127.0.0.1:{server.port}", user="andon", password=Secret(env="ANDON_TEST_KAFKA"), mechanism="PLAIN"
    )
    with caplog.at_level(logging.DEBUG), Running(settings, 1) as running:
        until(lambda: running.failing.startswith("the broker refuses the user or the password"))
        assert running.outbox.backlog() == 1
        monkeypatch.setenv("ANDON_TEST_KAFKA", "renewed")  # it is read again for each connection
        until(lambda: b"renewed" in server.passwords)
        shown = [repr(running.sender.status()), repr(settings), repr(running.lost)]
    server.end()
    output = capfd.readouterr()

    assert CANARY.encode() in server.passwords
    assert not running.lost
    warnings = "".join(record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG)
    assert CANARY not in "".join([*shown, warnings, output.out, output.err])
    # the client logs the text of the broker; its log goes through ours, which hides secrets
    assert "librdkafka" in caplog.text
    assert CANARY not in redact(caplog.text)
    assert "librdkafka" not in output.err


@contextlib.contextmanager
def tls_server(path: Path) -> Iterator[tuple[int, list[ssl.SSLSocket]]]:
    """Accept TLS connections and never answer a request. Yield the port and the accepted connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, f"{path}.key")
    accepted: list[ssl.SSLSocket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                try:
                    accepted.append(context.wrap_socket(client, server_side=True))
                except OSError:
                    client.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1]), accepted
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5.0)
            for one in accepted:
                one.close()


@pytest.mark.slow
def test_the_certificate_of_the_broker_and_its_name_are_checked(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    with tls_server(path) as (port, accepted):
        for changes in ({"servers": f"127.0.0.1:{port}", "ca_file": str(path)}, {"servers": f"localhost:{port}"}):
            with Running(Settings(tls=True, **changes), 1) as running:  # type: ignore[arg-type]
                until(lambda running=running: running.failing.startswith("TLS failed. Check ca_file"))  # type: ignore[misc]
        assert not accepted
        with Running(Settings(servers=f"localhost:{port}", tls=True, ca_file=str(path)), 1) as running:
            until(lambda: bool(accepted))
            until(lambda: running.failing in ("no answer in time", "no broker can be reached"))


# complaint 6
def test_a_server_that_does_not_answer_does_not_delay_the_end() -> None:
    with silent_server() as port:
        for number in (port, free_port()):
            with Running(Settings(servers=f"127.0.0.1:{number}"), 1) as running:
                time.sleep(0.2)
                start_s = time.monotonic()
                assert running.sender.close(2.0)
                assert time.monotonic() - start_s < 2.5


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "expected servers, got nothing"),
        ({"servers": "kafka-1"}, "servers: expected HOST:PORT"),
        ({"servers": "kafka-1:0"}, "servers: expected HOST:PORT"),
        ({"servers": "localhost:9092,"}, "servers: expected HOST:PORT"),
        ({"servers": "localhost:9092, kafka-1:9092"}, "tls: expected true for a broker on another machine"),
        ({"servers": "localhost:9092", "topic": "a b"}, "topic: expected letters, digits"),
        ({"servers": "localhost:9092", "topic": ".."}, "topic: expected letters, digits"),
        ({"servers": "localhost:9092", "password": {"env": "X"}}, "user: expected a name with a password"),
        ({"servers": "localhost:9092", "user": "andon"}, "password: expected one with a user"),
        ({"servers": "localhost:9092", "password": CANARY}, "password: expected a secret as"),
        ({"servers": "localhost:9092", "ca_file": "x"}, "ca_file: expected tls = true with it"),
        ({"servers": "localhost:9092", "tls": True, "key_file": "x"}, "cert_file: expected cert_file and key_file together"),
        ({"servers": "localhost:9092", "mechanism": "GSSAPI"}, "mechanism: expected"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_in_words(table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refusal:
        from_table(Settings, table, at="line.toml: output[0]")
    assert CANARY not in str(refusal.value) + repr(refusal.value.__cause__)


def test_files_of_certificates_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path) -> None:
    good, wrong = certificate(tmp_path), tmp_path / "wrong.pem"
    wrong.write_text("no certificate", encoding="utf-8")
    address = "localhost:9092"
    for settings, name in (
        (Settings(servers=address, tls=True, ca_file=str(tmp_path / "none")), "ca_file"),
        (Settings(servers=address, tls=True, ca_file=str(wrong)), "ca_file"),
        (Settings(servers=address, tls=True, cert_file=str(wrong), key_file=f"{good}.key"), "cert_file"),
    ):
        with pytest.raises(ConfigError, match=f"{name}: .* expected PEM form"):
            OUTPUT.open(settings, context())
    OUTPUT.open(
        Settings(servers=address, tls=True, ca_file=str(good), cert_file=str(good), key_file=f"{good}.key"), context()
    )


def test_plain_text_to_another_machine_needs_the_users_word_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    OUTPUT.open(Settings(servers="kafka-1:9092", insecure=True), context())

    assert caplog.messages == ["the output plant: events leave this machine without encryption (insecure = true)"]


@pytest.mark.parametrize(
    "name", ["_TRANSPORT", "_SSL", "_FATAL", "TOPIC_AUTHORIZATION_FAILED", "NOT_LEADER_FOR_PARTITION"]
)
def test_each_error_has_words_of_its_own_and_no_text_of_the_broker(name: str) -> None:
    code = getattr(confluent_kafka.KafkaError, name)
    text = reason_of(confluent_kafka.KafkaError(code, f"127.0.0.1: {CANARY}"))

    assert text
    assert CANARY not in text


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    with pytest.raises(MissingExtra, match=r"sending events to Kafka needs confluent_kafka: pip install .*\[kafka\]"):
        OUTPUT.open(Settings(servers="localhost:9092"), context())


def test_replies_of_a_broker_are_those_of_its_delivery_reports(broker: KafkaBroker) -> None:
    heard: list[Reply] = []
    connection = OUTPUT.open(settings_of(broker), context()).connect(heard.append)
    until(lambda: Connected(window=20) in heard)
    for seq in (1, 2):
        connection.send(Message(seq, f"{seq}", b"{}", "a", "stop"))
    connection.send(Message(3, "3", b"x" * (MOST_BYTES + 1), "a", "stop"))
    until(lambda: len(heard) == 4)
    connection.close()
    connection.send(Message(4, "4", b"{}", "a", "stop"))  # nothing is sent after the end

    assert {Delivered(1), Delivered(2), Refused(3, "it is larger than the broker accepts")} == set(heard[1:])
