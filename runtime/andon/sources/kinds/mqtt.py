"""Sensor samples as JSON from an MQTT broker.

Each message has one or more lines, in the format of `sample_lines`. A message that the broker sends twice changes nothing: a
sample with the same time stamp replaces itself.

The client connects again for ever, and a silence is reported as for standard input. Messages that were kept by the broker
(retained) are ignored, because they may be old. A message is at most 1 MB. If the judge cannot keep up, waiting messages are
dropped, counted, and reported as INVALID (gap).
"""

import itertools
import logging
import re
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.sources.addresses import shown_address
from andon.sources.clock import Clock
from andon.sources.live.sample_stream import Sender, receive
from andon.sources.series.line_reader import MOST_BYTES, Oddity, Read
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

KEEPALIVE_S = 5
"""Interval of the pings. The client notices a hung broker after about twice this time; the silence is reported earlier."""
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 16_000_000
"""Limits of the messages that wait for the judge."""
EXPENSIVE_HZ = 200.0
"""Messages per second above which one message per sample is worth a warning."""
_RATE_OVER_S = 5.0
_NAP_S = 0.1
_ADDRESS = re.compile(
    r"mqtts?://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\s]+)(?::(?P<port>\d{1,5}))?/(?P<topic>[^\s?#][^\s?]*)"
)


class Settings(Struct, frozen=True, kw_only=True):
    """Settings for receiving samples from a broker."""

    stale_after_s: StaleAfter = 2.0
    user: Annotated[str | None, Meta(description="user name at the broker")] = None
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    qos: Annotated[
        Literal[0, 1], Meta(description="quality of service of the subscription", extra={"unit": "level"})
    ] = 1
    insecure: Annotated[
        bool,
        Meta(description="allow mqtt:// to another machine. Everyone on the way can then read and change the samples"),
    ] = False

    def __post_init__(self) -> None:
        if self.password is not None and self.user is None:
            raise ValueError('user: expected a name with a password, got none. Add for example user = "andon".')


class Broker(Struct, frozen=True):
    """The parts of an address."""

    host: str
    port: int
    topic: str
    tls: bool

    @property
    def shown(self) -> str:
        """The address for messages and keys."""
        return printable(f"mqtt{'s' if self.tls else ''}://{self.host}/{self.topic}")


def parse_address(text: str) -> Broker:
    """Return the parts of ``mqtt://HOST[:PORT]/TOPIC`` or ``mqtts://HOST[:PORT]/TOPIC``. The topic may have wildcards.

    Raises:
        ConfigError: the text is not such an address, or contains a user name.

    >>> parse_address("mqtts://broker.plant/press-3/samples")
    Broker(host='broker.plant', port=8883, topic='press-3/samples', tls=True)
    """
    found = _ADDRESS.fullmatch(text.replace("#", "%23"))
    port = int(found["port"]) if found is not None and found["port"] else 0
    if found is None or port > 65_535:
        raise ConfigError(
            f"{shown_address(text)}: expected mqtt://HOST[:PORT]/TOPIC, or mqtts:// for TLS, without a user name, got another "
            "address. Give the user and password as settings."
        )
    tls = text.lower().startswith("mqtts:")
    return Broker(found["host"].strip("[]"), port or (8883 if tls else 1883), unquote(found["topic"]), tls)


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> "MqttStream":
    """Return the windows of the samples from a topic. If the broker does not exist yet, the stream waits for it.

    Raises:
        ConfigError: the model file judges frames, the address is wrong, a secret or certificate cannot be read, or the
            connection would leave this machine without encryption.
        MissingExtra: paho-mqtt is not installed.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{shown_address(text)}: this model file judges frames: expected pictures or a video, got sensor values of a broker."
        )
    broker = parse_address(text)
    if not broker.tls and not settings.insecure and not is_loopback(broker.host):
        raise ConfigError(
            f"{broker.shown}: expected mqtts:// for a broker on another machine. Use it, or set insecure = true if "
            "no one else can reach this network."
        )
    return MqttStream(_client(broker, settings), broker, spec, settings, clock=clock, stop=stop)


class MqttStream:
    """The windows of the samples from a topic.

    The client's thread starts with the first `next` and ends with `close` or the stop event.
    """

    def __init__(
        self,
        client: "Client",
        broker: Broker,
        spec: WindowSpec,
        settings: Settings,
        *,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._broker = broker
        self._clock = clock
        # not the thread of paho's `loop_start`: `loop_stop` would wait for a blocked connection attempt
        self._thread = threading.Thread(
            target=client.loop_forever,
            kwargs={"retry_first_connection": True},
            name=f"andon {broker.shown}",
            daemon=True,
        )
        self._qos = settings.qos
        self._stop = stop
        self._inbox = _Inbox()
        self._connected = ""
        self._ended = False
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._log("cannot be reached", "")
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        sender = Sender(broker.shown, broker.shown)
        self._items = self._follow(
            receive(self._reads(), spec, sender, clock, stop, stale_after_s=settings.stale_after_s)
        )

    def __iter__(self) -> "MqttStream":
        return self

    def __next__(self) -> Item | Lost:
        return next(self._items)

    def close(self) -> None:
        """End the connection and the client's thread."""
        self._ended = True
        self._client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)  # an attempt to connect ends with its own timeout

    def _follow(self, windows: Iterator[Item | Lost]) -> Iterator[Item | Lost]:
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
        self._thread.start()
        numbers = itertools.count(1)
        try:
            for item in windows:
                if lost := self._inbox.take_lost():
                    ref = Ref(key=f"{self._broker.shown}:overrun{next(numbers)}", group=self._broker.shown)
                    yield Lost(ref, Reason.GAP, f"{lost} messages were dropped, because too many waited for the judge")
                yield item
        finally:
            self.close()

    def _reads(self) -> Iterator[Read]:
        while not self._stop.is_set() and not self._ended:
            lines: list[bytes | Oddity] = []
            payloads = self._inbox.take(_NAP_S)
            for payload in payloads:
                if len(payload) > MOST_BYTES:
                    lines.append(Oddity.TOO_LONG)
                else:
                    lines += [line for line in payload.split(b"\n") if line.strip()] or [payload]
            yield Read(tuple(lines), sum(map(len, payloads)))

    def _on_connect(self, client: "Client", _data: object, _flags: object, code: Any, _properties: object) -> None:
        if code.is_failure:
            self._log("refuses the connection", str(code))
            return
        client.subscribe(self._broker.topic, qos=self._qos)

    def _on_subscribe(self, _client: "Client", _data: object, _number: int, codes: list[Any], _more: object) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            self._log("refuses the subscription", refused[0])
        else:
            self._log("connected", "", level=logging.INFO)

    def _on_disconnect(self, _client: "Client", _data: object, _flags: object, code: Any, _properties: object) -> None:
        if not self._stop.is_set() and not self._ended:
            self._log("the connection is lost", str(code))

    def _log(self, state: str, why: str, *, level: int = logging.WARNING) -> None:
        text = f"{state} ({printable(why)})" if why else state
        if text != self._connected:  # once per change, not once per attempt: attempts go on for months
            logger.log(level, "%s: %s", self._broker.shown, text)
        self._connected = text

    def _on_message(self, _client: "Client", _data: object, message: Any) -> None:
        if message.retain:
            return
        text = self._inbox.put(message.payload[: MOST_BYTES + 1], self._clock.mono_s())
        if text:
            logger.warning("%s: %s", self._broker.shown, text)


