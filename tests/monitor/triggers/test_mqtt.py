"""Messages of a real broker begin parts: once, in order, and never late ones after an interruption."""

import logging
import shutil
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
from tests.monitor.outputs.test_webhook import certificate
from tests.monitor.receivers import CANARY, Broker, free_port, needs_mosquitto, silent_server, until

from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.secret import Secret
from andon.foundation.settings import from_table
from andon.monitor.event import AlarmChanged
from andon.monitor.part_decisions import PartDecisions
from andon.monitor.part_settings import PartSettings
from andon.monitor.trigger_follower import TriggerFollower
from andon.monitor.trigger_kind import ChosenTrigger, Trigger, TriggerContext
from andon.monitor.triggers.mqtt import MOST_BYTES, REPEATED_S, TRIGGER, Repeats, Settings, trigger_of
from andon.sources.clock import SystemClock

paho: Any = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
TOPIC = "press-3/trigger"


class Following:
    """The triggers of a line, followed until the end of the block."""

    def __init__(self, settings: Settings) -> None:
        self.given: list[Trigger] = []
        self.changes: list[AlarmChanged] = []
        self._follower = TriggerFollower(
            ChosenTrigger(kind=TRIGGER, settings=settings),
            self.given.append,
            SystemClock(),
            line="press-3",
            record=self.changes.append,
        )

    def __enter__(self) -> "Following":
        self._follower.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.close()

    @property
    def failing(self) -> str:
        return self._follower.status().failing

    @property
    def refused(self) -> int:
        return self._follower.status().refused

    def connected(self) -> "Following":
        until(lambda: not self.failing)
        return self

    @property
    def numbers(self) -> list[int | None]:
        return [one.number for one in self.given]


class Publisher:
    """A controller that sends triggers."""

    def __init__(self, port: int, **login: str) -> None:
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(**login)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(TOPIC, payload, qos=1, retain=retain).wait_for_publish(10.0)

    def many(self, numbers: range) -> None:
        sent = [self._client.publish(TOPIC, f'{{"number": {number}}}', qos=1) for number in numbers]
        sent[-1].wait_for_publish(60.0)


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
    return Settings(address=f"mqtt://127.0.0.1:{broker.port}/{TOPIC}", **changes)


@needs_mosquitto
def test_messages_are_triggers_and_kept_or_wrong_ones_are_not(broker: Callable[..., Broker]) -> None:
    one = broker()
    with Publisher(one.port) as controller:
        controller.send('{"number": 99}', retain=True)  # of another day
        with Following(settings_of(one)) as line:
            line.connected()
            for payload in (
                "",
                '{"number": 7}',
                CANARY,
                b"\xff\xfe",
                '{"part": "A-1", "number": 8}',
                "x" * 2000,
                '{"part": "B"}',
            ):
                controller.send(payload)
            until(lambda: len(line.given) == 4)

    assert line.given == [
        Trigger(), Trigger(number=7), Trigger(part="A-1", number=8), Trigger(part="B"),
    ]  # fmt: skip
    assert line.refused == 3
    assert [change.change for change in line.changes][:1] == ["raised"]
    assert CANARY not in repr(line.changes)


# complaint 20 and the issue: 10 000 messages in order
@needs_mosquitto
@pytest.mark.slow
def test_ten_thousand_triggers_arrive_once_and_in_order(broker: Callable[..., Broker]) -> None:
    one = broker()
    with Following(settings_of(one)) as line, Publisher(one.port) as controller:
        line.connected()
        controller.many(range(10_000))
        until(lambda: len(line.given) == 10_000, 60.0)

    assert line.numbers == list(range(10_000))
    assert not line.changes


