"""Hostile requests change nothing, read no file, cause no internal error, and reveal nothing. Complaints 25, 26 and 27."""

import http.client
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.monitor.statuses import FULL
from tests.monitor.web.hostile_requests import HOST, Hostile, Keys, hostile_requests
from tests.monitor.web.pages import ACT, VIEW, Line

from andon.foundation.secret import Secret
from andon.monitor.web.rights import BODY_S
from andon.monitor.web.server import REQUEST_S, WebServer
from andon.monitor.web.settings import WebSettings

_OPENED: list[str] | None = None
"""Files that threads of web servers have opened, while a test collects them."""


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _OPENED is not None and event == "open" and threading.current_thread().name == "andon-web":
        _OPENED.append(str(arguments[0]))


sys.addaudithook(_audit)  # a hook cannot be removed: it does nothing outside of these tests


class Site(NamedTuple):
    server: WebServer
    line: Line
    keys: Keys
    folder: Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Start a server behind a proxy. A person has logged in with the act token."""
    for name, token in (("view-token", VIEW), ("act-token", ACT)):
        (tmp_path / name).write_text(token, encoding="ascii")
        (tmp_path / name).chmod(0o600)
    settings = WebSettings(
        port=0,
        behind_proxy=True,
        allowed_hosts=(HOST,),
        view_token=Secret(file=str(tmp_path / "view-token")),
        act_token=Secret(file=str(tmp_path / "act-token")),
    )
    line = Line()
    with WebServer(lambda: FULL, settings, routes=line.routes()) as server:
        form = {"Host": HOST, "Content-Type": "application/x-www-form-urlencoded"}
        _, answer, _ = ask(server, "POST", "/login", form, f"token={ACT}&name=Ada")
        cookie = str(answer["set-cookie"]).partition(";")[0]
        _, _, page = ask(server, "GET", "/", {"Host": HOST, "Cookie": cookie})
        csrf = re.search('content="([^"]+)"', page)
        assert csrf is not None
        yield Site(server, line, Keys(VIEW, ACT, cookie, csrf[1]), tmp_path)


def ask(
    server: WebServer, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def send(port: int, raw: bytes, client: str) -> bytes:
    """Send bytes as the proxy would, and return all that is answered until the connection ends or falls silent."""
    head, separator, rest = raw.partition(b"\r\n")
    if b"HTTP/1.1" in head:  # the proxy appends the address of the client as the last header of this name
        raw = head + separator + rest.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: %s\r\n\r\n" % client.encode(), 1)
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65_536):
                answer += data
        except (ConnectionError, BrokenPipeError):
            pass  # the server may close before it has read everything
    return answer


def assert_refused(site: Site, hostile: Hostile, answer: bytes) -> list[int]:
    """Check one answer, and return its status codes."""
    codes = [int(code) for code in re.findall(rb"^HTTP/1\.1 (\d{3}) ", answer, re.MULTILINE)]
    shown = f"{hostile.kind}: {hostile.raw[:300]!r} -> {answer[:500]!r}"
    assert bool(codes) == bool(answer), shown
    assert all(code < 500 for code in codes), shown
    allowed = {200} if hostile.shows_login else set()
    assert all(code >= 400 or code == 303 or code in allowed for code in codes), shown
    assert codes.count(303) == answer.count(b"location: /login\r\n"), shown
    assert b"set-cookie" not in answer.lower(), shown
    assert b"access-control-" not in answer.lower(), shown
    secrets = (*site.keys, site.keys.cookie.partition("=")[2], str(site.folder))
    for text in (*secrets, "root:", "Traceback", "site-packages", ".py", "view-token", "bottles"):
        assert text.encode() not in answer, shown
    return codes


def attack(site: Site, requests: list[Hostile]) -> Counter[int]:
    global _OPENED  # noqa: PLW0603 - an audit hook cannot be removed, only switched off
    counts: Counter[int] = Counter()
    opened: list[str] = []
    _OPENED = opened
    try:
        for number, hostile in enumerate(requests):
            answer = send(site.server.port, hostile.raw, f"10.{number >> 8}.{number & 255}.9")
            codes = assert_refused(site, hostile, answer)
            assert site.line.shelved == [], hostile
            if hostile.kind == "smuggling":
                assert len(codes) <= 1, (hostile, answer)
            counts.update(codes)
    finally:
        _OPENED = None
    assert set(opened) == {str(site.folder / "view-token"), str(site.folder / "act-token")}
    return counts


def assert_alive(site: Site) -> None:
    """Act as the person who was logged in before."""
    headers = {
        "Host": HOST,
        "Cookie": site.keys.cookie,
        "X-Andon-CSRF": site.keys.csrf,
        "Content-Type": "application/json",
        "Origin": f"https://{HOST}",
    }
    before = len(site.line.shelved)
    assert ask(site.server, "POST", "/shelve", headers, '{"minutes": 5}')[0] == 200
    assert len(site.line.shelved) == before + 1


def test_there_are_more_than_five_hundred_different_hostile_requests() -> None:
    requests = hostile_requests(Keys("v", "a", "__Host-andon-1=c", "csrf"))

    assert len({hostile.raw for hostile in requests}) > 500
    assert len({hostile.kind for hostile in requests}) == 10


def test_some_hostile_requests_of_each_kind_are_refused(site: Site) -> None:
    requests = hostile_requests(site.keys)
    some = [one for kind in {one.kind for one in requests} for one in [r for r in requests if r.kind == kind][::9]]

    assert_alive(site)
    site.line.shelved.clear()
    counts = attack(site, some)

    assert counts.keys() >= {400, 401, 403, 404, 405, 413, 415, 421}
    assert_alive(site)


@pytest.mark.slow
def test_all_hostile_requests_are_refused_one_after_the_other_and_at_once(site: Site) -> None:
    requests = hostile_requests(site.keys)

    counts = attack(site, requests)
    assert sum(counts.values()) > 500
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda one: send(site.server.port, one.raw, "10.9.9.9"), requests)
        for hostile, answer in zip(requests, answers, strict=True):
            assert_refused(site, hostile, answer)
    assert site.line.shelved == []
    assert_alive(site)


def test_a_token_is_not_in_the_log_of_the_server(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        for hostile in hostile_requests(site.keys)[::25]:
            send(site.server.port, hostile.raw, "10.0.0.9")
        ask(site.server, "GET", "/", {"Host": HOST, "Authorization": f"Bearer {ACT}", "X-Forwarded-For": "10.0.0.8"})

    texts = [record.getMessage() + str(record.exc_info) for record in caplog.records]
    assert not any(key in text for text in texts for key in (*site.keys, site.keys.cookie.partition("=")[2]))


@pytest.mark.slow
def test_clients_that_send_their_bodies_byte_by_byte_are_disconnected(site: Site) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    head = f"POST /login HTTP/1.1\r\nHost: {HOST}\r\n{form}\r\nContent-Length: 60000\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", site.server.port), timeout=20) for _ in range(25)]
    began_s, ended_s = time.monotonic(), dict[socket.socket, float]()
    for connection in slow:
        connection.sendall(head.encode())
        connection.setblocking(False)
    while len(ended_s) < len(slow) and time.monotonic() - began_s < BODY_S + 2 * REQUEST_S + 5:
        for connection in slow:
            if connection in ended_s:
                continue
            try:
                connection.send(b"x")
                if connection.recv(10_000) == b"":
                    ended_s[connection] = time.monotonic() - began_s
            except BlockingIOError:
                pass
            except OSError:
                ended_s[connection] = time.monotonic() - began_s
        if not ended_s:
            assert_alive(site)  # others are answered meanwhile
        time.sleep(0.3)
    for connection in slow:
        connection.close()

    assert len(ended_s) == len(slow)
    assert min(ended_s.values()) > BODY_S - 0.5
    assert max(ended_s.values()) < BODY_S + 2 * REQUEST_S + 2
