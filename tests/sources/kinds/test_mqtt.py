"""Samples from an MQTT broker become windows. The broker is mosquitto on loopback."""

import json
import logging
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError
from andon.foundation.secret import Secret
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.kinds import mqtt
from andon.sources.kinds.mqtt import MOST_WAITING, MqttStream, Settings
from andon.sources.live.mqtt_subscription import Broker, parse_address
from andon.sources.series.line_reader import MOST_BYTES

paho: Any = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs the package mosquitto")

SPEC = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="voltage"), Channel(name="current")))
TOPIC = "press-3/samples"


class Mosquitto:
    """A broker on loopback that a test can stop and start again."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}/{TOPIC}"

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + 10.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
            except OSError:
                assert time.monotonic() < until_s, "the broker does not start"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10.0)


class Publisher:
    """A sender of samples, one a second of source time."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(TOPIC, payload, qos=1, retain=retain).wait_for_publish(10.0)

    def rows(self, begin: int, end: int) -> None:
        for at in range(begin, end):
            self.send(line(at))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def line(at: int) -> str:
    return json.dumps({"t": float(at), "values": {"voltage": at * 1.5, "current": -at}})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def publisher(broker: Mosquitto) -> Iterator[Publisher]:
    publisher = Publisher(broker.port)
    yield publisher
    publisher.close()


class Follower:
    """A stream that is read in a thread of its own."""

    def __init__(self, url: str, settings: Settings, spec: WindowSpec = SPEC) -> None:
        self.stop = threading.Event()
        self.items: list[Item | Lost] = []
        self.stream = mqtt.stream(url, spec, settings, SystemClock(), self.stop)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for item in self.stream:
            self.items.append(item)

    def wait(self, done: Callable[[list[Item | Lost]], bool], limit_s: float = 15.0) -> None:
        until_s = time.monotonic() + limit_s
        while not done(self.items):
            assert time.monotonic() < until_s, f"after {limit_s} s: {self.items}"
            time.sleep(0.01)

    def end(self) -> float:
        began_s = time.monotonic()
        self.stop.set()
        self.thread.join(10.0)
        return time.monotonic() - began_s


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    followers = []

    def start(url: str, **settings: Any) -> Follower:
        followers.append(Follower(url, Settings(**{"stale_after_s": 30.0, **settings})))
        return followers[-1]

    yield start
    for follower in followers:
        follower.end()


def connected(caplog: pytest.LogCaptureFixture, times: int = 1) -> None:
    until_s = time.monotonic() + 15.0
    while [record.getMessage().endswith("connected") for record in caplog.records].count(True) < times:
        assert time.monotonic() < until_s, caplog.text
        time.sleep(0.01)


def keys(items: list[Item | Lost]) -> list[str]:
    return [item.ref.key for item in items if isinstance(item, Item)]


@needs_broker
def test_samples_become_the_windows_that_standard_input_would_give(
    broker: Mosquitto, publisher: Publisher, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="andon")
    follower = follow(broker.url)
    connected(caplog)
    publisher.send("\n".join(line(at) for at in range(6)))
    publisher.rows(6, 13)
    follower.wait(lambda items: len(keys(items)) == 4)

    name = f"mqtt://127.0.0.1/{TOPIC}"
    assert keys(follower.items) == [f"{name}#{at}" for at in (3, 5, 7, 9)]
    first = next(item for item in follower.items if isinstance(item, Item))
    assert first.data.tolist() == [[at * 1.5, -at] for at in range(4)]


@needs_broker
def test_damage_too_long_and_retained_messages_do_not_stop_the_stream(
    broker: Mosquitto, publisher: Publisher, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="andon")
    publisher.send(line(500), retain=True)  # from another day: with it, all others would be late
    follower = follow(broker.url)
    connected(caplog)
    publisher.send("no json")
    publisher.send(b"x" * (MOST_BYTES + 5))
    publisher.rows(0, 12)
    follower.wait(lambda items: len(keys(items)) >= 2)

    lost = [item for item in follower.items if isinstance(item, Lost) and item.reason is Reason.UNREADABLE]
    assert [item.detail.split(":")[0] for item in lost] == ["line 1", "line 2"]
    assert f"expected at most {MOST_BYTES} bytes" in lost[1].detail


