"""Subscribe to one topic of an MQTT broker: address, login, encryption, and a client that connects again for ever.

Messages that were kept by the broker (retained) are left out, because they may be old. The session is clean: messages from the
time of an interruption would arrive too late.
"""

import contextlib
import logging
import re
import ssl
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

from msgspec import Meta, Struct

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.sources.addresses import shown_address

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger(__name__)

KEEPALIVE_S = 5
"""Interval of the pings. The client notices a hung broker after about twice this time (complaint 20)."""
_CONNECT_S = 2.0
_END_S = 1.0
_AGAIN_S = 1.0
_ADDRESS = re.compile(
    r"mqtts?://(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:@\s]+)(?::(?P<port>\d{1,5}))?/(?P<topic>[^\s?#][^\s?]*)"
)


class Login(Struct, frozen=True, kw_only=True):
    """Settings of the connection to a broker. Other settings inherit them."""

    user: Annotated[str | None, Meta(description="user name at the broker")] = None
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    insecure: Annotated[
        bool,
        Meta(description="allow mqtt:// to another machine. Everyone on the way can then read and change the messages"),
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


def require_encryption(broker: Broker, login: Login) -> None:
    """Refuse a connection to another machine without encryption, unless the settings allow it.

    Raises:
        ConfigError: see above.
    """
    if not broker.tls and not login.insecure and not is_loopback(broker.host):
        raise ConfigError(
            f"{broker.shown}: expected mqtts:// for a broker on another machine. Use it, or set insecure = true if "
            "no one else can reach this network."
        )


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the settings of an encrypted connection that checks the certificate of the broker.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigError(f"ca_file: {ca_file}: expected certificates in PEM form: {printable(reason)}.") from error
    context.sslsocket_class = _ClosedOnFailure
    return context


class _ClosedOnFailure(ssl.SSLSocket):
    """A socket that is closed when its handshake fails. The MQTT client leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class Problem(Struct, frozen=True, kw_only=True):
    """The reason why no message can arrive."""

    text: str
    """The event, for example ``the connection is lost``."""
    detail: str = ""
    """Text of the protocol's standard, without text that the broker wrote."""
    error: OSError | None = None
    """The error of a failed connection. Its text may contain a secret."""


class MqttSubscription:
    """See the module. Its thread starts with `start` and ends with `close`.

    Args:
        broker: address and topic.
        login: see `Login`. The password is read now, and again at each attempt to connect.
        qos: quality of service of the subscription.
        purpose: the task that needs the broker, for the message about a missing package.
        on_message: takes the payload of each message, in order, in the thread of the client. It is fast and never raises.
        on_state: takes None when messages can arrive, and the problem when they cannot, in the same thread.

    Raises:
        ConfigError: the password or the file of certificates cannot be read, or `require_encryption` refuses the address.
        MissingExtra: paho-mqtt is not installed.
    """

    def __init__(
        self,
        broker: Broker,
        login: Login,
        *,
        qos: int,
        purpose: str,
        on_message: Callable[[bytes], None],
        on_state: Callable[[Problem | None], None],
    ) -> None:
        require_encryption(broker, login)
        self._broker = broker
        self._login = login
        self._qos = qos
        self._on_payload = on_message
        self._on_state = on_state
        self._refused = False
        self._ended = threading.Event()
        self._client = self._made(purpose)
        # not the thread of paho's `loop_start`: `loop_stop` would wait for a blocked connection attempt
        self._thread = threading.Thread(target=self._run, name=f"andon {broker.shown}", daemon=True)

    def start(self) -> None:
        """Begin to connect, without waiting for the broker."""
        self._thread.start()

    def close(self) -> None:
        """End the connection and the thread. An attempt to connect ends with its own timeout of 2 s."""
        self._ended.set()
        self._client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_S)

    def _made(self, purpose: str) -> "Client":
        with needs("monitor", purpose):
            import paho.mqtt.client
            from paho.mqtt.enums import CallbackAPIVersion
        # a random client identifier and a clean session, see the module
        client = paho.mqtt.client.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.reconnect_delay_set(min_delay=1, max_delay=2)
        client.connect_timeout = _CONNECT_S
        self._give_password(client)
        if self._broker.tls:
            client.tls_set_context(tls_context(self._login.ca_file))
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _give_password(self, client: "Client") -> None:
        login = self._login
        if login.user is not None:
            client.username_pw_set(login.user, login.password.reveal() if login.password is not None else None)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._client.connect_async(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
                self._client.loop_forever(retry_first_connection=True)
            except Exception as error:  # noqa: BLE001 - the client raises on answers that are not MQTT
                # its text may have bytes of the broker
                self._state(Problem(text="the client failed", detail=type(error).__name__))
            self._ended.wait(_AGAIN_S)

    def _state(self, problem: Problem | None) -> None:
        if not self._ended.is_set():
            self._on_state(problem)

    def _on_pre_connect(self, client: "Client", _data: object) -> None:
        with contextlib.suppress(AndonError):  # the old password stays; the broker will refuse it if it changed
            self._give_password(client)

    def _on_connect(self, client: "Client", _data: object, _flags: object, code: Any, _properties: object) -> None:
        self._refused = bool(code.is_failure)
        if self._refused:
            self._state(Problem(text="refuses the connection", detail=str(code)))
            return
        client.subscribe(self._broker.topic, qos=self._qos)

    def _on_connect_fail(self, _client: "Client", _data: object) -> None:
        error = sys.exc_info()[1]  # the client calls this while it handles the error
        self._state(Problem(text="cannot be reached", error=error if isinstance(error, OSError) else None))

    def _on_subscribe(self, _client: "Client", _data: object, _number: int, codes: list[Any], _more: object) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        self._refused = bool(refused)
        self._state(Problem(text="refuses the subscription", detail=refused[0]) if refused else None)

    def _on_disconnect(self, _client: "Client", _data: object, _flags: object, code: Any, _properties: object) -> None:
        if not self._refused:  # else the reason is known, and would change twice at each attempt
            self._state(Problem(text="the connection is lost", detail=str(code)))

    def _on_message(self, _client: "Client", _data: object, message: Any) -> None:
        if not message.retain and not self._ended.is_set():
            self._on_payload(message.payload)
