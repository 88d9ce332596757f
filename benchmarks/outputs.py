"""Measure how outputs drain a backlog after the receiver was away and hung: order, duplicates, memory and rate.

    OMP_NUM_THREADS=1 python -m benchmarks.outputs mqtt        # needs the broker mosquitto
    OMP_NUM_THREADS=1 python -m benchmarks.outputs webhook
    OMP_NUM_THREADS=1 python -m benchmarks.outputs kafka
    OMP_NUM_THREADS=1 python -m benchmarks.outputs mqtt --store FOLDER

The receiver is on this machine, in a process of its own. It is away for ``--away-s`` after the start of the sender, then it
comes. In the middle of the backlog it hangs for ``--hang-s`` (SIGSTOP). A subscriber with a durable session (or the HTTP server)
drops known keys. It checks that the numbers that are left are 1, 2, 3 and so on, without a gap. The broker for Kafka has no
disk and keeps 5 MB. It is silent in place of away, and a consumer reads the topic during the run.

The outbox makes each event when it is read, so that only the memory of the sender is measured. With ``--store`` it is the event
store in a new folder below FOLDER (SQLite). The store gets all events before the start of the sender, and ``stored_per_s`` is the
rate at which it took them.

Prints one JSON line. ``rss_*_mb`` is the resident memory of the process with the sender: before its start, after the time
without a receiver, and the highest during the drain. ``rate`` is events per second without the time of the hang.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from andon.monitor.event import Event, EventsLost, Rejected, encode
from andon.monitor.outbox import Outbox, Waiting
from andon.monitor.output import Output, OutputContext
from andon.monitor.outputs import kafka, mqtt, webhook
from andon.monitor.records import Record
from andon.monitor.sender import Sender
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock

Figures = dict[str, object]


class GeneratedOutbox:
    """An outbox of `count` events that holds only numbers."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.done_to = 0

    def page(self, after: int, limit: int) -> list[Waiting]:
        begin = max(after, self.done_to)
        numbers = range(begin + 1, min(begin + limit, self._count) + 1)
        return [Waiting(seq, key_of(seq), encode(event(seq)), 0) for seq in numbers]

    def done(self, up_to: int) -> None:
        self.done_to = max(self.done_to, up_to)

    def refused(self, seq: int) -> None:
        raise AssertionError(f"event {seq} was refused")

    def bury(self, seq: int, reason: str) -> None:
        raise AssertionError(f"event {seq} is dead: {reason}")

    def backlog(self) -> int:
        return self._count - self.done_to


def filled(writer: StoreWriter, count: int) -> float:
    """Put events into the store, and return their number per second."""
    start_s = time.monotonic()
    for begin in range(1, count + 1, 5000):
        for seq in range(begin, min(begin + 5000, count + 1)):
            writer.put(event(seq))
        if not writer.flush(60.0):
            raise TimeoutError("the store took too long")
    return count / (time.monotonic() - start_s)


def key_of(seq: int) -> str:
    return f"{seq:032x}"


def event(seq: int) -> Event:
    verdict = Record(
        seq=seq, at="2026-11-30T12:00:00.000Z", item=f"line1.mp4#{seq}", unit="frame", time_s=seq / 25, status="REJECT",
        reason="", score=2.0, level=1.5, p_value=0.001, threshold=1.0, model="0123456789ab",
    )  # fmt: skip
    return Event(
        key=key_of(seq), seq=seq, run="5f0c2a4e9d1b7c36", boot="b2d7", line="press-3", source="video line1.mp4",
        model="0123456789ab", mono_ns=seq, wall_us=1_795_953_600_000_000 + seq, body=Rejected(verdict=verdict),
    )  # fmt: skip


