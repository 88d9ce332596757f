"""Decide what a request may do: from the token in its header, or from the session of a person who has logged in.

* The act token opens everything. The view token opens reading.
* Without ``view_token`` in the settings, everyone who reaches the server can read. This is possible on loopback only.
* Without ``act_token`` in the settings, no request can change anything. Acting needs a token also on loopback, because each
  program and each user of the machine can connect there.
"""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.loopback import is_loopback
from andon.monitor.web.failure_limit import FailureLimit
from andon.monitor.web.rate_limit import RateLimit
from andon.monitor.web.sessions import SESSION_S, Session, Sessions
from andon.monitor.web.settings import WebSettings, act_token, view_token
from andon.sources.clock import Clock

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Scope

logger = logging.getLogger(__name__)

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Access(Struct, frozen=True, kw_only=True):
    """The rights of one request."""

    may_view: bool
    may_act: bool
    session: Session | None = None
    """The session of the person, if the request has one."""
    with_token: bool = False
    """True if the request has a right token in its header. Other sites cannot send one."""
    local: bool = False
    """True if the request is from this machine and was not forwarded by a proxy."""
    wait_s: float = 0.0
    """Seconds until the address may try a token again, after too many wrong ones."""
    broken: bool = False
    """True if a token of the settings cannot be read at present."""

    @property
    def name(self) -> str:
        """The name that the person gave at login, for records. It is a claim, not a proof. ``token`` for a program."""
        return self.session.name if self.session is not None else "token" if self.with_token else ""


class Login(NamedTuple):
    """The result of a login."""

    identifier: str = ""
    """Identifier of the new session, for the cookie. Empty if the token was refused."""
    wait_s: float = 0.0
    """Seconds until the address may try again. 0 if the token was only wrong."""
    broken: bool = False
    """True if a token of the settings cannot be read, so that no token is right."""


