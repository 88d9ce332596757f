"""The web server runs next to the judging threads, survives bad clients, and ends in time. Complaint 27."""

import contextlib
import gc
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from tests.monitor.statuses import FULL
from tests.monitor.web.conftest import Certificate

from andon.foundation.errors import ConfigError
from andon.monitor.status import ProcessStatus
from andon.monitor.web.server import LARGEST_HEAD, MOST_CONNECTIONS, REQUEST_S, WebServer
from andon.monitor.web.settings import WebSettings

ANY_PORT = WebSettings(port=0)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer(lambda: FULL, ANY_PORT) as running:
        yield running


def fetch(port: int, path: str = "/livez", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_port_of_zero_chooses_a_free_one(server: WebServer) -> None:
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert fetch(server.port) == (200, "live\n")
    assert json.loads(fetch(server.port, "/status")[1])["health"]["ready"]
    assert fetch(server.port, "/metrics", "HEAD") == (200, "")


def test_a_port_in_use_is_reported_and_leaves_nothing_running(server: WebServer) -> None:
    before = threading.active_count()

    with pytest.raises(
        ConfigError, match=rf"\[web\]: cannot listen on 127.0.0.1 port {server.port}: Address already in use"
    ):
        WebServer(lambda: FULL, WebSettings(port=server.port))

    assert threading.active_count() == before


def test_an_address_of_another_machine_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from andon.foundation.secret import Secret

    monkeypatch.setenv("ANDON_TEST_VIEW", "0123456789abcdef" * 2)
    settings = WebSettings(host="192.0.2.1", port=0, behind_proxy=True, view_token=Secret(env="ANDON_TEST_VIEW"))
    with pytest.raises(ConfigError, match=r"\[web\]: cannot listen on 192.0.2.1 port 0: "):
        WebServer(lambda: FULL, settings)


def test_unsafe_settings_do_not_open_a_port() -> None:
    with pytest.raises(ConfigError, match="expected a token"):
        WebServer(lambda: FULL, WebSettings(host="0.0.0.0", port=0))


def test_the_same_port_can_be_opened_again_at_once() -> None:
    with WebServer(lambda: FULL, ANY_PORT) as first:
        fetch(first.port)
    with WebServer(lambda: FULL, WebSettings(port=first.port)) as second:
        assert fetch(second.port) == (200, "live\n")


def test_an_error_in_the_status_is_a_plain_500_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    broken = [True]

    def status() -> ProcessStatus:
        if broken[0]:
            raise RuntimeError("canary-7f3a")
        return FULL

    with WebServer(status, ANY_PORT) as server:
        assert fetch(server.port, "/status") == (500, "an internal error; see the log\n")
        broken[0] = False
        assert fetch(server.port, "/status")[0] == 200
    assert any("canary-7f3a" in (record.exc_text or str(record.exc_info)) for record in caplog.records)


def test_many_clients_get_their_answers(server: WebServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: fetch(server.port, "/metrics"), range(100)))

    assert {status for status, _ in answers} == {200}


@pytest.mark.timing
def test_an_answer_does_not_wait_for_the_acknowledgement_of_the_last_one(server: WebServer) -> None:
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(20):
        began_s = time.perf_counter()
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        times.append(time.perf_counter() - began_s)
    connection.close()

    assert sorted(times)[10] < 0.02


def test_one_connection_serves_many_requests(server: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(20):
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"live\n"
    connection.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * (LARGEST_HEAD + 1),
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /livez\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["tls", "no host", "long head", "two lengths", "zero byte"],
)
def test_a_malformed_request_is_refused_and_the_server_goes_on(garbage: bytes, server: WebServer) -> None:
    with connected(server.port) as client:
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1000)
    assert answer == b"" or answer.split()[1] in (b"400", b"421")
    assert fetch(server.port) == (200, "live\n")


def test_more_connections_than_the_limit_are_refused_with_503(server: WebServer) -> None:
    held = [connected(server.port) for _ in range(MOST_CONNECTIONS)]
    try:
        until_s = time.monotonic() + 5
        while fetch(server.port)[0] != 503:
            assert time.monotonic() < until_s
    finally:
        for client in held:
            client.close()
    until_s = time.monotonic() + 5
    while fetch(server.port)[0] != 200:
        assert time.monotonic() < until_s


@pytest.mark.slow
@pytest.mark.parametrize("sends", [b"", b"GET /livez HTTP/1.1\r\nHost: l"], ids=["nothing", "a part"])
def test_a_client_that_never_finishes_its_request_is_disconnected(sends: bytes, server: WebServer) -> None:
    with connected(server.port) as client:
        client.sendall(sends)
        began_s = time.monotonic()
        client.settimeout(3 * REQUEST_S)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert REQUEST_S / 2 < time.monotonic() - began_s < 2.5 * REQUEST_S


# Complaint 27
def test_a_close_with_open_connections_takes_less_than_two_seconds() -> None:
    server = WebServer(lambda: FULL, ANY_PORT)
    idle = [connected(server.port) for _ in range(2)]
    half = connected(server.port)
    half.sendall(b"GET /livez HTTP/1.1\r\n")
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    kept.request("GET", "/livez")
    kept.getresponse().read()

    began_s = time.monotonic()
    server.close()

    assert time.monotonic() - began_s < 2.0
    assert not server.running
    for client in (*idle, half):
        client.close()
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        connected(server.port)


@pytest.mark.slow
def test_a_status_that_waits_for_ever_does_not_delay_the_end(caplog: pytest.LogCaptureFixture) -> None:
    over = threading.Event()

    def status() -> ProcessStatus:
        over.wait(20)
        return FULL

    server = WebServer(status, ANY_PORT)
    with connected(server.port) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        began_s = time.monotonic()
        server.close()
        assert time.monotonic() - began_s < 2.2
        assert "left behind" in caplog.text
        over.set()
        server._thread.join(5)


def test_a_second_close_has_no_effect(server: WebServer) -> None:
    server.close()
    server.close()


def test_threads_and_handles_are_the_same_after_each_start() -> None:
    def count() -> int:
        gc.collect()
        with WebServer(lambda: FULL, ANY_PORT) as server:
            fetch(server.port)
        with socket.socket() as probe:  # its number shows how many handles are open
            return probe.fileno()

    first, threads = count(), threading.active_count()
    assert [count() for _ in range(2)] == [first] * 2
    assert threading.active_count() == threads


def test_the_log_of_the_server_says_nothing_about_normal_requests(
    server: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch(server.port)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert "GET" not in caplog.text


def test_tls_is_served_with_the_given_certificate(certificate: Certificate) -> None:
    settings = replace(ANY_PORT, tls_cert=str(certificate.cert), tls_key=str(certificate.key))
    with WebServer(lambda: FULL, settings) as server:
        trusted = ssl.create_default_context(cafile=str(certificate.cert))
        connection = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=trusted)
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"live\n"
        connection.close()
        assert server.url.startswith("https://")

        with connected(server.port) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(100)
