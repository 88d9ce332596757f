"""A Kafka broker for tests: the mock cluster of librdkafka in a process of its own, behind a port that stays the same.

It speaks the protocol, and forgets everything when it ends.
"""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from tests.monitor.receivers import free_port, until
from tests.stopped_process import stop

confluent_kafka: Any = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed (extra [kafka])")

TOPIC = "andon"
_CLUSTER = """
import sys
from confluent_kafka import Producer

class Silent:
    def log(self, *_): pass

producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "logger": Silent()})
broker = next(iter(producer.list_topics(timeout=20).brokers.values()))
print(broker.port, flush=True)
sys.stdin.read()
"""


class Forwarder:
    """Pass connections on to the present port of the broker. Brokers of this kind choose a new port at each start."""

    def __init__(self) -> None:
        self.port = free_port()
        self._target: int | None = None
        self._server: socket.socket | None = None

    def start(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def end(self) -> None:
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target or 0)) as upstream,
        ):
            other = {client: upstream, upstream: client}
            while self._server is not None:
                for one in select.select([client, upstream], [], [], 0.05)[0]:
                    data = one.recv(65_536)
                    if not data:
                        return
                    other[one].sendall(data)


class KafkaBroker:
    """The broker. It is started and ended by its own process id."""

    def __init__(self) -> None:
        self._forwarder = Forwarder()
        self._process: subprocess.Popen[str] | None = None
        self.direct = 0
        """The broker's own port of this start."""

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self._forwarder.port}"

    def start(self) -> "KafkaBroker":
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.direct = int(self._process.stdout.readline())
        self._forwarder.start(self.direct)
        return self

    def pause(self) -> None:
        assert self._process is not None
        stop(self._process.pid)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._forwarder.end()
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.communicate()
            self._process = None


class Reader:
    """A consumer that keeps all records of a broker's topic, from the beginning."""

    def __init__(self, broker: KafkaBroker, topic: str = TOPIC) -> None:
        self.records: list[Any] = []
        self._stop = threading.Event()
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{broker.direct}",
                "group.id": "reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "logger": _Silent(),
            }
        )
        found: list[Any] = []

        def known() -> bool:
            topics = self._consumer.list_topics(topic, timeout=5.0).topics
            found[:] = topics[topic].partitions
            return bool(found)

        until(known)
        places = [confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING) for number in found]
        self._consumer.assign(places)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            self.records += [one for one in self._consumer.consume(1000, 0.05) if one.error() is None]

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    @property
    def keys(self) -> list[str]:
        return [dict(record.headers())["key"].decode() for record in self.records]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events as a consumer sees them that drops the keys it knows."""
        return [int(key, 16) for key in dict.fromkeys(self.keys)]

    def quiet(self, s: float = 0.5) -> None:
        """Wait until no further record arrives for some time."""
        count, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < s:
            if len(self.records) != count:
                count, since_s = len(self.records), time.monotonic()
            time.sleep(0.02)


class _Silent:
    def log(self, *_: object) -> None:
        pass