class Checker:
    """A receiver that drops known keys and checks the order of the others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._last = 0
        self._duplicates = 0
        self._wrong = 0

    def take(self, key: str) -> bool:
        """Return True after the last event."""
        seq = int(key, 16)
        if seq <= self._last:
            self._duplicates += 1
        elif seq == self._last + 1:
            self._last = seq
        else:
            self._wrong += 1
            self._last = seq
        return self._last == self._count

    def report(self) -> None:
        print(json.dumps({"received": self._last, "duplicates": self._duplicates, "gaps": self._wrong}), flush=True)


def subscribe(port: int, count: int) -> None:
    """Receive all events from the broker, in a process of its own."""
    import threading

    from paho.mqtt.client import Client, MQTTMessage, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    checker, ready, over = Checker(count), threading.Event(), threading.Event()

    def on_message(_client: object, _data: object, message: MQTTMessage) -> None:
        properties: Any = message.properties
        if checker.take(dict(properties.UserProperty)["key"]):
            over.set()

    session: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = 3600
    client = Client(CallbackAPIVersion.VERSION2, client_id="checker", protocol=MQTTv5)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("andon/press-3/reject", qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    client.connect("127.0.0.1", port, keepalive=60, clean_start=False, properties=session)
    client.loop_start()
    ready.wait()
    print("ready", flush=True)
    over.wait()
    client.disconnect()
    client.loop_stop()
    checker.report()


def serve(port: int, count: int) -> None:
    """Receive all events by HTTP, in a process of its own."""
    checker, over = Checker(count), [False]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            over[0] = checker.take(self.headers["Idempotency-Key"])
            self.send_response_only(204)
            if over[0]:
                self.close_connection = True
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        while not over[0]:
            server.handle_request()
    checker.report()


def rss_mb() -> float:
    """Return the resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(true: Callable[[], bool], seen: Callable[[], None] = lambda: None, timeout_s: float = 600.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        seen()
        if time.monotonic() > end_s:
            raise TimeoutError("the benchmark took too long")
        time.sleep(0.02)


class HttpServer:
    """The HTTP server in a process of its own."""

    def __init__(self, folder: Path, count: int) -> None:  # noqa: ARG002 - the signature of both
        self._count = count
        self._port = free_port()
        self._process: subprocess.Popen[Any] | None = None

    def open(self, context: OutputContext) -> Output:
        return webhook.OUTPUT.open(webhook.Settings(url=f"http://127.0.0.1:{self._port}/"), context)

    def come(self) -> None:
        self._process = child("serve", self._port, self._count)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def report(self) -> dict[str, int]:
        return read_report(self._process)

    def end(self) -> None:
        end(self._process)


class Broker:
    """The MQTT broker, and a subscriber whose session survives a restart of the broker."""

    def __init__(self, folder: Path, count: int) -> None:
        self._port = free_port()
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self._port} 127.0.0.1", "allow_anonymous true", "persistence true",
                 f"persistence_location {folder}/", "max_queued_messages 0"]  # fmt: skip
        if os.geteuid() == 0:
            lines.append("user root")
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[Any] | None = None
        self.come()
        self._subscriber = child("subscribe", self._port, count)
        assert self._subscriber.stdout is not None
        assert self._subscriber.stdout.readline() == "ready\n"
        self.send(signal.SIGTERM)  # it then stores the session
        assert self._process is not None
        self._process.wait()

    def open(self, context: OutputContext) -> Output:
        return mqtt.OUTPUT.open(mqtt.Settings(host="127.0.0.1", port=self._port), context)

    def come(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: answers(self._port))

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def report(self) -> dict[str, int]:
        return read_report(self._subscriber)

    def end(self) -> None:
        end(self._subscriber)
        end(self._process)


CLUSTER = """
import sys
from confluent_kafka import Producer

class Silent:
    def log(self, *_): pass

producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "logger": Silent()})
broker = next(iter(producer.list_topics(timeout=20).brokers.values()))
print(broker.port, flush=True)
sys.stdin.read()
"""
"""The mock cluster of librdkafka. It chooses its own port, so it begins stopped (SIGSTOP): for a client it is then away."""


class KafkaCluster:
    """The mock cluster in a process of its own."""

    def __init__(self, folder: Path, count: int) -> None:  # noqa: ARG002 - the signature of all
        self._count = count
        self._process: subprocess.Popen[str] | None = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self._reader: subprocess.Popen[str] | None = None
        self.send(signal.SIGSTOP)

    def open(self, context: OutputContext) -> Output:
        return kafka.OUTPUT.open(kafka.Settings(servers=f"127.0.0.1:{self._port}"), context)

    def come(self) -> None:
        self.send(signal.SIGCONT)
        self._reader = child("read", self._port, self._count)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def report(self) -> dict[str, int]:
        return read_report(self._reader)

    def end(self) -> None:
        end(self._reader)
        end(self._process)