# complaint 20: a trigger from the time of an interruption is not given, because its part has passed
@needs_mosquitto
@pytest.mark.slow
def test_a_broker_that_restarts_is_reported_and_its_new_triggers_arrive(broker: Callable[..., Broker]) -> None:
    one = broker()
    with Following(settings_of(one)) as line:
        line.connected()
        with Publisher(one.port) as controller:
            controller.send('{"number": 1}')
            until(lambda: line.numbers == [1])
        one.end()
        until(lambda: "cannot be reached (Connection refused)" in line.failing)
        one.start()
        with Publisher(one.port) as controller:
            line.connected()
            controller.send('{"number": 3}')
            until(lambda: line.numbers == [1, 3])

    assert [change.change for change in line.changes] == ["raised", "cleared"]
    assert "the connection is lost" in line.changes[0].text


@needs_mosquitto
@pytest.mark.slow
def test_a_broker_that_hangs_is_noticed_within_twice_the_keepalive(broker: Callable[..., Broker]) -> None:
    one = broker()
    with Following(settings_of(one)) as line:
        line.connected()
        one.pause()
        began_s = time.monotonic()
        until(lambda: bool(line.failing))
        took_s = time.monotonic() - began_s
        one.go_on()
        line.connected()
        with Publisher(one.port) as controller:
            controller.send("")
            until(lambda: len(line.given) == 1)

    assert 4.0 < took_s < 13.0  # 5 to 10 s; the rest is for a busy machine


