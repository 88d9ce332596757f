"""An MQTT output delivers at least once to a real broker that goes away, hangs or refuses, and shows no secret."""

import functools
import logging
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from tests.monitor.outputs.running_output import RunningOutput
from tests.monitor.outputs.test_webhook import certificate
from tests.monitor.receivers import CANARY, Broker, free_port, full_server, needs_mosquitto, put, silent_server, until

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.secret import Secret
from andon.foundation.settings import from_table
from andon.monitor.event import decode
from andon.monitor.memory_outbox import MemoryOutbox
from andon.monitor.output import Delivered, Gone, Message, OutputContext, Refused
from andon.monitor.outputs.mqtt import OUTPUT, Settings, reply_of, topic_of
from andon.sources.clock import SystemClock

Running = functools.partial(RunningOutput, OUTPUT)


class Subscriber:
    """A client of the broker that keeps all messages. It connects again by itself."""

    def __init__(self, port: int, topic: str = "#", **connect: Any) -> None:
        self.got: list[MQTTMessage] = []
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, client_id="subscriber")
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self.got.append(message)
        self._client.connect("127.0.0.1", port, **connect)
        self._client.loop_start()
        assert self._ready.wait(10.0)

    def end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def events(self) -> list[MQTTMessage]:
        return [message for message in self.got if message.topic != "andon/status"]

    @property
    def keys(self) -> list[str]:
        return [dict(properties(message).UserProperty)["key"] for message in self.events]

    @property
    def status(self) -> list[str]:
        return [message.payload.decode() for message in self.got if message.topic == "andon/status"]


