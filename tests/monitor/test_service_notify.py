"""systemd gets READY after the golden sample, and WATCHDOG only while items are judged. Complaints 4 and 30."""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from msgspec.structs import replace
from tests.monitor.statuses import FULL, statuses, with_line

from andon.monitor.health import liveness
from andon.monitor.service_notify import (
    ServiceNotifier,
    notifier_from_environment,
    status_text,
    watchdog_interval_s,
)
from andon.monitor.status import ProcessStatus

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is on Linux only")

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are on Linux only")

SICK = with_line(last_outcome_s=900.0)


class Manager:
    """The receiving end: a real datagram socket, as systemd has one."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def received(self) -> list[list[str]]:
        """Return the datagrams that arrived, each as its messages."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found

    def names(self) -> list[list[str]]:
        return [[message.partition("=")[0] for message in datagram] for datagram in self.received()]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    path = tmp_path / "notify"
    one = Manager(str(path))
    yield one
    one.socket.close()


@pytest.fixture
def notifier(manager: Manager, tmp_path: Path) -> Iterator[ServiceNotifier]:
    one = ServiceNotifier(str(tmp_path / "notify"), 10.0)
    yield one
    one.close()


def at(status: ProcessStatus, now_s: float) -> ProcessStatus:
    """Return the status at another time. The lines have judged just before it."""
    lines = tuple(line if line.last_outcome_s is None else replace(line, last_outcome_s=now_s) for line in status.lines)
    return replace(status, now_s=now_s, lines=lines, store=status.store and replace(status.store, ping_s=now_s))


def test_ready_is_sent_once_and_with_it_the_text_and_the_first_watchdog_message(
    manager: Manager, notifier: ServiceNotifier
) -> None:
    notifier.beat(FULL)
    notifier.beat(FULL)

    assert manager.received() == [["READY=1", f"STATUS={status_text(FULL)}", "WATCHDOG=1"]]


# Complaint 30
def test_nothing_is_ready_before_the_golden_sample_has_passed(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.beat(with_line(golden=False))
    assert manager.names() == [["STATUS", "WATCHDOG"]]

    notifier.beat(at(FULL, 1000.25))
    assert ["READY"] in manager.names()


# Complaint 4
def test_a_monitor_that_judges_nothing_is_not_kept_alive(
    manager: Manager, notifier: ServiceNotifier, caplog: pytest.LogCaptureFixture
) -> None:
    notifier.beat(FULL)
    manager.received()
    for second in range(1, 40):  # systemd has WatchdogSec=30 and ends the process
        notifier.beat(replace(SICK, now_s=1000.0 + second, store=None))
        assert all("WATCHDOG" not in names for names in manager.names())

    assert [record.getMessage() for record in caplog.records] == [
        "the monitor is not live: line bottles: it runs, but has not judged an item for 101.0 s (limit 2 s)"
    ]
    notifier.beat(at(FULL, 1041.0))
    assert ["WATCHDOG" in names for names in manager.names()] == [True]


def test_the_watchdog_is_fed_at_each_interval_and_not_with_each_beat(
    manager: Manager, notifier: ServiceNotifier
) -> None:
    times = [1000.0 + 0.25 * beat for beat in range(200)]
    for now_s in times:
        notifier.beat(at(FULL, now_s))

    fed = sum("WATCHDOG" in names for names in manager.names())
    assert fed == 5  # at 0, 10, 20, 30 and 40 s


def test_without_a_watchdog_only_state_is_sent(manager: Manager, tmp_path: Path) -> None:
    notifier = ServiceNotifier(str(tmp_path / "notify"), None)
    for second in range(60):
        notifier.beat(at(FULL, 1000.0 + second))
    notifier.close()

    assert manager.names() == [["READY", "STATUS"]]


def test_a_reload_ends_with_ready(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.beat(FULL)
    manager.received()
    now_s = time.monotonic()
    notifier.reloading(now_s)
    notifier.beat(at(FULL, 1001.0))

    assert manager.received() == [["RELOADING=1", f"MONOTONIC_USEC={int(now_s * 1e6)}"], ["READY=1"]]


def test_a_stop_is_reported(manager: Manager, notifier: ServiceNotifier) -> None:
    notifier.stopping()

    assert manager.received() == [["STOPPING=1", "STATUS=stopping"]]


def test_the_text_changes_at_most_once_a_second(manager: Manager, notifier: ServiceNotifier) -> None:
    for beat in range(40):
        counters = replace(FULL.lines[0].counters, judged=100 + beat)
        now = at(FULL, 1000.0 + 0.25 * beat)
        notifier.beat(replace(now, lines=(replace(now.lines[0], counters=counters), now.lines[1])))

    assert sum("STATUS" in names for names in manager.names()) == 10


@linux
def test_an_abstract_socket_is_reached() -> None:
    manager = Manager(f"@andon-test-{os.getpid()}")
    notifier = notifier_from_environment({"NOTIFY_SOCKET": f"@andon-test-{os.getpid()}"}, pid=1)
    notifier.beat(FULL)

    assert manager.names() == [["READY", "STATUS"]]
    notifier.close()
    manager.socket.close()


def test_without_systemd_nothing_is_opened_or_sent() -> None:
    notifier = notifier_from_environment({})
    notifier.beat(FULL)
    notifier.reloading(0.0)
    notifier.stopping()

    assert notifier._socket is None


def test_a_manager_that_has_gone_does_not_disturb_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = ServiceNotifier(str(tmp_path / "nothing"), 1.0)
    for second in range(5):
        notifier.beat(at(FULL, 1000.0 + second))
    assert [record.getMessage() for record in caplog.records] == [
        "the service manager cannot be reached: No such file or directory"
    ]
    manager = Manager(str(tmp_path / "nothing"))
    notifier.beat(at(FULL, 1006.0))

    assert manager.names() == [["READY", "STATUS", "WATCHDOG"]]  # what could not be sent is sent again
    notifier.close()
    manager.socket.close()


def test_a_manager_that_reads_nothing_does_not_block(manager: Manager, tmp_path: Path) -> None:
    notifier = ServiceNotifier(str(tmp_path / "notify"), 0.0001)
    began_s = time.monotonic()
    for beat in range(2000):
        notifier.beat(at(FULL, 1000.0 + beat))
    notifier.close()

    assert time.monotonic() - began_s < 5.0
    assert len(manager.received()) < 2000


@pytest.mark.parametrize("address", ["vsock:2:1", "relative", "127.0.0.1:1"])
def test_an_address_of_another_form_is_not_used(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        notifier_from_environment({"NOTIFY_SOCKET": address}).beat(FULL)

    assert "expected a path or @NAME" in caplog.text


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-3"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_is_a_third_of_the_time_after_which_systemd_restarts(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(environment, pid=7) == interval_s


@given(statuses)
def test_the_text_is_one_short_line(status: ProcessStatus) -> None:
    assert "\n" not in status_text(status)
    assert len(status_text(status)) <= 200


@linux
@given(statuses)
def test_the_watchdog_is_fed_if_and_only_if_the_process_is_live(status: ProcessStatus) -> None:
    name = f"@andon-law-{os.getpid()}"
    manager = Manager(name)
    notifier = ServiceNotifier(name, 10.0)
    notifier.beat(status)
    fed = any("WATCHDOG" in names for names in manager.names())
    notifier.close()
    manager.socket.close()

    assert fed == liveness(status).ok
