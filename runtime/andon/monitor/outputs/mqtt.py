"""Publish each event as one MQTT 5 message with quality of service 1.

An event counts as delivered when the broker has acknowledged it (PUBACK). Up to 20 events are in flight. The user property
``key`` has the idempotency key: an event can arrive more than once, and a subscriber drops an event whose key it knows.

The status topic has the retained text ``online``. The broker changes it to ``offline`` when the monitor ends or disappears.

An event that the broker refuses because of its content or its size three times is dead. When the broker is away or hung, all
events wait.
"""

import contextlib
import logging
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.foundation.secret import Secret
from andon.monitor.network_errors import why
from andon.monitor.output import Connected, Delivered, Gone, Message, OutputContext, OutputKind, Refused, Reply
from andon.sources.live.mqtt_subscription import KEEPALIVE_S, tls_context

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

WINDOW = 20
"""Most events in flight. Brokers accept 20 by default."""
CONNECT_S = 5.0
"""Longest time for the TCP connection, and for the TLS handshake."""
_WILL_S = 0.25
"""Time for the last message to the broker before the connection is cut."""
_POISON = frozenset({0x90, 0x95, 0x99})
"""Reason codes of MQTT 5: topic name invalid, packet too large, payload format invalid."""
_OVERSIZE = 0x95
_OVERHEAD = 200
"""Upper limit of the bytes of a packet without topic and payload: fixed header, properties with the key."""
_LEVEL = re.compile(r"[+#/\x00-\x1f\x7f]")


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the output."""

    host: Annotated[str, Meta(min_length=1, description="name or address of the broker")]
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(description="TCP port, none for 8883 with TLS and 1883 without"),
    ] = None
    topic: Annotated[
        str,
        Meta(min_length=1, max_length=1000, description="topic of an event, with the placeholders {line} and {kind}"),
    ] = "andon/{line}/{kind}"
    status_topic: Annotated[
        str,
        Meta(max_length=1000, description="topic of the retained status online or offline, empty for none"),
    ] = "andon/status"
    client_id: Annotated[
        str, Meta(max_length=64, description="client identifier, empty for a random one. Two monitors need two")
    ] = ""
    user: Annotated[str | None, Meta(description="user name")] = None
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    tls: Annotated[bool, Meta(description="encrypt the connection and check the certificate of the broker")] = False
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    insecure: Annotated[
        bool,
        Meta(
            description="allow a connection without TLS to another machine. Everyone on the way can then read the password"
        ),
    ] = False

    def __post_init__(self) -> None:
        for name, topic, allowed in (
            ("topic", self.topic, {"line", "kind"}),
            ("status_topic", self.status_topic, set()),
        ):
            if _wrong_topic(topic, allowed):
                known = "the placeholders {line} and {kind}, and " if allowed else ""
                raise ValueError(
                    f"{name}: expected a topic with {known}without + and #, for example andon/press-3, got {topic!r}. Correct "
                    "it."
                )
        if not self.tls and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                "tls: expected true for a broker on another machine. Set tls = true, or insecure = true if you trust this "
                "network."
            )
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file: expected tls = true with it. Set tls = true, or remove ca_file.")
        if self.password is not None and self.user is None:
            raise ValueError('user: expected a name with a password, got none. Add for example user = "andon".')


def topic_of(template: str, message: Message) -> str:
    """Return the topic of a message. Characters with a meaning in topics are replaced.

    >>> topic_of("plant/{line}/{kind}", Message(1, "", b"", "press-3", "alarm"))
    'plant/press-3/alarm'
    >>> topic_of("plant/{line}/{kind}", Message(1, "", b"", "", "start"))
    'plant/-/start'
    """
    return template.replace("{line}", _level(message.line)).replace("{kind}", _level(message.kind))


def _level(text: str) -> str:
    return _LEVEL.sub("_", text) or "-"


def _wrong_topic(topic: str, allowed: set[str]) -> bool:
    placeholders = set(re.findall(r"{([^{}]*)}", topic))
    rest = re.sub(r"{[^{}]*}", "", topic)
    return bool(placeholders - allowed or re.search(r"[+#{}\x00-\x1f\x7f]", rest) or topic.startswith("$"))


class Mqtt:
    """An output that publishes to an MQTT broker."""

    answer_s = 2.0 * KEEPALIVE_S
    """Longest time for a connection and for an acknowledgement."""

    def __init__(self, settings: Settings) -> None:
        with needs("monitor", "sending events to an MQTT broker"):
            import paho.mqtt.client  # noqa: F401 - a missing package is an error at the start
        self._settings = settings
        self._tls = tls_context(settings.ca_file) if settings.tls else None
        self._password()  # a missing secret, too

    def connect(self, hear: Callable[[Reply], None]) -> "_Connection":
        """Begin a connection with a new client, because a used one would repeat its own messages (complaint 20)."""
        return _Connection(self._settings, self._password(), self._tls, hear)

    def _password(self) -> str | None:
        return self._settings.password.reveal() if self._settings.password is not None else None


class _Connection:
    """One connection to a broker. One thread opens it, then the client's own thread reads and writes."""

    def __init__(
        self, settings: Settings, password: str | None, tls: ssl.SSLContext | None, hear: Callable[[Reply], None]
    ) -> None:
        self._settings = settings
        self._hear = hear
        self._lock = threading.Lock()
        self._closed = False
        self._looping = False
        self._ended = threading.Event()
        self._largest: int | None = None
        self._window = WINDOW
        self._numbers: dict[int, int] = {}
        """Number of the event for each packet identifier in flight."""
        self._early: dict[int, int] = {}
        """Reason codes that arrived before `send` knew the packet identifier."""
        self._online: int | None = None
        """Packet identifier of the status."""
        self._client = self._made(password, tls)
        self._opener = threading.Thread(target=self._open, name="MQTT connection", daemon=True)
        self._opener.start()

    def send(self, message: Message) -> None:
        """Publish a message. The client writes it in its own thread."""
        topic = topic_of(self._settings.topic, message)
        size = len(topic.encode()) + len(message.payload) + _OVERHEAD
        if self._largest is not None and size > self._largest:
            # the broker would end the connection, again and again
            self._hear(Refused(message.seq, f"it is larger than the broker's limit of {self._largest} bytes"))
            return
        try:
            sent = self._client.publish(topic, message.payload, qos=1, properties=_properties(message))
        except ValueError:  # the text has the topic or the payload
            self._hear(Refused(message.seq, "its topic or its size does not fit MQTT"))
            return
        with self._lock:
            code = self._early.pop(sent.mid, None)
            if code is None:
                self._numbers[sent.mid] = message.seq
        if code is not None:
            self._hear(reply_of(message.seq, code))

    def close(self) -> None:
        """Let the broker publish the status offline, then cut the connection."""
        with self._lock:
            self._closed = True
            looping = self._looping
        if looping:
            self._leave()
        self._opener.join(0.0 if looping else 0.1)

    @property
    def hung(self) -> bool:
        """True if a thread still runs."""
        with self._lock:
            return self._opener.is_alive() or (self._looping and not self._ended.is_set())

    def _made(self, password: str | None, tls: ssl.SSLContext | None) -> "Client":
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id or f"andon-{secrets.token_hex(8)}",
            protocol=MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        if self._settings.user is not None:
            client.username_pw_set(self._settings.user, password)
        if tls is not None:
            client.tls_set_context(tls)
        if self._settings.status_topic:
            client.will_set(self._settings.status_topic, "offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _open(self) -> None:
        try:
            self._client.connect(
                self._settings.host,
                self._settings.port or (8883 if self._settings.tls else 1883),
                keepalive=KEEPALIVE_S,
                clean_start=True,
            )
        except Exception as error:  # noqa: BLE001 - the text of a foreign error may contain a secret
            self._hear(Gone(why(error)))
            return
        with self._lock:
            if not self._closed:
                self._client.loop_start()
                self._looping = True
                return
        self._cut()

    def _leave(self) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.reasoncodes import ReasonCode

        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        if not self._ended.wait(_WILL_S):
            self._cut()
            self._ended.wait(_WILL_S)
        if self._ended.is_set():
            self._client.loop_stop()

    def _cut(self) -> None:
        opened: Any = self._client.socket()
        if opened is not None:
            with contextlib.suppress(OSError):
                # not SSLSocket.shutdown, which changes the object that the other thread is using
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def _on_connect(self, _client: object, _data: object, _flags: object, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._hear(Gone(f"the broker refused the connection: {_meaning(code)}"))
            return
        self._largest = getattr(properties, "MaximumPacketSize", None)
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        if not self._settings.status_topic:
            self._hear(Connected(window=self._window))
            return
        # an event goes out after the acknowledgement of the status, which would need a place in the window, too
        self._online = self._client.publish(self._settings.status_topic, "online", qos=1, retain=True).mid

    def _on_publish(self, _client: object, _data: object, mid: int, code: Any, _properties: object) -> None:
        value = int(getattr(code, "value", 0))
        if mid == self._online:
            self._online = None
            if value < 0x80:
                self._hear(Connected(window=self._window))
            else:
                self._hear(Gone(f"the broker refused the status: {_meaning(code)}"))
            return
        with self._lock:
            seq = self._numbers.pop(mid, None)
            if seq is None:
                self._early[mid] = value
        if seq is not None:
            self._hear(reply_of(seq, value))

    def _on_disconnect(self, _client: object, _data: object, _flags: object, code: Any, _properties: object) -> None:
        value = int(getattr(code, "value", 0))
        self._ended.set()
        self._hear(Gone(f"the connection to the broker ended: {_meaning(code)}", oversize=value == _OVERSIZE))


def reply_of(seq: int, code: int) -> Reply:
    """Return the meaning of the reason code of an acknowledgement."""
    if code < 0x80:
        return Delivered(seq)
    if code in _POISON:
        return Refused(seq, f"the broker refused it with the reason code 0x{code:02x}")
    return Gone(f"the broker refused an event with the reason code 0x{code:02x}. Check the rights of the user")


def _meaning(code: Any) -> str:
    """Return the name of a reason code. It is from the standard and not from the broker."""
    return str(code.getName()) if hasattr(code, "getName") else str(code)


def _properties(message: Message) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "application/json"
    properties.UserProperty = ("key", message.key)
    return properties


def _open(settings: Settings, context: OutputContext) -> Mqtt:
    if not settings.tls and not is_loopback(settings.host):
        logger.warning(
            "the output %s: events and the password leave this machine without encryption (insecure = true)",
            context.name,
        )
    return Mqtt(settings)


OUTPUT = OutputKind(
    name="mqtt",
    summary="publish each event to an MQTT broker",
    settings=Settings,
    open=_open,
)