# complaint 25: no secret in messages; a renewed password is read again
@needs_mosquitto
@pytest.mark.slow
def test_a_wrong_password_is_reported_without_showing_it_and_a_renewed_one_is_used(
    broker: Callable[..., Broker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run([tool, "-b", "-c", str(passwords), "andon", CANARY], check=True, capture_output=True)
    secret.write_text(CANARY + "old", encoding="utf-8")
    one = broker("allow_anonymous false", f"password_file {passwords}")
    with (
        caplog.at_level(logging.DEBUG),
        Following(settings_of(one, user="andon", password=Secret(file=str(secret)))) as line,
    ):
        until(lambda: "refuses the connection (Not authorized)" in line.failing)
        time.sleep(1.5)  # the next attempt must not change the state
        assert "refuses the connection (Not authorized)" in line.failing
        secret.write_text(CANARY + "\n", encoding="utf-8")
        line.connected()

    assert [change.change for change in line.changes] == ["raised", "cleared"]
    assert CANARY not in caplog.text + repr(line.changes)
    # one warning for the state, not one for each attempt
    assert len([one for one in caplog.records if "triggers cannot arrive" in one.getMessage()]) == 1


@needs_mosquitto
def test_a_topic_that_the_user_may_not_read_is_reported(broker: Callable[..., Broker], tmp_path: Path) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write #\n", encoding="utf-8")
    one = broker(f"acl_file {rights}")
    with Following(settings_of(one)) as line:
        # mosquitto 2.0 grants the subscription and then sends nothing: there is no error to report
        until(lambda: line.failing == "" or "refuses the subscription" in line.failing)


@needs_mosquitto
def test_the_certificate_of_the_broker_and_its_name_are_checked(broker: Callable[..., Broker], tmp_path: Path) -> None:
    path = certificate(tmp_path)
    one = broker(f"certfile {path}", f"keyfile {path}.key")
    wrong = Settings(address=f"mqtts://localhost:{one.port}/{TOPIC}")
    with Following(wrong) as line:
        until(lambda: "certificate of the receiver is not accepted" in line.failing)
    right = Settings(address=f"mqtts://localhost:{one.port}/{TOPIC}", ca_file=str(path))
    with Following(right) as line:
        line.connected()


# complaint 6: an end from every state
def test_a_server_that_never_answers_and_one_that_is_away_do_not_delay_the_end() -> None:
    before = threading.active_count()
    with silent_server() as port:
        for number in (port, free_port()):
            line = Following(Settings(address=f"mqtt://127.0.0.1:{number}/{TOPIC}"))
            with line:
                time.sleep(0.2)
                began_s = time.monotonic()
            assert time.monotonic() - began_s < 2.5
    until(lambda: threading.active_count() <= before, 5.0)


def test_a_server_that_sends_no_mqtt_does_not_end_the_triggers() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Following(Settings(address=f"mqtt://127.0.0.1:{port}/{TOPIC}")) as line:
            for _ in range(2):  # it connects again
                accepted, _ = server.accept()
                accepted.recv(1000)
                accepted.sendall(b"\x20\xff\xff\xff\xff" + CANARY.encode())
                accepted.close()
            until(lambda: "the broker mqtt://127.0.0.1" in line.failing)
    assert CANARY not in line.failing


@given(st.binary(max_size=2 * MOST_BYTES).filter(lambda payload: not payload.lstrip().startswith(b"{")))
def test_any_payload_but_an_object_and_an_empty_one_is_refused(payload: bytes) -> None:
    assert isinstance(trigger_of(payload), str) == bool(payload)


@given(
    part=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100),
    number=st.none() | st.integers(0, 2**63 - 1),
)
def test_a_payload_with_a_part_and_a_number_gives_both(part: str, number: int | None) -> None:
    import json

    assert trigger_of(json.dumps({"part": part, "number": number}).encode()[:MOST_BYTES]) in (
        Trigger(part=part, number=number),
        "expected an empty message or a JSON object with part or number, got other content",  # cut
    )


@pytest.mark.parametrize(
    "payload",
    ["7", "[]", "{}", '{"part": ""}', '{"number": "7"}', '{"number": -1}', '{"number": true}', '{"number": 1e30}',
     '{"nummer": 7}',
     '{"part": "a\\nb"}', '{"part": 7}', '{"number": 7} x', "[" * 900, '{"part": "' + "x" * 300 + '"}'],
)  # fmt: skip
def test_another_payload_is_refused(payload: str) -> None:
    assert isinstance(trigger_of(payload.encode()), str)


def test_numbers_that_a_sender_repeats_after_a_reconnection_begin_no_second_part() -> None:
    repeats = Repeats()
    new = [number for number in (5, 6, 7, 5, 6, 7, 8) if not repeats.found(number, 0.0)]
    assert new == [5, 6, 7, 7, 8]  # the last number again is counted by the parts of the line
    assert not repeats.found(5, REPEATED_S + 0.1)  # the controller counts again


def test_a_number_that_arrives_twice_is_one_part() -> None:
    parts = PartDecisions(PartSettings(deadline_s=60.0, trigger="external", max_open=100), SystemClock())
    repeats = Repeats()
    for number in (5, 6, 7, 5, 6, 7, 8, 8):
        if not repeats.found(number, 0.0):
            parts.trigger(number=number)
    status = parts.status()
    parts.close()

    assert (status.open, status.repeated, status.skipped) == (4, 2, 0)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "expected address, got nothing"),
        ({"address": "broker/topic"}, "address: broker/topic: expected mqtt://HOST"),
        ({"address": "mqtt://localhost/a/+"}, r"address: expected one topic without \+ and #"),
        ({"address": "mqtt://localhost/a", "password": {"env": "X"}}, "user: expected a name with a password"),
        ({"address": "mqtt://localhost/a", "qos": 2}, "qos: expected"),
    ],
)
def test_settings_that_do_not_fit_are_refused(table: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        from_table(Settings, table, at="line.toml: line[0].trigger")


def context() -> TriggerContext:
    return TriggerContext(line="press-3", clock=SystemClock(), stop=threading.Event())


def test_plain_text_to_another_machine_needs_the_users_word_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="expected mqtts:// for a broker on another machine"):
        TRIGGER.open(Settings(address="mqtt://10.0.0.5/t"), context())
    TRIGGER.open(Settings(address="mqtt://10.0.0.5/t", insecure=True), context())

    assert caplog.messages == [
        "press-3: triggers and the password leave this machine without encryption (insecure = true)"
    ]


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)

    with pytest.raises(
        MissingExtra, match=r"receiving triggers from an MQTT broker needs paho: pip install .*\[monitor\]"
    ):
        TRIGGER.open(Settings(address="mqtt://localhost/t"), context())
