"""A relay with an HTTP interface: one request for each signal, never repeated, and no secret in any message."""

import http.server
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from andon.foundation.errors import ConfigError
from andon.foundation.secret import Secret
from andon.monitor.reject_kind import RejectFailed
from andon.monitor.rejects.http import REJECT, HttpRelay, Settings

CANARY = "canary-91c4-secret"


class Relay(http.server.ThreadingHTTPServer):
    """A relay on loopback that keeps its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        time.sleep(self.server.delay_s)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def opened(relay: Relay, path: str = "/relay/0?turn=on&timer=1", **given: Any) -> HttpRelay:
    settings: dict[str, Any] = {"url": f"{relay.address}{path}", "timeout_s": 5.0}
    return HttpRelay(Settings(**settings | given))


def test_each_signal_is_one_request_on_one_connection(relay: Relay) -> None:
    device = opened(relay)
    device.on()
    device.on()
    device.close()

    assert [(method, path) for method, path, _, _ in relay.requests] == [("GET", "/relay/0?turn=on&timer=1")] * 2
    assert relay.connections == 1


def test_a_post_has_its_body_and_the_second_address_switches_off(relay: Relay, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(CANARY, encoding="ascii")
    device = opened(
        relay,
        "/on",
        off_url=f"{relay.address}/off",
        method="POST",
        body='{"on": true}',
        token=Secret(file=str(tmp_path / "token")),
    )
    (tmp_path / "token").unlink()  # a signal must not wait for a disk
    device.on()
    device.off()
    device.close()

    assert [(method, path, body) for method, path, _, body in relay.requests] == [
        ("POST", "/on", b'{"on": true}'),
        ("POST", "/off", b'{"on": true}'),
    ]
    headers = relay.requests[0][2]
    assert (headers["Authorization"], headers["Content-Type"]) == (f"Bearer {CANARY}", "application/json")


@pytest.mark.parametrize("status", [301, 404, 500, 503])
def test_an_answer_that_confirms_nothing_is_a_failure_and_the_request_is_not_repeated(
    relay: Relay, status: int
) -> None:
    relay.status, relay.headers = status, {"Location": "/elsewhere", "Retry-After": "0"}
    device = opened(relay)
    with pytest.raises(RejectFailed, match=f"expected an answer 2xx of the relay, got HTTP {status}"):
        device.on()
    device.close()

    assert len(relay.requests) == 1


# Complaint 12: a device that does not answer.
def test_a_relay_that_does_not_answer_costs_at_most_its_time_out(relay: Relay) -> None:
    relay.delay_s = 3.0
    device = opened(relay, timeout_s=0.1)
    began_s = time.monotonic()
    with pytest.raises(RejectFailed, match=r"no answer of the relay within 0\.1 s"):
        device.on()
    took_s = time.monotonic() - began_s
    device.close()

    assert took_s < 2.5
    assert len(relay.requests) == 1


def test_errors_and_log_lines_contain_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("RELAY_URL", f"http://127.0.0.1:{port}/on?key={CANARY}")
    device = HttpRelay(Settings(url=Secret(env="RELAY_URL")))
    with caplog.at_level(logging.INFO), pytest.raises(RejectFailed) as failure:
        device.on()
    device.close()

    assert str(failure.value) == "the relay: Connection refused"
    assert failure.value.__suppress_context__
    assert CANARY not in caplog.text


def test_a_secret_address_that_is_wrong_is_refused_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_URL", f"http://relay.example/{CANARY}")
    with pytest.raises(ConfigError, match=r"url: expected https:// for another machine") as refusal:
        HttpRelay(Settings(url=Secret(env="RELAY_URL")))
    monkeypatch.delenv("RELAY_URL")
    with pytest.raises(ConfigError, match="the environment variable RELAY_URL"):
        HttpRelay(Settings(url=Secret(env="RELAY_URL")))

    assert CANARY not in str(refusal.value)


def test_http_to_another_machine_needs_the_word_insecure() -> None:
    assert Settings(url="http://10.0.0.7/relay/0?turn=on", insecure=True).insecure
    with pytest.raises(ValueError, match="expected https://"):
        Settings(url="http://10.0.0.7/relay/0?turn=on")


def test_the_record_names_the_kind() -> None:
    assert (REJECT.name, REJECT.settings) == ("http", Settings)
