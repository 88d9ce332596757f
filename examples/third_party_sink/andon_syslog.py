"""Send one syslog message (RFC 5424) for each item that is not OK, to a local socket or with UDP.

Syslog does not confirm messages. The sink counts a message as lost if the system reports that it could not be sent.
"""

import logging
import re
import socket
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.monitor.judging import Outcome
from andon.monitor.sink import SinkContext, SinkKind
from andon.runtime.schema import Status

logger = logging.getLogger(__name__)

FACILITY = 16
"""Facility local0."""
SEVERITIES = {Status.REJECT: 4, Status.REVIEW: 5, Status.INVALID: 5}
"""4 is a warning, 5 a notice."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the sink."""

    address: Annotated[str, Meta(min_length=1, description="path of the local socket, or HOST:PORT for UDP")] = (
        "/dev/log"
    )
    tag: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,48}$", description="name of the program in each message")] = (
        "andon"
    )


class Syslog:
    """The opened sink. A server that is away costs messages, and never delays the monitor."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._family, self._target = target(settings.address)
        self._host = re.sub(r"[^!-~]", "", socket.gethostname()) or "-"
        self._socket: socket.socket | None = None
        self._failing = False
        self._sent = 0
        self.lost = 0

    def put(self, outcome: Outcome) -> None:
        """Send a message about an item that is not OK."""
        if outcome.verdict.status not in SEVERITIES:
            return
        try:
            self._connected().send(message(outcome, self._host, self._settings.tag))
        except OSError as error:  # also a full buffer: the socket never waits
            self.lost += 1
            self.close()  # a server that was started again has a new socket
            if not self._failing:
                logger.warning("syslog: %s: %s. Messages are lost", self._settings.address, error.strerror)
            self._failing = True
        else:
            self._failing = False
            self._sent += 1

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def summary(self) -> str:
        """Number of messages, for the last line of the monitor."""
        return f"{self._sent} syslog messages"

    def _connected(self) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(self._family, socket.SOCK_DGRAM)
            opened.setblocking(False)
            self._socket = opened  # `close` then closes it, also if `connect` fails
            opened.connect(self._target)
        return self._socket


def message(outcome: Outcome, host: str, tag: str) -> bytes:
    """Return the syslog message of an item. Names of items can hold anything, so they are escaped."""
    verdict = outcome.verdict
    priority = 8 * FACILITY + SEVERITIES[verdict.status]
    at = datetime.fromtimestamp(outcome.wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    why = verdict.reason.code if verdict.status == Status.INVALID else f"level {verdict.level:.2f}"
    text = f"{verdict.status.name} {printable(outcome.ref.key)} {why}"
    return f"<{priority}>1 {at} {host} {tag} - - - {text}".encode()


def target(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the family and the target of an address.

    Raises:
        ConfigError: it is neither an absolute path nor an IPv4 address with a port.
    """
    if address.startswith("/"):
        return socket.AF_UNIX, address
    found = re.fullmatch(r"(localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}):([0-9]{1,5})", address)
    if found is None or not 0 < int(found[2]) < 65536:  # a name lookup could delay the monitor
        raise ConfigError(
            f"address: expected a path or an IPv4 address and a port, for example 127.0.0.1:514, got {address!r}."
        )
    return socket.AF_INET, (found[1].replace("localhost", "127.0.0.1"), int(found[2]))


def check(settings: Settings, context: SinkContext) -> None:  # noqa: ARG001 - the signature of all checks
    """Look whether there is a local socket, for ``andon check``. It sends nothing.

    Raises:
        ConfigError: the address is wrong, or no server listens on the local socket.
    """
    sink = Syslog(settings)
    try:
        sink._connected()
    except OSError as error:
        raise ConfigError(f"address: {settings.address}: {error.strerror}. Start the syslog server.") from error
    finally:
        sink.close()


def open_sink(settings: Settings, context: SinkContext) -> Syslog:  # noqa: ARG001 - the signature of all sinks
    """Open the sink. A server that is away now may come later."""
    return Syslog(settings)


SINK = SinkKind(
    name="syslog",
    summary="send one syslog message for each item that is not OK",
    settings=Settings,
    open=open_sink,
    check=check,
)
