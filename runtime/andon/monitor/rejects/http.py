"""Switch a relay with one HTTP request for each reject signal.

The relay ends its pulse itself, for example with ``http://127.0.0.1/relay/0?turn=on&timer=1``, or `off_url` switches it off after
``pulse_s``. An answer 2xx confirms the signal. A request is never repeated, and redirects are not followed.
"""

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs
from andon.foundation.secret import Secret
from andon.monitor.network_errors import why
from andon.monitor.reject import RejectRule
from andon.monitor.reject_kind import RejectFailed, RejectKind
from andon.monitor.web_address import web_address

LONGEST_ANSWER = 4096
"""Bytes of an answer that are read. The connection is closed after a longer one."""
_SECRET_QUERY = re.compile(
    r"[?&](?:[^=&#]*[-_])?(?:auth|key|pass|passwd|password|pwd|secret|sig|signature|token)=", re.IGNORECASE
)
_VISIBLE = re.compile(r"[!-~]+")


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the relay."""

    url: Annotated[
        str | Secret,
        Meta(description="address that switches on. Give it as a secret if it contains a password or a token"),
    ]
    off_url: Annotated[str | Secret | None, Meta(description="address that switches off after pulse_s")] = None
    method: Annotated[Literal["GET", "POST"], Meta(description="method of the requests")] = "GET"
    body: Annotated[str, Meta(description="JSON body of a POST request")] = ""
    token: Annotated[Secret | None, Meta(description="secret sent as Authorization: Bearer")] = None
    ca_file: Annotated[
        str | None,
        Meta(description="file of certificates to trust, none for those of the system", extra={"path": "file"}),
    ] = None
    timeout_s: Annotated[
        float, Meta(ge=0.01, le=5, description="longest time for one request", extra={"unit": "s"})
    ] = 0.2
    insecure: Annotated[
        bool,
        Meta(description="allow http:// to another machine. Everyone on the way can then switch the relay"),
    ] = False

    def __post_init__(self) -> None:
        if self.body and self.method != "POST":
            raise ValueError(
                'body: expected method = "POST" with a body, got GET. Set the method, or leave out the body.'
            )
        for name in ("url", "off_url"):
            url = getattr(self, name)
            if isinstance(url, str):
                if "@" in url or _SECRET_QUERY.search(url):  # never with the value: it may be a secret
                    raise ValueError(
                        f"{name}: expected an address without a password or token, got one with it. Store the whole address "
                        f'elsewhere, and write {name} = {{ env = "NAME" }}.'
                    )
                _checked(name, url, insecure=self.insecure)


class HttpRelay:
    """An opened relay. Secrets are read once, because a signal must not wait for a file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = _revealed("url", settings.url, insecure=settings.insecure)
        self._off_url = (
            _revealed("off_url", settings.off_url, insecure=settings.insecure) if settings.off_url is not None else None
        )
        self._headers = {"User-Agent": "andon"}
        if settings.body:
            self._headers["Content-Type"] = "application/json"
        if settings.token is not None:
            token = settings.token.reveal()
            if not _VISIBLE.fullmatch(token):  # the HTTP library would refuse it later and show it
                raise ConfigError(
                    f"token: {settings.token.place}: expected visible ASCII characters, found others. Correct it."
                )
            self._headers["Authorization"] = f"Bearer {token}"
        with needs("monitor", "the reject signal http"):
            import urllib3
        self._errors: Any = urllib3.exceptions
        self._pool = urllib3.PoolManager(
            maxsize=1, retries=False, timeout=urllib3.Timeout(total=settings.timeout_s), ca_certs=settings.ca_file
        )

    def on(self) -> None:
        """Switch on."""
        self._request(self._url)

    def off(self) -> None:
        """Switch off, if there is an address for it."""
        if self._off_url is not None:
            self._request(self._off_url)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _request(self, url: str) -> None:
        settings = self._settings
        try:
            response = self._pool.request(
                settings.method,
                url,
                body=settings.body.encode() or None,
                headers=self._headers,
                redirect=False,
                preload_content=False,
            )
            response.read(LONGEST_ANSWER)
            response.release_conn() if response.length_remaining in (0, None) else response.close()
        except (self._errors.HTTPError, OSError) as error:
            # not the error's own text and not the error as a cause: both contain the address
            raise RejectFailed(self._failure(error)) from None
        if not 200 <= response.status < 300:
            raise RejectFailed(f"expected an answer 2xx of the relay, got HTTP {response.status}")

    def _failure(self, error: Exception) -> str:
        cause = error.__cause__
        timed_out = isinstance(error, self._errors.TimeoutError) and not isinstance(
            error, self._errors.NewConnectionError
        )
        if timed_out or isinstance(cause, TimeoutError):
            return f"no answer of the relay within {self._settings.timeout_s:g} s"
        return f"the relay: {why(cause if cause is not None else error)}"


def _checked(name: str, url: str, *, insecure: bool) -> str:
    """Return a web address that is correct.

    Raises:
        ValueError: it is not. The message does not contain it.
    """
    try:
        web_address(url, insecure=insecure)
    except ValueError as error:
        raise ValueError(f"{name}{str(error).removeprefix('url')}") from None
    return url


def _revealed(name: str, url: str | Secret, *, insecure: bool) -> str:
    if isinstance(url, str):
        return url
    try:
        return _checked(name, url.reveal(), insecure=insecure)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _fits(settings: Settings, rule: RejectRule) -> None:
    if (settings.off_url is not None) != (rule.pulse_s > 0):
        got = f"off_url = {'an address' if settings.off_url is not None else 'none'} and pulse_s = {rule.pulse_s:g}"
        raise ConfigError(f"expected off_url and pulse_s together, or none of them, got {got}. Add the other one.")
    if settings.timeout_s > rule.budget_s:
        raise ConfigError(
            f"expected timeout_s of at most travel_s - actuator_s = {rule.budget_s:g} s, got {settings.timeout_s:g}. Lower it."
        )


REJECT = RejectKind(
    name="http",
    summary="switch a relay with an HTTP request",
    settings=Settings,
    open=HttpRelay,
    check=_fits,
)
