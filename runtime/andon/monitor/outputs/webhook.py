"""Send each event as one HTTP POST request to a web address.

The body is the event as JSON. The header ``Idempotency-Key`` has its key: an event can arrive more than once, and the receiver
drops an event whose key it knows. An answer 2xx means delivered. Redirects are not followed,
and proxies are not used.

An answer 4xx means that the event is refused because of its content, and after three of them the event is dead. The exceptions
are 401, 403, 408, 425 and 429: these, 5xx and a receiver that does not answer mean that all events wait.

With ``sign``, the header ``X-Andon-Signature`` is ``sha256=`` and the HMAC-SHA256 of the body in hexadecimal digits.
"""

import contextlib
import errno
import hashlib
import hmac
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import version
from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.loopback import is_loopback
from andon.foundation.secret import Secret
from andon.monitor.network_errors import why
from andon.monitor.one_at_a_time import OneAtATime
from andon.monitor.output import Delivered, Gone, Message, OutputContext, OutputKind, Refused, Reply
from andon.monitor.web_address import WebAddress, web_address

logger = logging.getLogger(__name__)

LONGEST_ANSWER = 1 << 16
"""Bytes of an answer that are read. The connection is closed after a longer one."""
_NO_POISON = frozenset({401, 403, 408, 425, 429})
_VISIBLE = re.compile(r"[!-~]+")


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the output."""

    url: Annotated[
        str | Secret,
        Meta(
            description="address that gets the requests. Give it as a secret if it contains a user, a password, a token or "
            "a ?"
        ),
    ]
    token: Annotated[Secret | None, Meta(description="secret sent as Authorization: Bearer")] = None
    sign: Annotated[Secret | None, Meta(description="secret that signs each body with HMAC-SHA256")] = None
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    timeout_s: Annotated[
        float, Meta(ge=0.1, le=60, description="longest time for one request", extra={"unit": "s"})
    ] = 5.0
    insecure: Annotated[
        bool, Meta(description="allow http:// to another machine. Everyone on the way can then read and change events")
    ] = False

    def __post_init__(self) -> None:
        if isinstance(self.url, str):
            if "@" in self.url or "?" in self.url:  # never with the value: it may be a secret
                raise ValueError(
                    "url: expected an address without a user, a password and a ?, got another one. Store the whole "
                    'address as a secret and write url = { env = "NAME" }.'
                )
            web_address(self.url, insecure=self.insecure)


def reply_of(seq: int, status: int, retry_after: str | None) -> Reply:
    """Return the meaning of an HTTP status. `retry_after` is the header of this name."""
    if 200 <= status < 300:
        return Delivered(seq)
    text = _status_text(status)
    if 300 <= status < 400:
        return Gone(f"expected an answer 2xx, got {text}. Redirects are not followed: give the final address")
    if 400 <= status < 500 and status not in _NO_POISON:
        return Refused(seq, text)
    pause_s = float(retry_after) if retry_after is not None and re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.0
    hint = ". Check the token" if status in (401, 403) else ""
    return Gone(f"expected an answer 2xx, got {text}{hint}", at_least_s=pause_s)


def signature(secret: str, body: bytes) -> str:
    """Return the value of the header ``X-Andon-Signature``.

    >>> signature("key", b"{}")[:23]
    'sha256=4162dea3b69fa55a'
    """
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def _status_text(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"  # not the phrase that the receiver sent
    except ValueError:
        return f"HTTP {status}"


class Webhook:
    """An output that sends HTTP requests, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tls = _context(settings.ca_file)
        address, _, _ = self._access()  # a missing secret is an error at the start
        self.encrypted = address.tls or is_loopback(address.host)
        """False if events leave this machine without encryption."""

    @property
    def answer_s(self) -> float:
        """Longest time for one request."""
        return self._settings.timeout_s

    def connect(self, hear: Callable[[Reply], None]) -> OneAtATime:
        """Read the secrets, which may have been renewed, and begin a connection."""
        address, headers, key = self._access()
        requests = _Requests(address, headers, key, self._tls, self._settings.timeout_s)
        return OneAtATime(requests, hear)

    def _access(self) -> tuple[WebAddress, dict[str, str], str | None]:
        settings = self._settings
        given = settings.url.reveal() if isinstance(settings.url, Secret) else settings.url
        try:
            address = web_address(given, insecure=settings.insecure)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"andon/{version('andon')}",
        }
        if settings.token is not None:
            token = settings.token.reveal()
            if not _VISIBLE.fullmatch(token):  # the HTTP library would refuse it later and show it
                raise ConfigError(
                    f"token: {settings.token.place}: expected visible ASCII characters, found others. Correct it."
                )
            headers["Authorization"] = f"Bearer {token}"
        return address, headers, settings.sign.reveal() if settings.sign is not None else None


class _Requests:
    """The requests of one connection. The standard library's client is enough: no pool, no retry and no redirect is wanted."""

    def __init__(
        self, address: WebAddress, headers: dict[str, str], key: str | None, tls: ssl.SSLContext, timeout_s: float
    ) -> None:
        self._address = address
        self._headers = headers
        self._key = key
        self._over = False
        self._used = False
        self._http: HTTPConnection = (
            _Https(address.host, address.port, timeout=timeout_s, context=tls)
            if address.tls
            else HTTPConnection(address.host, address.port, timeout=timeout_s)
        )

    def deliver(self, message: Message) -> Reply:
        """Send one request and return the meaning of its answer."""
        try:
            try:
                return self._post(message)
            except ConnectionError:  # RemoteDisconnected is one, too
                if not self._used or self._over:
                    raise
                # the receiver had closed an idle connection, which is normal
                self._http.close()
                return self._post(message)
        except (OSError, HTTPException) as error:
            return Gone(why(error))

    def interrupt(self) -> None:
        """End a running request."""
        self._over = True
        opened: socket.socket | None = self._http.sock
        if opened is not None:
            with contextlib.suppress(OSError):
                # not SSLSocket.shutdown, which changes the object that the other thread is using
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, message: Message) -> Reply:
        headers = self._headers | {"Idempotency-Key": message.key}
        if self._key is not None:
            headers["X-Andon-Signature"] = signature(self._key, message.payload)
        if self._http.sock is None:
            self._http.connect()
        if self._over:  # `interrupt` had nothing to end while the connection was not open
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        self._http.request("POST", self._address.target, body=message.payload, headers=headers)
        response = self._http.getresponse()
        self._used = True
        reply = reply_of(message.seq, response.status, response.headers.get("Retry-After"))
        if len(response.read(LONGEST_ANSWER + 1)) > LONGEST_ANSWER:
            self._http.close()
        return reply


class _Https(HTTPSConnection):
    """A connection whose socket is known during the TLS handshake, so that `interrupt` can end it."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        HTTPConnection.connect(self)
        plain: socket.socket = self.sock
        opened = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = opened
        opened.do_handshake()


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"ca_file: {ca_file}: expected certificates in PEM form: {why(error)}.") from error


def _open(settings: Settings, context: OutputContext) -> Webhook:
    opened = Webhook(settings)
    if not opened.encrypted:
        logger.warning("the output %s: events leave this machine without encryption (insecure = true)", context.name)
    return opened


OUTPUT = OutputKind(
    name="webhook",
    summary="send each event as one HTTP POST request",
    settings=Settings,
    open=_open,
)