def properties(message: MQTTMessage) -> Any:
    return message.properties


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers, and end them after the test by their own process ids."""
    brokers: list[Broker] = []

    def start(*settings: str) -> Broker:
        brokers.append(Broker(tmp_path, *settings).start())
        return brokers[-1]

    yield start
    for one in brokers:
        one.end()


def settings_of(broker: Broker, **changes: Any) -> Settings:
    return Settings(host="127.0.0.1", port=broker.port, **changes)


@needs_mosquitto
def test_events_arrive_in_order_with_topic_key_and_type_and_the_status_follows(broker: Callable[..., Broker]) -> None:
    one = broker()
    subscriber = Subscriber(one.port)
    with Running(settings_of(one), *range(1, 301)) as running:
        running.finish()
        until(lambda: len(subscriber.events) == 300)
        assert subscriber.status == ["online"]
        assert running.sender.status().delivered == 300
    until(lambda: subscriber.status == ["online", "offline"])
    late = Subscriber(one.port, "andon/status")
    until(lambda: late.status == ["offline"])  # it is retained
    subscriber.end()
    late.end()

    events = [decode(bytes(message.payload)) for message in subscriber.events]
    assert [event.seq for event in events] == list(range(1, 301))
    assert subscriber.keys == [event.key for event in events]
    assert {message.topic for message in subscriber.events} == {"andon/press-3/reject"}
    assert {properties(message).ContentType for message in subscriber.events} == {"application/json"}
    assert not any(message.retain for message in subscriber.events)


# complaint 20: no event is lost when the broker goes away and comes back; events sent twice have the same key
@needs_mosquitto
def test_a_broker_that_goes_away_and_comes_back_gets_everything_and_known_keys_again(
    broker: Callable[..., Broker], tmp_path: Path
) -> None:
    one = broker()
    first = Subscriber(one.port)
    outbox = MemoryOutbox()
    put(outbox, *range(1, 2001))
    with Running(settings_of(one), outbox=outbox) as running:
        until(lambda: len(first.events) > 100)
        one.end()
        until(lambda: bool(running.failing))
        put(outbox, *range(2001, 2101))
        first.end()
        one.start()
        second = Subscriber(one.port)
        running.finish()
        left = running.sender.status()
        until(lambda: second.keys[-1:] == [f"{2100:032x}"])
        second.end()

    # the second subscriber may come later than the first events after the return, so the order is that of each of them
    for subscriber in (first, second):
        numbers = [int(key, 16) for key in dict.fromkeys(subscriber.keys)]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert all(
            decode(bytes(message.payload)).key == key
            for message, key in zip(subscriber.events, subscriber.keys, strict=True)
        )
    assert left.dead == 0
    assert not left.failing


@needs_mosquitto
def test_a_monitor_that_starts_before_the_broker_delivers_when_it_comes(
    broker: Callable[..., Broker], tmp_path: Path
) -> None:
    port = free_port()
    with Running(Settings(host="127.0.0.1", port=port), 1, 2, 3) as running:
        until(lambda: running.failing == "Connection refused")
        one = Broker(tmp_path, port=port).start()
        running.finish()
    one.end()


@needs_mosquitto
def test_duplicates_after_a_lost_acknowledgement_have_the_same_key_and_keep_the_order(
    broker: Callable[..., Broker],
) -> None:
    one = broker()
    subscriber = Subscriber(one.port)
    proxy = LossyProxy(one.port, cut_after=3)
    with Running(Settings(host="127.0.0.1", port=proxy.port), *range(1, 61)) as running:
        running.finish()
        until(lambda: f"{60:032x}" in subscriber.keys)
    proxy.end()
    subscriber.end()

    keys = subscriber.keys
    assert proxy.cut > 0
    assert len(keys) > 60  # some arrived twice
    assert [int(key, 16) for key in dict.fromkeys(keys)] == list(range(1, 61))


# complaints 6 and 20: a hung broker is noticed, and does not delay the end
@needs_mosquitto
def test_a_broker_that_hangs_does_not_delay_the_end_and_nothing_is_lost(broker: Callable[..., Broker]) -> None:
    one = broker()
    subscriber = Subscriber(one.port, keepalive=60)
    outbox = MemoryOutbox()
    with Running(settings_of(one), 1, outbox=outbox) as running:
        running.finish()
        one.pause()
        put(outbox, *range(2, 500))
        running.sender.wake()
        time.sleep(0.1)
        start_s = time.monotonic()
        assert running.sender.close(2.0)
        assert time.monotonic() - start_s < 2.5  # the limit is 2 s; the rest is for a busy machine
    assert outbox.backlog() == 498
    one.go_on()
    with Running(settings_of(one), outbox=outbox) as running:
        running.finish()
        until(lambda: f"{499:032x}" in subscriber.keys)
    subscriber.end()

    assert [int(key, 16) for key in dict.fromkeys(subscriber.keys)] == list(range(1, 500))


@needs_mosquitto
@pytest.mark.slow
def test_a_broker_that_hangs_is_reported_after_5_s_and_left_after_10_s(broker: Callable[..., Broker]) -> None:
    one = broker()
    with Running(settings_of(one), 1) as running:
        running.finish()
        one.pause()
        put(running.outbox, 2)
        running.sender.wake()
        start_s = time.monotonic()
        until(lambda: running.failing.startswith("no answer for"))
        assert 4.9 < time.monotonic() - start_s < 7.0
        until(lambda: running.failing.startswith(("no answer within", "the connection to the broker ended")))
        assert 9.0 < time.monotonic() - start_s < 15.0
        one.go_on()
        running.finish()


@needs_mosquitto
def test_an_event_above_the_limit_of_the_broker_is_dead_and_the_next_go_on(broker: Callable[..., Broker]) -> None:
    one = broker("max_packet_size 2000")
    subscriber = Subscriber(one.port)
    outbox = MemoryOutbox()
    put(outbox, 1)
    put(outbox, 2, detail="x" * 3000)
    put(outbox, 3)
    with Running(settings_of(one), outbox=outbox) as running:
        running.finish()
        until(lambda: len(subscriber.events) == 2)
    subscriber.end()

    assert [int(key, 16) for key in subscriber.keys] == [1, 3]
    assert [dead.seq for dead in outbox.dead] == [2]
    assert "larger than the broker's limit of 2000 bytes" in running.lost[0].detail


@needs_mosquitto
@pytest.mark.parametrize("limit", [1, 5])
def test_no_more_is_in_flight_than_the_broker_takes(broker: Callable[..., Broker], limit: int) -> None:
    one = broker(f"max_inflight_messages {limit}")
    with Running(settings_of(one), *range(1, 101)) as running:
        running.finish()
        assert not running.failing


@needs_mosquitto
def test_a_wrong_password_is_no_poison_and_shows_no_secret(
    broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([tool, "-b", "-c", str(passwords), "andon", CANARY], check=True, capture_output=True)
    one = broker("allow_anonymous false", f"password_file {passwords}")
    secret = tmp_path / "secret"
    secret.write_text(CANARY + "old", encoding="utf-8")
    settings = settings_of(one, user="andon", password=Secret(file=str(secret)))
    with caplog.at_level(logging.DEBUG), Running(settings, 1) as running:
        until(lambda: "refused the connection: Not authorized" in running.failing)
        assert running.outbox.backlog() == 1
        secret.write_text(CANARY + "\n", encoding="utf-8")  # a renewed password is read again
        running.finish()
        shown = [repr(running.sender.status()), repr(running.sender), repr(settings), repr(running.lost)]
    output = capfd.readouterr()

    assert not running.lost
    assert CANARY not in "".join([*shown, caplog.text, output.out, output.err])


@needs_mosquitto
def test_the_certificate_of_the_broker_and_its_name_are_checked(broker: Callable[..., Broker], tmp_path: Path) -> None:
    path = certificate(tmp_path)
    one = broker(f"certfile {path}", f"keyfile {path}.key")
    for changes in ({"host": "127.0.0.1", "ca_file": str(path)}, {"host": "localhost"}):
        with Running(Settings(port=one.port, tls=True, **changes), 1) as running:  # type: ignore[arg-type]
            until(lambda running=running: "certificate of the receiver is not accepted" in running.failing)  # type: ignore[misc]
    with Running(Settings(host="localhost", port=one.port, tls=True, ca_file=str(path)), *range(1, 101)) as running:
        running.finish()
    # a hung broker behind TLS does not delay the end either
    with Running(Settings(host="localhost", port=one.port, tls=True, ca_file=str(path)), 1) as running:
        running.finish()
        one.pause()
        put(running.outbox, *range(2, 100))
        running.sender.wake()
        time.sleep(0.05)
        start_s = time.monotonic()
        assert running.sender.close(2.0)
        assert time.monotonic() - start_s < 2.5


# complaint 6
@pytest.mark.parametrize(("server", "tls"), [(silent_server, False), (silent_server, True), (full_server, False)])
def test_a_server_that_does_not_answer_does_not_delay_the_end(server: Callable[[], Any], tls: bool) -> None:
    with server() as port, Running(Settings(host="127.0.0.1", port=port, tls=tls), 1) as running:
        time.sleep(0.1)
        start_s = time.monotonic()
        running.sender.close(2.0)
        assert time.monotonic() - start_s < 2.5


def test_no_thread_is_left_when_the_broker_is_away() -> None:
    before = threading.active_count()
    for _ in range(3):
        with Running(Settings(host="127.0.0.1", port=free_port()), 1) as running:
            until(lambda running=running: bool(running.failing))  # type: ignore[misc]
    until(lambda: threading.active_count() == before, 5.0)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"host": "broker.example"}, "tls: expected true for a broker on another machine. Set tls = true, or insecure = true"),
        ({"host": "::1", "topic": "a/+"}, r"topic: expected a topic with the placeholders .* got 'a/\+'"),
        ({"host": "::1", "topic": "a/{seq}"}, "topic: expected a topic with the placeholders"),
        ({"host": "::1", "topic": "a/{line"}, "topic: expected a topic"),
        ({"host": "::1", "topic": "$SYS/x"}, "topic: expected a topic"),
        ({"host": "::1", "status_topic": "a/{line}"}, "status_topic: expected a topic"),
        ({"host": "::1", "ca_file": "x"}, "ca_file: expected tls = true with it"),
        ({"host": "::1", "password": {"env": "X"}}, "user: expected a name with a password, got none"),
        ({"host": "::1", "password": CANARY}, "password: expected a secret as"),
        ({"host": "::1", "port": 0}, "port: expected an integer from 1 to 65535"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_in_words(table: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refusal:
        from_table(Settings, table, at="line.toml: output[0]")
    assert CANARY not in str(refusal.value) + repr(refusal.value.__cause__)


def test_plain_text_to_another_machine_needs_the_users_word_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    settings = from_table(Settings, {"host": "broker.example", "insecure": True}, at="x")
    OUTPUT.open(settings, OutputContext(name="plant", clock=SystemClock()))

    assert caplog.messages == [
        "the output plant: events and the password leave this machine without encryption (insecure = true)"
    ]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(0x00, Delivered), (0x10, Delivered), (0x80, Gone), (0x83, Gone), (0x87, Gone), (0x90, Refused), (0x91, Gone),
     (0x95, Refused), (0x97, Gone), (0x99, Refused)],
)  # fmt: skip
def test_only_a_reason_code_that_is_about_the_content_is_a_refusal(code: int, meaning: type) -> None:
    assert isinstance(reply_of(1, code), meaning)


@given(line=st.text(max_size=30), kind=st.text(max_size=30))
def test_a_topic_has_the_same_levels_for_any_line_and_kind(line: str, kind: str) -> None:
    topic = topic_of("a/{line}/{kind}", Message(1, "", b"", line, kind))

    assert topic.count("/") == 2
    assert not {"+", "#", "\0"} & set(topic)
    assert all(topic.split("/"))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)

    with pytest.raises(MissingExtra, match=r"sending events to an MQTT broker needs paho: pip install .*\[monitor\]"):
        OUTPUT.open(Settings(host="::1"), OutputContext(name="plant", clock=SystemClock()))


def test_the_certificates_of_the_system_are_checked_by_default() -> None:
    context = OUTPUT.open(Settings(host="broker.example", tls=True), OutputContext(name="x", clock=SystemClock()))

    tls: ssl.SSLContext = context._tls  # type: ignore[attr-defined]
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname


class LossyProxy:
    """Pass bytes between a client and the broker, and cut the connection before some of the broker's answers arrive.

    Of the first connections, only `cut_after` answers of the broker reach the client.
    """

    def __init__(self, target: int, *, cut_after: int, cuts: int = 3) -> None:
        self.cut = 0
        self._target, self._after, self._cuts = target, cut_after, cuts
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5.0)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._pass(client)

    def _pass(self, client: Any) -> None:
        upstream = socket.create_connection(("127.0.0.1", self._target))
        sending = threading.Thread(target=self._copy, args=(client, upstream), daemon=True)
        sending.start()
        answers = 0
        while data := upstream.recv(64):
            answers += 1
            if answers > self._after and self.cut < self._cuts:
                self.cut += 1
                break
            client.sendall(data)
        for one in (client, upstream):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            finally:
                one.close()
        sending.join(5.0)

    @staticmethod
    def _copy(client: Any, upstream: Any) -> None:
        try:
            while data := client.recv(4096):
                upstream.sendall(data)
            upstream.shutdown(1)
        except OSError:
            pass
