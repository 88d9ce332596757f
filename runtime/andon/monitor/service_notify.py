"""Report the state of the monitor to the service manager (systemd): ready, live, reloading, stopping, and one line of text.

The protocol is one datagram for each message, to the socket in ``NOTIFY_SOCKET`` (sd_notify(3)). Without this variable nothing
is sent. Sending never waits and never raises an exception: judging must not depend on the service manager.
"""

import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Mapping

from andon.foundation.printable import printable
from andon.monitor.health import Health, liveness, readiness
from andon.monitor.status import ProcessStatus

logger = logging.getLogger(__name__)

_LONGEST_TEXT = 200


class ServiceNotifier:
    """Send messages to the service manager. One thread calls `beat` regularly, at least four times a second.

    Args:
        address: path of the socket, or ``@NAME`` for an abstract one. None: nothing is sent.
        interval_s: pause between two watchdog messages. None: the service manager expects none.
    """

    def __init__(self, address: str | None, interval_s: float | None = None) -> None:
        self._address = address
        self._interval_s = interval_s
        self._socket: socket.socket | None = None
        self._ready = False
        self._fed_s: float | None = None
        self._text = ""
        self._text_s: float | None = None
        self._health = Health()
        self._failing = ""

    def beat(self, status: ProcessStatus) -> None:
        """Send what has changed: READY once, and the text at most once a second.

        The watchdog message is sent at each interval, but only while the process is live.
        """
        health = liveness(status)
        if self._ready:  # before that, the text has the reason
            self._log_change(health)
        messages = []
        if not self._ready and not status.reloading and readiness(status).ok:
            messages.append("READY=1")
        text = status_text(status)
        if text != self._text and (self._text_s is None or status.now_s - self._text_s >= 1.0):
            messages.append(f"STATUS={text}")
        due = self._fed_s is None or self._interval_s is None or status.now_s - self._fed_s >= self._interval_s
        if self._interval_s is not None and due and health.ok:
            messages.append("WATCHDOG=1")
        if not messages or not self._send(messages):
            return
        for message in messages:  # what could not be sent is tried again with the next beat
            if message == "READY=1":
                self._ready = True
            elif message == "WATCHDOG=1":
                self._fed_s = status.now_s
            else:
                self._text, self._text_s = text, status.now_s

    def reloading(self, now_s: float) -> None:
        """Report that a reload begins. The next `beat` of a ready monitor ends it.

        Args:
            now_s: the system's monotonic clock (`time.monotonic`), which systemd compares with its own.
        """
        self._ready = False
        self._send(["RELOADING=1", f"MONOTONIC_USEC={int(now_s * 1e6)}"])

    def stopping(self) -> None:
        """Report that the monitor stops."""
        self._send(["STOPPING=1", "STATUS=stopping"])

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, messages: list[str]) -> bool:
        """Send one datagram and return whether it was accepted."""
        if self._address is None:
            return True
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(messages).encode(), self._address.replace("@", "\0", 1))
        except OSError as error:
            reason = error.strerror or errno.errorcode.get(error.errno or 0, "unknown")
            if reason != self._failing:  # once for each kind of failure, because it is tried four times a second
                logger.warning("the service manager cannot be reached: %s", reason)
            self._failing = reason
            return False
        self._failing = ""
        return True

    def _log_change(self, health: Health) -> None:
        if health.ok != self._health.ok:
            if health.ok:
                logger.warning("the monitor is live again")
            else:
                logger.error("the monitor is not live: %s", "; ".join(health.reasons))
        self._health = health


def notifier_from_environment(
    environment: Mapping[str, str] = os.environ, *, pid: int | None = None
) -> ServiceNotifier:
    """Return a notifier for the variables that systemd sets. Without them, and on Windows, it sends nothing.

    Args:
        environment: the variables ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
        pid: the process that systemd watches. Default: this process.
    """
    address = environment.get("NOTIFY_SOCKET") or None
    if address is not None and (address[0] not in "/@" or not hasattr(socket, "AF_UNIX")):
        logger.warning("NOTIFY_SOCKET: expected a path or @NAME, got %s. Nothing is sent.", printable(address))
        address = None
    return ServiceNotifier(address, watchdog_interval_s(environment, pid=os.getpid() if pid is None else pid))


def watchdog_interval_s(environment: Mapping[str, str], *, pid: int) -> float | None:
    """Return the pause between two watchdog messages: a third of the time after which systemd restarts. None without a watchdog.

    >>> watchdog_interval_s({"WATCHDOG_USEC": "30000000"}, pid=1)
    10.0
    """
    text, watched = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if watched and watched != str(pid):
        return None
    if not text.isdecimal() or int(text) == 0:
        return None
    return int(text) / 3e6


def status_text(status: ProcessStatus) -> str:
    """Return the state of the monitor on one line, for ``systemctl status``.

    For example ``1 running line; judged 10, rejected 1, invalid 0; 1 active alarm``.
    """
    states = Counter(line.state for line in status.lines)
    lines = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "no"
    counters = [line.counters for line in status.lines]
    totals = (
        f"judged {sum(one.judged for one in counters)}, rejected {sum(one.by_status.get('REJECT', 0) for one in counters)}, "
        f"invalid {sum(one.invalid for one in counters)}"
    )
    active = sum(state.active for line in status.lines for state in line.alarms.values())
    alarms = f"; {active} active alarm{'s' if active > 1 else ''}" if active else ""
    reasons = readiness(status).reasons
    why = f"; not ready: {reasons[0]}" if reasons else ""
    text = f"{lines} line{'' if len(status.lines) == 1 else 's'}; {totals}{alarms}{why}"
    return printable(text, limit=_LONGEST_TEXT)