class AccessControl:
    """Tokens, sessions and limits of one server. Used by the thread of the server.

    Args:
        settings: settings that `check_web` has accepted.
        clock: for sessions and limits.
    """

    def __init__(self, settings: WebSettings, clock: Clock) -> None:
        self.settings = settings
        self.sessions = Sessions()
        self.failures = FailureLimit()
        self.rate = RateLimit()
        self._clock = clock
        self._logged = ""

    @property
    def can_log_in(self) -> bool:
        """True if the settings have a token."""
        return self.settings.view_token is not None or self.settings.act_token is not None

    def access(self, scope: "Scope", headers: "Headers", *, counted: bool = True) -> Access:
        """Return what the request may do.

        Args:
            scope: the request.
            headers: its headers.
            counted: count a wrong token against the address.
        """
        view, act, broken = self._digests()
        everyone = self.settings.view_token is None
        local = _is_local(scope, headers)
        given = _bearer(headers)
        if given is None:
            session = self._session(scope, headers, view, act)
            may_act = session is not None and same(session.token_digest, act)
            may_view = everyone or session is not None
            wait_s = 0.0 if session is not None else self._wait_s(scope, headers)
            return Access(
                may_view=may_view, may_act=may_act, session=session, local=local, wait_s=wait_s, broken=broken
            )
        wait_s = self._wait_s(scope, headers)
        if wait_s > 0.0:  # also the right token is refused: otherwise guessing could go on
            return Access(may_view=everyone, may_act=False, local=local, wait_s=wait_s, broken=broken)
        is_act, is_view = same(digest(given), act), same(digest(given), view)
        if not (is_act or is_view) and self.can_log_in and not broken and counted:
            self.failures.failed(self.client(scope, headers), self._clock.mono_s())
        return Access(
            may_view=everyone or is_view or is_act,
            may_act=is_act,
            with_token=is_view or is_act,
            local=local,
            broken=broken,
        )

    def log_in(self, scope: "Scope", headers: "Headers", token: str, name: str) -> Login:
        """Begin a session if the token is right. The session that the request had before ends."""
        now_s, address = self._clock.mono_s(), self.client(scope, headers)
        wait_s = self.failures.wait_s(address, now_s)
        if wait_s > 0.0:
            return Login(wait_s=wait_s)
        view, act, broken = self._digests()
        given = digest(token.strip().encode("utf-8", "surrogatepass"))
        is_act, is_view = same(given, act), same(given, view)
        if not (is_act or is_view):
            if not broken:
                self.failures.failed(address, now_s)
            return Login(broken=broken)
        self.log_out(scope, headers)
        identifier, _ = self.sessions.begin(given, name, now_s)
        return Login(identifier=identifier)

    def log_out(self, scope: "Scope", headers: "Headers") -> None:
        """End the session of the request, if it has one."""
        identifier = _cookie(headers, self.cookie_name(scope))
        if identifier is not None:
            self.sessions.end(identifier)

    def change_wait_s(self, scope: "Scope", headers: "Headers", access: Access) -> float:
        """Count one change, and return 0 or the seconds until the next one is allowed.

        Changes are counted for the session, if there is one. Strangers at the same address then cannot use up its limit.
        """
        client = self.client(scope, headers)
        if access.session is not None:
            client = f"session {access.session.csrf}"
        elif access.with_token:
            client = f"token {client}"
        return self.rate.wait_s(client, self._clock.mono_s())

    def cookie_name(self, scope: "Scope") -> str:
        """Return the name of the cookie. It has the port, because browsers send cookies to all ports of a machine.

        With the prefix ``__Host-``, a browser accepts it only over https and for this host alone.
        """
        server = scope.get("server")
        port = server[1] if server else self.settings.port
        return f"{'__Host-' if self.settings.is_encrypted else ''}andon-{port}"

    def cookie(self, scope: "Scope", identifier: str) -> str:
        """Return the header ``Set-Cookie`` for a session. An empty identifier removes the cookie."""
        age_s = int(SESSION_S) if identifier else 0
        secure = "; Secure" if self.settings.is_encrypted else ""
        name = self.cookie_name(scope)
        return f"{name}={identifier}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"

    def client(self, scope: "Scope", headers: "Headers") -> str:
        """Return the address that limits are counted for. Only the proxy's own entry of the header can be trusted."""
        peer = _peer(scope)
        if not self.settings.behind_proxy:
            return peer
        entries = headers.getlist("x-forwarded-for")
        last = entries[-1].rpartition(",")[2].strip() if entries else ""
        try:
            return str(ipaddress.ip_address(last))
        except ValueError:
            return peer

    def _wait_s(self, scope: "Scope", headers: "Headers") -> float:
        return self.failures.wait_s(self.client(scope, headers), self._clock.mono_s()) if self.can_log_in else 0.0

    def _session(self, scope: "Scope", headers: "Headers", view: bytes | None, act: bytes | None) -> Session | None:
        """Return the session of the request if the token that opened it is still a token of the settings."""
        identifier = _cookie(headers, self.cookie_name(scope))
        session = self.sessions.find(identifier, self._clock.mono_s()) if identifier is not None else None
        if session is None or not (same(session.token_digest, view) or same(session.token_digest, act)):
            return None
        return session

    def _digests(self) -> tuple[bytes | None, bytes | None, bool]:
        """Return the digests of the view token and the act token, and whether one of them cannot be read."""
        errors: list[str] = []

        def read(token: Callable[[WebSettings], bytes | None]) -> bytes | None:
            try:
                value = token(self.settings)
            except ConfigError as error:  # the file was removed or changed while the monitor runs
                errors.append(str(error))
                return None
            return None if value is None else digest(value)

        view, act = read(view_token), read(act_token)
        if view is not None and same(view, act):
            errors.append("[web]: view_token and act_token are the same; acting is refused until they differ")
            act = None
        text = "; ".join(errors)
        if text and text != self._logged:
            logger.error("%s", text)
        self._logged = text
        return view, act, bool(errors)


def digest(token: bytes) -> bytes:
    """Return the digest by which tokens are compared: all digests have the same length."""
    return hashlib.sha256(token).digest()


def same(given: bytes, expected: bytes | None) -> bool:
    """Compare two digests. The duration does not depend on their content. None is equal to nothing."""
    return expected is not None and hmac.compare_digest(given, expected)


def _is_local(scope: "Scope", headers: "Headers") -> bool:
    return is_loopback(_peer(scope)) and not any(name in headers for name in _FORWARDED)


def _peer(scope: "Scope") -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _bearer(headers: "Headers") -> bytes | None:
    given = headers.get("authorization")
    if given is None:
        return None
    kind, _, token = given.partition(" ")
    # headers are Latin-1; an Authorization of another kind is a wrong token
    return token.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def _cookie(headers: "Headers", name: str) -> str | None:
    """Return the value of a cookie, or None if it is absent or given twice. Then one of them may be from another site."""
    pairs = (pair.partition("=") for header in headers.getlist("cookie") for pair in header.split(";"))
    values = [value.strip() for found, _, value in pairs if found.strip() == name]
    return values[0] if len(values) == 1 else None