@needs_broker
@pytest.mark.slow
def test_a_broker_that_ends_is_a_silence_and_after_its_return_samples_are_judged_again(
    broker: Mosquitto, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 5: detection never resumes though the camera is back
    caplog.set_level(logging.INFO, logger="andon")
    follower = follow(broker.url, stale_after_s=0.5)
    connected(caplog)
    broker.stop()
    follower.wait(lambda items: any(item.reason is Reason.STALE for item in items if isinstance(item, Lost)))
    broker.start()
    connected(caplog, times=2)
    publisher = Publisher(broker.port)
    publisher.rows(0, 12)
    follower.wait(lambda items: len(keys(items)) >= 2)
    publisher.close()

    states = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert states[0] == states[-1] == "connected"
    assert len(states) <= 4, states


@needs_broker
@pytest.mark.slow
def test_a_broker_that_hangs_is_a_silence_and_can_be_stopped(
    broker: Mosquitto, follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="andon")
    follower = follow(broker.url, stale_after_s=0.5)
    connected(caplog)
    broker.process.send_signal(signal.SIGSTOP)
    follower.wait(lambda items: any(item.reason is Reason.STALE for item in items if isinstance(item, Lost)))

    assert follower.end() < 2.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon mqtt")]


def test_a_broker_that_is_not_there_is_a_state_and_can_be_stopped(
    follow: Callable[..., Follower], caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 6: a pipeline whose first connect failed cannot be stopped
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    follower = follow(f"mqtt://127.0.0.1:{port}/a", stale_after_s=0.2)
    follower.wait(lambda items: len(items) >= 2)

    assert {item.reason for item in follower.items if isinstance(item, Lost)} == {Reason.STALE}
    assert follower.end() < 2.0
    assert [record.getMessage() for record in caplog.records] == ["mqtt://127.0.0.1/a: cannot be reached"]


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://localhost/a/b", Broker("localhost", 1883, "a/b", tls=False)),
        ("mqtts://h.example:1234/a", Broker("h.example", 1234, "a", tls=True)),
        ("mqtt://[::1]:77/line/+/samples", Broker("::1", 77, "line/+/samples", tls=False)),
        ("mqtt://localhost/a/#", Broker("localhost", 1883, "a/#", tls=False)),
    ],
)
def test_an_address_names_the_broker_and_the_topic(text: str, broker: Broker) -> None:
    assert mqtt.SOURCE.accepts(text)
    assert parse_address(text) == broker


@pytest.mark.parametrize(
    "text", ["mqtt://u:CANARY@h/t", "mqtt://h", "mqtt://h/", "mqtt:///t", "mqtt://h:99999/t", "mqtt", "mqtt://h/a b"]
)
def test_another_address_is_refused_without_showing_a_password(text: str) -> None:
    # complaint 25: passwords in messages
    with pytest.raises(ConfigError, match="expected mqtt://HOST") as refused:
        parse_address(text)
    assert "CANARY" not in str(refused.value)


def test_plain_text_beyond_this_machine_needs_a_decision() -> None:
    text, clock = "mqtt://10.0.0.5/t", FakeClock()
    with pytest.raises(ConfigError, match="expected mqtts:// for a broker on another machine"):
        mqtt.stream(text, SPEC, Settings(), clock, threading.Event())

    for address, settings in ((text, Settings(insecure=True)), ("mqtts://10.0.0.5/t", Settings())):
        assert isinstance(mqtt.stream(address, SPEC, settings, clock, threading.Event()), MqttStream)


def test_a_password_that_cannot_be_read_or_has_no_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    settings = Settings(user="andon", password=Secret(env="NO_SUCH_SECRET"))
    with pytest.raises(ConfigError, match="NO_SUCH_SECRET"):
        mqtt.stream("mqtt://localhost/t", SPEC, settings, FakeClock(), threading.Event())
    with pytest.raises(ValueError, match="expected a name with a password"):
        Settings(password=Secret(env="X"))


def test_a_file_of_certificates_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    settings = Settings(ca_file=str(tmp_path / "none.pem"))

    with pytest.raises(ConfigError, match=r"ca_file: .*none.pem: expected certificates in PEM form: No such file"):
        mqtt.stream("mqtts://localhost/t", SPEC, settings, FakeClock(), threading.Event())


def test_a_model_file_for_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="judges frames"):
        mqtt.stream(
            "mqtt://localhost/t", FrameSpec(channels=3, size=(8, 8)), Settings(), FakeClock(), threading.Event()
        )


def test_messages_that_wait_are_bounded_and_the_dropped_ones_are_counted() -> None:
    # complaint 9: queues bounded by count and size; complaint 8: nothing is lost silently
    inbox = mqtt._Inbox()
    for number in range(MOST_WAITING + 7):
        inbox.put(b"%d" % number, 0.0)
    assert inbox.take_lost() == 7
    assert inbox.take(0.0)[0] == b"7"
    for _ in range(20):
        inbox.put(b"x" * 1_000_000, 0.0)
    assert inbox.take_lost() == 4
    assert (len(inbox.take(0.0)), inbox.take_lost()) == (16, 0)