class _Inbox:
    """The messages that wait for the judge, bounded by number and bytes. The oldest are dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._rate = MessageRate()

    def put(self, payload: bytes, now_s: float) -> str:
        """Add a message. Return a warning about the rate, at most once."""
        with self._changed:
            self._waiting.append(payload)
            self._bytes += len(payload)
            while len(self._waiting) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES:
                self._bytes -= len(self._waiting.popleft())
                self._lost += 1
            self._changed.notify()
            return self._rate.count(payload, now_s)

    def take(self, timeout_s: float) -> list[bytes]:
        """Return all waiting messages in order, or none if nothing arrives within the timeout."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            payloads = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return payloads

    def take_lost(self) -> int:
        """Return the number of messages that were dropped since the last call."""
        with self._changed:
            lost, self._lost = self._lost, 0
            return lost


def advice(period_s: float) -> str:
    """Return advice on the messages for a model file that needs a sample each `period_s`. Empty for a low rate.

    >>> advice(1.0)
    ''
    """
    if period_s * EXPENSIVE_HZ > 1.0:
        return ""
    return (
        f"the model file needs {1 / period_s:.0f} samples of each channel per second: send blocks of samples, because one "
        "message per sample costs far more CPU time"
    )


class MessageRate:
    """Notices that a sender uses one message per sample at a high rate. Time is an argument."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._messages = 0
        self._warned = False

    def count(self, payload: bytes, now_s: float) -> str:
        """Count a message. Return a warning once, if the rate was too high for some seconds and this message is one sample."""
        if self._warned:
            return ""
        if self._since_s is None:
            self._since_s = now_s
        self._messages += 1
        took_s = now_s - self._since_s
        if took_s < _RATE_OVER_S:
            return ""
        rate_hz = self._messages / took_s
        self._since_s, self._messages = now_s, 0
        if rate_hz < EXPENSIVE_HZ or payload.strip().count(b"\n"):
            return ""
        self._warned = True
        return (
            f"{rate_hz:.0f} messages per second arrive. A message costs far more CPU time than a sample. Send blocks, such as "
            '{"t": [12.300, 12.301], "values": {"voltage": [48.1, 48.0]}}'
        )


def _client(broker: Broker, settings: Settings) -> "Client":
    with needs("monitor", "receiving samples from an MQTT broker"):
        import paho.mqtt.client
        from paho.mqtt.enums import CallbackAPIVersion
    # a random client identifier and a clean session: samples from the time of an interruption would arrive too late
    client = paho.mqtt.client.Client(CallbackAPIVersion.VERSION2, clean_session=True)
    client.reconnect_delay_set(min_delay=1, max_delay=2)
    client.connect_timeout = 2.0
    if settings.user is not None:
        client.username_pw_set(settings.user, settings.password.reveal() if settings.password is not None else None)
    if broker.tls:
        try:
            client.tls_set_context(ssl.create_default_context(cafile=settings.ca_file))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"ca_file: expected a file of certificates, but it cannot be used: {printable(str(error))}."
            ) from error
    return client


def _accepts(text: str) -> bool:
    return text.lower().startswith(("mqtt://", "mqtts://"))


SOURCE = Source(
    name="mqtt",
    summary="sensor samples as JSON from an MQTT broker (mqtt://host/topic)",
    accepts=_accepts,
    settings=Settings,
    stream=stream,
    endless=lambda _text, _settings: True,
)