def read(port: int, count: int) -> None:
    """Read the topic while it is written, in a process of its own."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    checker = Checker(count)
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "checker"})
    partitions: dict[int, Any] = {}
    while not partitions:  # until the first event has made the topic
        partitions = consumer.list_topics("andon", timeout=20.0).topics["andon"].partitions
    consumer.assign([TopicPartition("andon", number, OFFSET_BEGINNING) for number in partitions])
    over = False
    while not over:
        records = consumer.consume(1000, 30.0)
        if not records:
            break
        for record in records:
            headers: Any = record.headers()
            over = checker.take(dict(headers)["key"].decode()) or over
    consumer.close()
    checker.report()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def child(role: str, port: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.outputs", role, "--port", str(port), "--events", str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def read_report(process: subprocess.Popen[Any] | None) -> dict[str, int]:
    assert process is not None
    assert process.stdout is not None
    report: dict[str, int] = json.loads(process.stdout.readline())
    return report


def end(process: subprocess.Popen[Any] | None) -> None:
    """End a process that this script started."""
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.kill()
    if process is not None:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class Watch:
    """Reads the memory while the benchmark waits."""

    highest_mb = 0.0

    def until(self, true: Callable[[], bool]) -> float:
        """Wait, and return the seconds."""
        start_s = time.monotonic()
        until(true, self._look)
        return time.monotonic() - start_s

    def _look(self) -> None:
        self.highest_mb = max(self.highest_mb, rss_mb())


def drain(
    receiver: Broker | HttpServer | KafkaCluster, outbox: Outbox, *, away_s: float, hang_s: float, seed: int
) -> Figures:
    """Return the figures of one run."""
    lost, watch, clock, count = list[EventsLost](), Watch(), SystemClock(), outbox.backlog()

    output = receiver.open(OutputContext(name="plant", clock=clock))
    before_mb = rss_mb()
    sender = Sender("plant", "", output, outbox, clock=clock, lost=lost.append, rng=random.Random(seed))

    def done() -> int:
        return sender.status().delivered

    start_cpu_s = time.process_time()
    sender.start()
    time.sleep(away_s)
    assert done() == 0
    waiting_mb = rss_mb()
    receiver.come()
    watch.until(lambda: done() > 0)
    first = done()
    first_s = watch.until(lambda: done() > count // 2)
    receiver.send(signal.SIGSTOP)
    first = done() - first
    start_s = time.monotonic()
    watch.until(lambda: time.monotonic() - start_s > hang_s)
    failing = sender.status().failing
    receiver.send(signal.SIGCONT)
    watch.until(lambda: done() > count // 2 + count // 20)
    second = count - done()
    second_s = watch.until(lambda: done() == count)
    cpu_s = time.process_time() - start_cpu_s
    watch.until(lambda: outbox.backlog() == 0)
    report = receiver.report()
    start_s = time.monotonic()
    ended = sender.close(2.0)
    return {
        **report, "lost": len(lost), "rate": round((first + second) / (first_s + second_s)),
        "cpu_us_per_event": round(cpu_s / count * 1e6), "rss_before_mb": round(before_mb, 1),
        "rss_waiting_mb": round(waiting_mb, 1), "rss_highest_mb": round(watch.highest_mb, 1),
        "failing_while_hung": failing,
        "close_s": round(time.monotonic() - start_s, 2), "ended": ended,
    }  # fmt: skip


def run(receiver: Broker | HttpServer | KafkaCluster, args: argparse.Namespace) -> Figures:
    """Return the figures of one run with the outbox that the user chose."""
    options = {"away_s": args.away_s, "hang_s": args.hang_s, "seed": args.seed}
    if args.store is None:
        return drain(receiver, GeneratedOutbox(args.events), **options)
    with tempfile.TemporaryDirectory(dir=args.store) as folder:
        writer = StoreWriter(Settings(path=folder), SystemClock(), outputs=["plant"])
        try:
            rate = filled(writer, args.events)
            return {"stored_per_s": round(rate), **drain(receiver, writer.outbox("plant"), **options)}
        finally:
            writer.close()


RECEIVERS: dict[str, type[Broker | HttpServer | KafkaCluster]] = {
    "kafka": KafkaCluster,
    "mqtt": Broker,
    "webhook": HttpServer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["kafka", "mqtt", "webhook", "subscribe", "serve", "read"])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--away-s", type=float, default=10.0)
    parser.add_argument("--hang-s", type=float, default=12.0)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    if args.role == "subscribe":
        subscribe(args.port, args.events)
    elif args.role == "serve":
        serve(args.port, args.events)
    elif args.role == "read":
        read(args.port, args.events)
    elif args.role == "mqtt" and shutil.which("mosquitto") is None:
        sys.exit("benchmarks.outputs: expected the MQTT broker mosquitto, found none. Install it.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            receiver = RECEIVERS[args.role](Path(folder), args.events)
            try:
                figures = run(receiver, args)
            finally:
                receiver.end()
        conditions = {"away_s": args.away_s, "hang_s": args.hang_s, "seed": args.seed, "cores": os.cpu_count(),
                      "payload_bytes": len(encode(event(1))), "load": round(os.getloadavg()[0], 1)}  # fmt: skip
        print(json.dumps({"what": args.role, "events": args.events, **figures, **conditions}))


if __name__ == "__main__":
    main()
