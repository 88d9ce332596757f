# ruff: noqa: E501 - lists of short texts are easier to read in few lines
"""Hostile requests as bytes: what scanners, forged pages, broken proxies and curious people send. None may get in.

Each request uses credentials only as an attacker could: none, wrong ones, or the cookie that the browser of a victim attaches by
itself. Requests with the right token are malformed in another way.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

HOST = "line1.example"
GOOD_BODY = b'{"minutes": 5}'


class Keys(NamedTuple):
    """Real credentials of the tested server."""

    view: str
    act: str
    cookie: str
    """Name and value, as a browser sends them."""
    csrf: str


class Hostile(NamedTuple):
    kind: str
    raw: bytes
    shows_login: bool = False
    """True if the page for logging in, or its style, is a correct answer."""


class Target(NamedTuple):
    """The target of an attack."""

    change: str = "/shelve"
    """Path of a change."""
    body: bytes = GOOD_BODY
    """Body with which the change would be done."""
    folder: str = "/evidence/"
    """Beginning of paths that end in a number or a name."""


def hostile_requests(keys: Keys, target: Target = Target()) -> list[Hostile]:  # noqa: B008 - it is immutable
    """Return all requests, always in the same order."""
    requests = [
        *_paths(keys),
        *_methods(keys),
        *_tokens(),
        *_cookies(keys),
        *_hosts(keys),
        *_forgeries(keys),
        *_bodies(keys),
        *_logins(),
        *_heads(keys),
        *_smuggling(keys),
    ]
    return [hostile._replace(raw=_aimed(hostile.raw, target)) for hostile in requests]


def _aimed(raw: bytes, target: Target) -> bytes:
    """Replace the paths and the body of the example by those of the target."""
    if GOOD_BODY in raw:
        length = b"Content-Length: %d\r\n"
        raw = raw.replace(length % len(GOOD_BODY), length % len(target.body)).replace(GOOD_BODY, target.body)
    return raw.replace(b" /shelve", b" " + target.change.encode()).replace(
        b" /evidence/", b" " + target.folder.encode()
    )


def _raw(
    target: str | bytes = "/",
    *headers: str | bytes,
    method: str = "GET",
    host: str | None = HOST,
    body: bytes | None = None,
) -> bytes:
    as_bytes = [
        line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line for line in (target, *headers)
    ]
    lines = [b"%s %s HTTP/1.1" % (method.encode(), as_bytes[0])]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *as_bytes[1:], b"", b""]) + (body or b"")


def _shelve(
    *headers: str | bytes, body: bytes = GOOD_BODY, host: str | None = HOST, kind: str = "application/json"
) -> bytes:
    return _raw("/shelve", f"Content-Type: {kind}", *headers, method="POST", body=body, host=host)


_TRAVERSALS = (
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cwindows%5cwin.ini", "..\\..\\windows\\win.ini", "....//....//etc/passwd", "%c0%ae%c0%ae/etc/passwd",
    "..%00/etc/passwd", "7%00.jpg", "/etc/passwd", "%2fetc%2fpasswd", "proc/self/environ", "view-token", "./view-token",
    "%2e/view-token", "..;/view-token", "~root/.ssh/id_rsa", ".git/config", ".env", "line.toml", "events.sqlite",
    "-1", "7/../8", "99999999999999999999", "9" * 5000, "7e1", "0x7", "%d9%a7", "7.0", "7/", "NaN", "a" * 9000,
    "%u002e%u002e", "..%ef%bc%8fetc", "%", "%zz", "%0d%0aSet-Cookie:a=b", "%0a", "'%20OR%201=1--", "${jndi:ldap://x}",
    "{{7*7}}", "<script>alert(1)</script>", "index.php?-s", "cgi-bin/.%2e/sh", "actuator/env", "console", "api/config",
)  # fmt: skip
_FOLDERS = ("/", "/evidence/", "/login.css/", "/static/", "/status/")


def _paths(keys: Keys) -> Iterator[Hostile]:
    for folder, name in product(_FOLDERS, _TRAVERSALS):
        yield Hostile("path", _raw(folder + name, f"Authorization: Bearer {keys.view}"))
    for target in (
        "*", "http://evil.example/", "//evil.example/", "file:///etc/passwd", f"http://{HOST}/status", "/\u00e9",
        "?token=x", "evil", "/status#x", "/login?next=//evil.example", "/?token=" + "x" * 500, "/STATUS", "/status/", "/%73tatus",
    ):  # fmt: skip
        yield Hostile("path", _raw(target), shows_login=target.startswith("/login?"))


def _methods(keys: Keys) -> Iterator[Hostile]:
    methods = ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "post", "BREW", "GET/", "M-SEARCH")
    for method, path in product(methods, ("/shelve", "/", "/login")):
        yield Hostile("method", _raw(path, f"Authorization: Bearer {keys.act}", method=method, body=GOOD_BODY))
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        yield Hostile("method", _raw("/shelve", f"{header}: POST", f"Authorization: Bearer {keys.act}", body=GOOD_BODY))
    for path in ("/status", "/metrics", "/livez", "/", "/login.css", "/evidence/7", "/stream"):
        yield Hostile("method", _raw(path, f"Authorization: Bearer {keys.view}", method="POST", body=GOOD_BODY))


def _tokens() -> Iterator[Hostile]:
    wrong: tuple[str | bytes, ...] = (
        "", " ", "Bearer", "Bearer ", "Bearer null", "Bearer undefined", "Basic YWRtaW46YWRtaW4=", "Basic Og==", "Digest x",
        "Negotiate x", "Bearer " + "0" * 32, "Bearer " + "f" * 32, "Bearer " + "a" * 12_000, b"Bearer \xff\xfe\xfd",
        "Bearer ' OR 1=1", "Bearer *", "Bearer %00", "Token x", "bearer,x", "Bearer eyJhbGciOiJub25lIn0.e30.",
    )  # fmt: skip
    for value, path in product(wrong, ("/", "/status", "/metrics")):
        value_bytes = value.encode() if isinstance(value, str) else value
        yield Hostile("token", _raw(path, b"Authorization: " + value_bytes))
    for value in wrong:
        value_bytes = value.encode() if isinstance(value, str) else value
        yield Hostile("token", _shelve(b"Authorization: " + value_bytes))
    for spoof in ("X-Forwarded-User: admin", "X-Remote-User: admin", "X-Original-URL: /shelve", "X-Rewrite-URL: /shelve",
                  "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Client-IP: 127.0.0.1", "Forwarded: for=127.0.0.1",
                  "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "X-Andon-CSRF: x", "Via: 1.1 localhost"):  # fmt: skip
        yield Hostile("token", _raw("/status", spoof))
        yield Hostile("token", _shelve(spoof))


def _cookies(keys: Keys) -> Iterator[Hostile]:
    name, _, value = keys.cookie.partition("=")
    for cookie in (
        f"{name}=", f"{name}=0", f"{name}={value[:-1]}", f"{name}={value}x", f"{name}={value.swapcase()}", f"{name}=%00",
        f"{name}={value}; {name}=planted", f"{name}=planted; {name}={value}", name, "=", ";" * 2000, f"{name}={'a' * 8000}",
        f'{name}="{value}"', f"{name.removeprefix('__Host-')}={value}", f"{name.lower()}={value}", f"${name}={value}",
        f"{name}={keys.act}", f"{name}={keys.csrf}", "session=admin", f"{name}=../../etc/passwd",
    ):  # fmt: skip
        yield Hostile("cookie", _raw("/status", f"Cookie: {cookie}"))
        yield Hostile("cookie", _shelve(f"Cookie: {cookie}", f"X-Andon-CSRF: {keys.csrf}"))


def _hosts(keys: Keys) -> Iterator[Hostile]:
    for host in (
        None, "", "evil.example", "evil.example:8420", f"{HOST}.evil.example", f"evil.example#{HOST}", f"{HOST}@evil.example",
        f"{HOST}:abc", f"{HOST}:", f"{HOST} evil.example", "169.254.169.254", "0.0.0.0", "[::]", "127.1", "2130706433",
        "localhost.evil.example", "127.0.0.1.nip.io", f"{HOST},evil.example", f"http://{HOST}", f"{HOST}/", f"{HOST}.",
    ):  # fmt: skip
        yield Hostile("host", _shelve(f"Cookie: {keys.cookie}", f"X-Andon-CSRF: {keys.csrf}", host=host))
        yield Hostile("host", _raw("/", f"Authorization: Bearer {keys.act}", host=host))
    yield Hostile("host", _shelve("Host: evil.example", f"Authorization: Bearer {keys.act}"))


def _forgeries(keys: Keys) -> Iterator[Hostile]:
    """Send requests as a page of another site would, with the cookie of the victim, as if SameSite did not exist."""
    cookie, csrf = f"Cookie: {keys.cookie}", f"X-Andon-CSRF: {keys.csrf}"
    for kind in (
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        yield Hostile("forgery", _shelve(cookie, kind=kind))
        yield Hostile("forgery", _shelve(cookie, "X-Andon-CSRF: x", kind=kind))
    for origin in ("https://evil.example", "null", "", f"https://{HOST}.evil.example", f"https://{HOST}:8443", f"ftp://{HOST}",
                   f"https://x@{HOST}.evil.example", "https://", "about:blank", "chrome-extension://x", f"https://evil.example/{HOST}"):  # fmt: skip
        yield Hostile("forgery", _shelve(cookie, csrf, f"Origin: {origin}"))
        yield Hostile("forgery", _raw("/status", cookie, f"Origin: {origin}"))
        login = _raw("/login", f"Origin: {origin}", "Content-Type: application/x-www-form-urlencoded",
                     method="POST", body=f"token={keys.act}".encode())  # fmt: skip
        yield Hostile("forgery", login)
    for site in ("cross-site", "same-site", "none", "x"):
        yield Hostile("forgery", _shelve(cookie, csrf, f"Sec-Fetch-Site: {site}"))
    for site, mode, target in product(
        ("cross-site", "same-site"), ("no-cors", "cors", "navigate"), ("image", "iframe", "script")
    ):
        fetch = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {target}")
        yield Hostile("forgery", _raw("/status", cookie, *fetch))
    yield Hostile(
        "forgery",
        _raw("/logout", cookie, "Content-Type: application/x-www-form-urlencoded", method="POST", body=b"csrf=x"),
    )
    yield Hostile("forgery", _raw("/logout", cookie, "Content-Type: text/plain", method="POST", body=b"csrf=x"))
    yield Hostile("forgery", _shelve(cookie, f"X-Andon-CSRF: {keys.csrf[:-1]}"))
    yield Hostile(
        "forgery",
        _raw(f"/shelve?csrf={keys.csrf}", cookie, "Content-Type: application/json", method="POST", body=GOOD_BODY),
    )


def _bodies(keys: Keys) -> Iterator[Hostile]:
    act = f"Authorization: Bearer {keys.act}"
    for body in (
        b"", b"{", b"}", b"[]", b"null", b"5", b'"x"', b"[" * 60_000, b'{"minutes":' * 5000, b'{"minutes": 0}', b'{"minutes": -1}',
        b'{"minutes": 481}', b'{"minutes": 5.5}', b'{"minutes": NaN}', b'{"minutes": 1e400}', b'{"minutes": "5"}', b'{"minutes": null}',
        b'{"minutes": [5]}', b'{"minutes": 5, "__proto__": {}}', b'{"minutes": 5, "path": "/etc/passwd"}', b'{"minute": 5}',
        b"\xff\xfe{\x00", b"\xef\xbb\xbf{}", b'{"minutes": ' + b"9" * 60_000 + b"}", b"\x00" * 100, b"minutes=5", b"<x/>",
        b'{"minutes": 5}{"minutes": 5}', b'{"minutes": 5} x', b'{"minutes": "\xed\xa0\x80"}', b" " * 65_536, b" " * 65_537,
    ):  # fmt: skip
        yield Hostile("body", _shelve(act, body=body))
    for encoding in ("gzip", "deflate", "br", "x"):
        yield Hostile("body", _shelve(act, f"Content-Encoding: {encoding}", body=b"\x1f\x8b\x08" + b"\x00" * 20))
    for length in ("-1", "+5", "5.0", "0x5", "1e3", "99999999999999999999", "65537", "", " ", "5 5", "5,6", "\u0665"):
        raw = _raw("/shelve", act, "Content-Type: application/json", f"Content-Length: {length}", method="POST")
        yield Hostile("body", raw + b"{}")


def _logins() -> Iterator[Hostile]:
    form = "Content-Type: application/x-www-form-urlencoded"
    for body in (
        b"", b"token=", b"token=x", b"token=%00", b"token=' OR ''='", b"token[]=x", b"token=x&token=y", b"&" * 60_000, b"a=1&" * 9000,
        b"\xff" * 10, b"token=" + b"x" * 60_000, b"token=%ff%fe", b"token=true", b"name=<script>alert(1)</script>", b"{}", b"token",
        b"token=../../view-token", b"token=%0d%0aSet-Cookie:%20a=b",
    ):  # fmt: skip
        yield Hostile("login", _raw("/login", form, method="POST", body=body))
    for kind in (
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencodedx",
        "",
    ):
        yield Hostile("login", _raw("/login", f"Content-Type: {kind}", method="POST", body=b"token=x"))


def _heads(keys: Keys) -> Iterator[Hostile]:
    act = f"Authorization: Bearer {keys.act}"
    for raw in (
        b"\r\n\r\n", b"\x00" * 50, b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"SSH-2.0-x\r\n\r\n",
        b"GET  /  HTTP/1.1\r\n\r\n", b"GET /\tx HTTP/1.1\r\n\r\n", b"\xff\xff / HTTP/1.1\r\n\r\n", b"*1\r\n$4\r\nPING\r\n\r\n",
    ):  # fmt: skip
        yield Hostile("head", raw)
    for header in (
        b"X: " + b"y" * 17_000, b"X\x00: y", b"X: y\x00z", b": y", b"X : y", b" X: y", b"X: a\r\n b", b"\xff: y", b"X: \x7f\x80",
        b"\r\nX: y", b"X: y\rz", b"Connection: Authorization, Host", b"Range: bytes=0-99999999999", b"If-None-Match: *",
        b"Expect: 200-ok", b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13", b"Trailer: Authorization",
    ):  # fmt: skip
        yield Hostile("head", _raw("/status", header))
        yield Hostile("head", _shelve(header, kind="text/plain"))
    yield Hostile("head", _raw("/status", *(f"X-{number}: y" for number in range(2000))))
    yield Hostile("head", _raw("/nothing", act, *(f"Cookie: a{number}=y" for number in range(500))))


def _smuggling(keys: Keys) -> Iterator[Hostile]:
    """Hide a second request in the body of the first, for a proxy and a server that disagree about its length."""
    cookie = f"Cookie: {keys.cookie}"
    hidden = _shelve(cookie, f"X-Andon-CSRF: {keys.csrf}", "Origin: https://evil.example")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
    for headers in (
        ("Content-Length: 4", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked",), ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",), ("Transfer-Encoding:\x0bchunked",), ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: identity", "Content-Length: 0"), ("Content-Length: 0", "Content-Length: 5"), ("Content-Length: 0, 5",),
        ("Transfer-Encoding: gzip, chunked",), ("X: y\nTransfer-Encoding: chunked",), ("TRANSFER-ENCODING: CHUNKED",),
        ("Content-Length: 00",), ("Content-Length: 0\r\n 5",),
    ):  # fmt: skip
        for path, method in (("/login", "POST"), ("/status", "GET"), ("/shelve", "POST")):
            yield Hostile("smuggling", _raw(path, *headers, method=method) + chunked)
            yield Hostile("smuggling", _raw(path, *headers, method=method) + b"0\r\n\r\n" + hidden)
