"""Settings of the web server of a monitor: the table ``[web]``, and the rules that keep an open port safe.

By default only programs on the same machine can connect, and they need no token for viewing. For any other address a token is
required, and either TLS or a proxy that adds it. Acting always needs a token of its own, also on the same machine.
"""

import hmac
import ipaddress
import os
import re
import ssl
import stat
from datetime import time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.loopback import is_loopback
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.monitor.shifts import shift_began

SHORTEST_TOKEN = 22
"""Characters of a token. 22 characters of base64 hold 128 random bits."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


class WebSettings(Struct, frozen=True, kw_only=True):
    """Settings of the web server."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=253,
            description="listen on this address; 127.0.0.1 is reached from this machine only",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="listen on this port; 0 chooses a free one")] = 8420
    allowed_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="names by which others reach the server, with or without a port; needed if host is not a loopback "
            "address"
        ),
    ] = ()
    tls_cert: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="certificate with its chain, a PEM file", extra={"path": "file"}),
    ] = None
    tls_key: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="private key of the certificate, a PEM file without a password", extra={"path": "file"}),
    ] = None
    behind_proxy: Annotated[
        bool,
        Meta(
            description="a proxy in front of the server adds TLS, and the last entry of its X-Forwarded-For is the client"
        ),
    ] = False
    view_token: Annotated[
        Secret | None,
        Meta(description="token for viewing: people log in with it, programs send 'Authorization: Bearer TOKEN'"),
    ] = None
    act_token: Annotated[
        Secret | None,
        Meta(description="token for viewing and acting; without it the server is read-only for everyone"),
    ] = None
    shift_starts: Annotated[
        tuple[Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")], ...],
        Meta(min_length=1, max_length=24, description="times of day at which a shift begins"),
    ] = ("06:00", "14:00", "22:00")
    zone: Annotated[
        str,
        Meta(
            max_length=64,
            description="time zone of the shifts, for example Europe/Berlin; none is the zone of the machine",
        ),
    ] = ""

    confirm_one_in: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(
            description="ask people about one in this many judged parts, chosen at random, for a recalibration; none: do not ask"
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.zone:
            _zone(self.zone)
        for name in self.allowed_hosts:
            if not _HOST.fullmatch(name):
                raise ValueError(
                    f'allowed_hosts: expected host names such as "line1.example" or "10.0.0.5:8420", got {printable(name)!r}.'
                )

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect."""
        return is_loopback(self.host)

    def shift_began(self, wall_s: float) -> float:
        """Return the start of the shift at this moment, both in seconds since 1970."""
        starts = [time.fromisoformat(start) for start in self.shift_starts]
        return shift_began(wall_s, starts, _zone(self.zone) if self.zone else None)

    @property
    def is_encrypted(self) -> bool:
        """True if browsers reach the server by https, so that cookies are for https only."""
        return self.tls_cert is not None or self.behind_proxy

    @property
    def known_hosts(self) -> frozenset[str]:
        """Accepted values of the header ``Host``, in lower case. A name without a port stands for all ports."""
        own = () if is_wildcard(self.host) else (f"[{self.host}]" if ":" in self.host else self.host,)
        return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, *own, *self.allowed_hosts))


def check_web(settings: WebSettings, *, at: str = "[web]") -> None:
    """Refuse settings with which the server must not start. Read the tokens and the certificate, but open no port.

    Args:
        settings: the settings.
        at: name of the table for messages.

    Raises:
        ConfigError: the server would be reachable from other machines without a token or without TLS, or the token or the
            certificate cannot be used.
    """
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, absent = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise ConfigError(f"{at}: expected {given} and {absent}, got {given} only. Add {absent}.")
    if not settings.is_loopback:
        _check_exposed(settings, at)
    elif settings.behind_proxy and settings.view_token is None:
        raise ConfigError(
            f"{at}.behind_proxy: other machines can reach the server through the proxy: expected a token, got none. "
            'Add view_token = { file = "PATH" }; andon token makes one.'
        )
    if settings.confirm_one_in is not None and settings.act_token is None:
        raise ConfigError(
            f"{at}.confirm_one_in: expected act_token too, because people need it to answer, got none. Make one with: "
            "andon token FOLDER"
        )
    view, act = view_token(settings, at=at), act_token(settings, at=at)
    if view is not None and act is not None and hmac.compare_digest(view, act):
        raise ConfigError(
            f"{at}.act_token: expected another token than view_token, got the same one. Make two with: andon token FOLDER"
        )
    tls_context(settings, at=at)


def view_token(settings: WebSettings, *, at: str = "[web]") -> bytes | None:
    """Return the token, or None if none is needed. The file is read each time, so a replaced token is used at once.

    Raises:
        ConfigError: the token is missing, too short, not ASCII, or in a file that other users can read.
    """
    return _token(settings.view_token, f"{at}.view_token")


def act_token(settings: WebSettings, *, at: str = "[web]") -> bytes | None:
    """Return the token for acting, or None if acting is switched off. The file is read each time, as for `view_token`.

    Raises:
        ConfigError: the token is missing, too short, not ASCII, or in a file that other users can read.
    """
    return _token(settings.act_token, f"{at}.act_token")


def tls_context(settings: WebSettings, *, at: str = "[web]") -> ssl.SSLContext | None:
    """Return a TLS context of version 1.2 or later, or None without a certificate.

    Raises:
        ConfigError: a file cannot be read, or the key does not belong to the certificate.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    _check_mode(Path(settings.tls_key), f"{at}.tls_key: {printable(settings.tls_key)}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # without the password an encrypted key would ask for it on the terminal
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = error.strerror or getattr(error, "reason", None) or error if isinstance(error, OSError) else error
        raise ConfigError(
            f"{at}.tls_cert: expected a PEM certificate and its key without a password, got files that cannot be used "
            f"({printable(str(reason))}). Check {printable(settings.tls_cert)} and {printable(settings.tls_key)}."
        ) from error
    return context


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f'zone: expected a time zone of this machine such as "Europe/Berlin", got {printable(name)!r}. Leave the key out '
            "to use the zone of the machine."
        ) from error


def _token(secret: Secret | None, at: str) -> bytes | None:
    if secret is None:
        return None
    if secret.file is not None:
        _check_mode(Path(secret.file), f"{at}: {secret.place}")
    token = secret.reveal()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{at}: {secret.place}: expected at least {SHORTEST_TOKEN} printable ASCII characters without spaces, "
            "found another text. Make one with: openssl rand -hex 16"
        )
    return token.encode("ascii")


def is_wildcard(host: str) -> bool:
    """Return whether an address stands for all networks of the machine.

    >>> is_wildcard("0.0.0.0"), is_wildcard("10.0.0.5")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _check_exposed(settings: WebSettings, at: str) -> None:
    place = f"{at}.host: {printable(settings.host)} can be reached from other machines"
    if settings.view_token is None:
        raise ConfigError(
            f'{place}: expected a token, got none. Add view_token = {{ file = "PATH" }}, or use host = "127.0.0.1".'
        )
    if settings.tls_cert is None and not settings.behind_proxy:
        raise ConfigError(
            f"{place}: expected TLS, got none. Add tls_cert and tls_key. If a proxy in front of it adds TLS, set "
            "behind_proxy = true."
        )
    if is_wildcard(settings.host) and not settings.allowed_hosts:
        raise ConfigError(
            f"{at}.allowed_hosts: expected the names by which other machines reach this one, got none. "
            'Example: allowed_hosts = ["line1.example"].'
        )


def _check_mode(path: Path, what: str) -> None:
    """Refuse a file that other users can read. Files of systemd's LoadCredential are safe: their folder is closed."""
    if os.name != "posix":
        return
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(credentials)):
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, ValueError):
        return  # reading the secret reports it
    if mode & 0o077:
        raise ConfigError(
            f"{what}: expected a file that only its owner can read, got mode {mode:04o}. Run: chmod 600 {printable(str(path))}"
        )
