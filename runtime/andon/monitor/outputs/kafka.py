"""Write each event as one record of an Apache Kafka topic.

The producer is idempotent and waits for all replicas in sync (``acks=all``). An event counts as delivered with its delivery
report. Up to 20 events are in flight. The key of a record is the name of the line, or ``-`` for an event about the process. All
events of a line are therefore in one partition, in their order. The header ``key`` has the idempotency key: an event can arrive
more than once, and a consumer drops an event whose key it knows.

An event that is too large, or that the broker refuses because of its content, is dead after three tries. When the brokers are
away or hung, all events wait.

The client is librdkafka (extra ``[kafka]``). What it logs is in andon's log at the level DEBUG.
"""

import logging
import re
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.monitor.network_errors import why
from andon.monitor.output import Connected, Delivered, Gone, Message, OutputContext, OutputKind, Refused, Reply
from andon.sources.clock import Clock

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

logger = logging.getLogger(__name__)

WINDOW = 20
"""Most events in flight."""
ANSWER_S = 10.0
"""Longest time for a connection and for a delivery report."""
MOST_BYTES = 1_000_000
"""Largest record. Brokers accept about as much by default."""
_IDLE_S = 5.0
"""Time without events after which the connection is tried, so that a hung broker is noticed before the next event."""
_ASK_S = 0.5
"""Longest wait for one answer. `close` waits no longer, because the client cannot be interrupted."""
_POLL_S = 0.1
_CLOSE_S = 0.4
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_PROCESS = "-"
"""Key of an event that belongs to no line. Records without a key would go to any partition."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the output."""

    servers: Annotated[
        str,
        Meta(
            min_length=1, max_length=1000, description="brokers to begin with, as HOST:PORT, with commas between them"
        ),
    ]
    topic: Annotated[str, Meta(min_length=1, max_length=249, description="topic of the events")] = "andon"
    user: Annotated[str | None, Meta(description="user name (SASL)")] = None
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"], Meta(description="how the password is checked")
    ] = "SCRAM-SHA-512"
    tls: Annotated[bool, Meta(description="encrypt the connection and check the certificates of the brokers")] = False
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    cert_file: Annotated[
        str | None, Meta(description="certificate of the monitor, none for a login without", extra={"path": "file"})
    ] = None
    key_file: Annotated[
        str | None, Meta(description="private key of the certificate, without a password", extra={"path": "file"})
    ] = None
    insecure: Annotated[
        bool,
        Meta(
            description="allow a connection without TLS to another machine. Everyone on the way can then read the events"
        ),
    ] = False

    def __post_init__(self) -> None:
        if _TOPIC.fullmatch(self.topic) is None or self.topic in (".", ".."):
            raise ValueError(
                f"topic: expected letters, digits, '.', '_' or '-', for example andon, got {self.topic!r}. Correct it."
            )
        for host in self.hosts:
            if not self.tls and not self.insecure and not is_loopback(host):
                raise ValueError(
                    "tls: expected true for a broker on another machine. Set tls = true, or insecure = true if you trust this "
                    "network."
                )
        if self.password is not None and self.user is None:
            raise ValueError('user: expected a name with a password, got none. Add for example user = "andon".')
        if self.user is not None and self.password is None:
            raise ValueError('password: expected one with a user, got none. Add password = { env = "KAFKA_PASSWORD" }.')
        for name in ("ca_file", "cert_file", "key_file"):
            if getattr(self, name) is not None and not self.tls:
                raise ValueError(f"{name}: expected tls = true with it. Set tls = true, or remove {name}.")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file: expected cert_file and key_file together, got one of them. Add the other.")

    @property
    def hosts(self) -> list[str]:
        """The hosts of the brokers to begin with.

        Raises:
            ValueError: the text is not a list of brokers.
        """
        hosts = []
        for one in self.servers.split(","):
            found = _SERVER.fullmatch(one.strip())
            if found is None or not 0 < int(found["port"]) < 65_536:
                raise ValueError(
                    "servers: expected HOST:PORT, with commas between several, for example kafka-1:9092, got another text. "
                    "Correct it."
                )
            hosts.append(found["host"].strip("[]"))
        return hosts


class Kafka:
    """An output that writes to a topic."""

    answer_s = ANSWER_S

    def __init__(self, settings: Settings, clock: Clock) -> None:
        with needs("kafka", "sending events to Kafka"):
            import confluent_kafka  # noqa: F401 - a missing package is an error at the start
        self._settings = settings
        self._clock = clock
        _check_files(settings)
        self._password()  # a missing secret, too

    def connect(self, hear: Callable[[Reply], None]) -> "_Connection":
        """Begin a connection with a new producer. A used one would go on to send events that the sender sends again."""
        return _Connection(self._settings, self._password(), hear, self._clock)

    def _password(self) -> str | None:
        return self._settings.password.reveal() if self._settings.password is not None else None


