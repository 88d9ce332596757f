"""Receivers for the tests of outputs: one in memory, an HTTP server, and a real MQTT broker. All are on this machine."""

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.stopped_process import stop

from andon.monitor.event import Event, Rejected, Stopped, encode
from andon.monitor.memory_outbox import MemoryOutbox
from andon.monitor.output import Connected, Delivered, Gone, Message, Reply
from andon.monitor.records import Record
from andon.sources.clock import SystemClock

CANARY = "canary-7f3a/+secret"

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto") is None, reason="the MQTT broker mosquitto is not installed"
)


def key(seq: int) -> str:
    return f"{seq:032x}"


def event(seq: int, *, line: str = "press-3", detail: str = "") -> Event:
    verdict = Record(
        seq=seq, at="", item=f"{seq}.png", time_s=None, status="REJECT", reason="", score=2.0, level=1.5, p_value=0.0,
        threshold=1.0, model="m", detail=detail,
    )  # fmt: skip
    body = Rejected(verdict=verdict) if line else Stopped()
    return Event(key=key(seq), seq=seq, run="r", boot="b", line=line, mono_ns=seq, wall_us=seq, body=body)


def put(outbox: MemoryOutbox, *numbers: int, detail: str = "") -> None:
    for seq in numbers:
        outbox.put(seq, key(seq), encode(event(seq, detail=detail)))


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until something is true. The limit is for a busy machine."""
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.005)


class ShiftedClock(SystemClock):
    """The machine's clock, which a test can put forward."""

    ahead_s = 0.0

    def mono_s(self) -> float:
        return super().mono_s() + self.ahead_s


class Receiver:
    """An output and its receiver. `answer` chooses the reply to each message. None means that the receiver is silent."""

    def __init__(self, *, window: int = 20, answer_s: float = 10.0, connects: bool = True) -> None:
        self.answer: Callable[[Message], Reply | None] = lambda message: Delivered(message.seq)
        self.window = window
        self.answer_s = answer_s
        self.connects = connects
        self.away = False
        self.stuck = False
        self.got: list[Message] = []
        self.connections: list[_Memory] = []

    def connect(self, hear: Callable[[Reply], None]) -> "_Memory":
        self.connections.append(_Memory(self, hear))
        if self.away:
            hear(Gone("Connection refused"))
        elif self.connects:
            hear(Connected(window=self.window))
        return self.connections[-1]

    @property
    def numbers(self) -> list[int]:
        return [message.seq for message in self.got]

    @property
    def without_known_keys(self) -> list[int]:
        """The numbers as a receiver sees them that drops the keys it knows."""
        return list({message.key: message.seq for message in self.got}.values())


class _Memory:
    def __init__(self, receiver: Receiver, hear: Callable[[Reply], None]) -> None:
        self._receiver, self._hear = receiver, hear
        self.closed = self._failed = False

    def send(self, message: Message) -> None:
        assert not self.closed
        if self._failed:  # nothing arrives on a connection that has failed
            return
        self._receiver.got.append(message)
        reply = self._receiver.answer(message)
        self._failed = isinstance(reply, Gone)
        if reply is not None:
            self._hear(reply)

    def close(self) -> None:
        self.closed = True

    @property
    def hung(self) -> bool:
        return self._receiver.stuck


class Request:
    """One request that the HTTP server got."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


class HttpReceiver(socketserver.ThreadingTCPServer):
    """An HTTP server on loopback. `answer` chooses the status and the headers of each answer."""

    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        self.answer: Callable[[Request], tuple[int, dict[str, str]]] = lambda _: (200, {})
        self.requests: list[Request] = []
        self.connections = 0
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpReceiver

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, dict(self.headers.items()), body)
        status, headers = self.server.answer(request)
        self.server.requests.append(request)
        with contextlib.suppress(OSError):
            self.send_response(status)
            content = b"x" * int(headers.pop("X-Size", "0"))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
        pass


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections and never send a byte. Yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@contextlib.contextmanager
def full_server() -> Iterator[int]:
    """Make a port on which the system drops attempts to connect, as a host that is away does. Yield the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        port = int(server.getsockname()[1])
        for _ in range(10):  # fill the queue of connections that wait to be accepted
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            if not select.select([], [one], [], 0.2)[1]:
                yield port
                return
        pytest.skip("this system accepts connections beyond the limit of the queue")


def free_port() -> int:
    """Return a free port below those that the system gives to clients.

    A client that often tries to reach a port of the other range connects to itself some day. The server then cannot return.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Broker:
    """A real MQTT broker on loopback, started and ended by its own process id."""

    def __init__(self, folder: Path, *settings: str, port: int | None = None, secure: str = "") -> None:
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        anonymous = () if any("allow_anonymous" in one for one in settings) else ("allow_anonymous true",)
        lines = [f"listener {self.port} 127.0.0.1", *anonymous, "persistence false", "max_queued_messages 0", *settings]
        if os.name == "posix" and os.geteuid() == 0:
            lines.append("user root")  # else the broker cannot read files of the test
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers)
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False

    def pause(self) -> None:
        assert self._process is not None
        stop(self._process.pid)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