class _Connection:
    """One producer, and the thread that waits for its answers."""

    def __init__(self, settings: Settings, password: str | None, hear: Callable[[Reply], None], clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._hear = hear
        self._closed = threading.Event()
        self._problem = ""
        """Reason of the failure. Empty as long as the connection works."""
        self._detail = ""
        """Reason why one of the brokers cannot be reached."""
        self._seen_s = clock.mono_s()
        """Time of the last answer."""
        self._lock = threading.Lock()
        """Held while the producer is used by another thread, so that it is always freed by the thread of the connection."""
        self._producer: Producer | None = _producer(settings, password, self._on_error)
        self._thread = threading.Thread(target=self._run, name="Kafka connection", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Give a message to the client, which sends it in its own thread."""
        from confluent_kafka import KafkaException

        seq = message.seq

        def report(error: "KafkaError | None", _record: object) -> None:
            self._on_report(seq, error)

        with self._lock:
            if self._producer is None or self._closed.is_set():
                return
            try:
                self._producer.produce(
                    self._settings.topic,
                    message.payload,
                    key=message.line or _PROCESS,
                    headers=[("key", message.key.encode())],
                    on_delivery=report,
                )
            except KafkaException as error:
                failure = error.args[0]
            except BufferError:  # not with 20 events in flight
                self._fail("the queue of the client is full")
                return
            else:
                return
        self._on_report(seq, failure)

    def close(self) -> None:
        """Drop what is not delivered, and end the producer."""
        self._closed.set()
        self._thread.join(_CLOSE_S)

    @property
    def hung(self) -> bool:
        """True if the thread still runs."""
        return self._thread.is_alive()

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            if self._open():
                self._serve()
        except Exception as error:  # noqa: BLE001 - the text of a foreign error may contain a secret
            self._fail(f"the client failed ({type(error).__name__})")
        finally:
            with self._lock:
                producer, self._producer = self._producer, None
            assert producer is not None
            producer.purge(blocking=False)
            del producer  # ends the client and its threads

    def _open(self) -> bool:
        until_s = self._clock.mono_s() + ANSWER_S
        reason = "no answer in time"
        while not self._closed.is_set() and not self._problem:
            found = self._ask()
            if found == "":
                self._hear(Connected(window=WINDOW))
                return True
            reason = found or reason
            if self._clock.mono_s() >= until_s:
                self._fail(reason)
        return False

    def _serve(self) -> None:
        self._seen_s = self._clock.mono_s()
        while not self._closed.is_set() and not self._problem:
            producer = self._producer
            assert producer is not None
            producer.poll(_POLL_S)  # its result counts messages of the log, too
            now_s = self._clock.mono_s()
            if len(producer):
                self._seen_s = now_s  # the sender watches events in flight
            elif now_s - self._seen_s >= _IDLE_S + ANSWER_S / 2:
                self._fail("no answer in time")
            elif now_s - self._seen_s >= _IDLE_S and self._ask() == "":
                self._seen_s = self._clock.mono_s()
            del producer

    def _ask(self) -> str | None:
        """Ask for the topic. Return an empty text if the broker knows it, a reason if it does not, or None without an answer."""
        from confluent_kafka import KafkaException

        producer = self._producer
        assert producer is not None
        try:
            answer = producer.list_topics(self._settings.topic, timeout=_ASK_S)
        except KafkaException as error:
            producer.poll(0)  # calls `_on_error`, which knows more
            return None if error.args[0].code() in _silent() else reason_of(error.args[0])
        producer.poll(0)
        hosts = [broker.host for broker in answer.brokers.values()]
        if not self._settings.tls and not self._settings.insecure and not all(map(is_loopback, hosts)):
            self._fail("the broker names a broker on another machine. Set tls = true, or insecure = true")
            return None
        found = answer.topics.get(self._settings.topic)
        if found is None or found.error is not None:
            return reason_of(found.error) if found is not None else "no answer in time"
        self._detail = ""
        return ""

    def _on_report(self, seq: int, error: "KafkaError | None") -> None:
        if error is None:
            self._seen_s = self._clock.mono_s()
            self._hear(Delivered(seq))
        elif error.code() in _poison():
            self._hear(Refused(seq, reason_of(error)))
        else:
            self._fail(reason_of(error))

    def _on_error(self, error: "KafkaError") -> None:
        from confluent_kafka import KafkaError

        if error.fatal():
            self._fail(reason_of(error))
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._fail(self._detail or reason_of(error))
        elif error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE):
            self._detail = reason_of(error)  # another broker may be reached

    def _fail(self, reason: str) -> None:
        if self._problem or self._closed.is_set():
            return
        self._problem = reason
        self._hear(Gone(reason))


def reason_of(error: "KafkaError") -> str:
    """Return the meaning of an error. The texts are constants: those of the client name hosts, and those of brokers anything."""
    from confluent_kafka import KafkaError

    code = error.code()
    known = {
        KafkaError._ALL_BROKERS_DOWN: "no broker can be reached",
        KafkaError._TRANSPORT: "no broker can be reached",
        KafkaError._RESOLVE: "the name of a broker cannot be looked up",
        KafkaError._AUTHENTICATION: "the broker refuses the user or the password, or knows no login of this kind",
        KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refuses the user or the password",
        KafkaError._SSL: "TLS failed. Check ca_file, and the names in the certificate of the broker",
        KafkaError._MSG_TIMED_OUT: "no answer in time",
        KafkaError._TIMED_OUT: "no answer in time",
        KafkaError._UNKNOWN_TOPIC: "the topic does not exist",
        KafkaError.UNKNOWN_TOPIC_OR_PART: "the topic does not exist",
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "the user may not write to the topic",
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the user may not write with an idempotent producer",
        KafkaError.MSG_SIZE_TOO_LARGE: "it is larger than the broker accepts",
    }
    return known.get(code) or f"the client reports: {printable(KafkaError(code).str())}"


def _poison() -> frozenset[int]:
    """Return the errors that are about the content of one event."""
    from confluent_kafka import KafkaError

    return frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD})


def _silent() -> frozenset[int]:
    """Return the errors that only mean that there was no answer yet."""
    from confluent_kafka import KafkaError

    return frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT})


class _ClientLog:
    """Takes what librdkafka logs. Without it, the library would write to standard error, past our redaction (complaint 25)."""

    @staticmethod
    def log(_level: int, text: str, *values: object) -> None:
        logger.debug("librdkafka: %s", printable(text % values if values else text, limit=1000))


def _producer(settings: Settings, password: str | None, on_error: Callable[["KafkaError"], None]) -> "Producer":
    from confluent_kafka import Producer

    config: dict[str, Any] = {
        "bootstrap.servers": settings.servers,
        "client.id": "andon",
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2",  # the same partitions as of Java producers
        "linger.ms": 1,
        "message.max.bytes": MOST_BYTES,
        "message.timeout.ms": int(ANSWER_S * 900),  # before the sender gives up, so that the reason is known
        "request.timeout.ms": int(ANSWER_S * 900),
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": int(ANSWER_S * 500),
        "reconnect.backoff.max.ms": 1000,
        "enable.metrics.push": False,  # the client would send its figures to the broker
        "error_cb": on_error,
        "logger": _ClientLog(),
        "security.protocol": ("SASL_" if password is not None else "") + ("SSL" if settings.tls else "PLAINTEXT"),
    }
    if password is not None:
        config |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.user,
            "sasl.password": password,
        }
    for key, value in (
        ("ssl.ca.location", settings.ca_file),
        ("ssl.certificate.location", settings.cert_file),
        ("ssl.key.location", settings.key_file),
    ):
        if value is not None:
            config[key] = value
    try:
        return Producer(config)
    except Exception as error:  # noqa: BLE001 - its text may contain a setting
        raise ConfigError(
            f"Kafka: the client refuses the settings ({type(error).__name__}). Check the certificates and their key."
        ) from None


def _check_files(settings: Settings) -> None:
    """Refuse files that the client could not use.

    Raises:
        ConfigError: see above.
    """
    if not settings.tls:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "ca_file"
    try:
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
        name = "cert_file"
        if settings.cert_file is not None:
            # a key with a password would else ask for it on the terminal
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {getattr(settings, name)}: expected PEM form: {why(error)}.") from error


def _open(settings: Settings, context: OutputContext) -> Kafka:
    if not settings.tls and not all(map(is_loopback, settings.hosts)):
        logger.warning("the output %s: events leave this machine without encryption (insecure = true)", context.name)
    return Kafka(settings, context.clock)


OUTPUT = OutputKind(
    name="kafka",
    summary="write each event to a Kafka topic",
    settings=Settings,
    open=_open,
)
