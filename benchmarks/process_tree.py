"""Measure the CPU time of a command and of all processes that it starts, also of those that outlive it.

``getrusage`` is not enough: Ray's processes are not waited for by the processes that start them.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_LOOK_EVERY_S = 0.02


class Cost(NamedTuple):
    """Cost of one command."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    """Largest sum of the resident memory of all processes at one moment. Shared memory counts several times."""
    returncode: int
    output: str


@contextlib.contextmanager
def adopted_orphans() -> Iterator[None]:
    """Make this process the parent of processes whose parent ends, so that the tree below it stays whole."""
    library = ctypes.CDLL(None)
    library.prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    try:
        yield
    finally:
        library.prctl(_ADOPT_ORPHANS, 0, 0, 0, 0)


class Process(NamedTuple):
    """Facts about a process that has not ended."""

    parent: int
    session: int
    cpu_s: float
    resident_mb: float
    ended: bool
    """True if its parent has not waited for it yet."""


def processes() -> dict[int, Process]:
    """Return all processes of the machine by their id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu_s, resident_mb = (int(stat[11]) + int(stat[12])) / _TICKS, int(stat[21]) * 4096 / 1e6
        found[int(entry.name)] = Process(int(stat[1]), int(stat[3]), cpu_s, resident_mb, stat[0] == "Z")
    return found


def descendants(root: int) -> dict[int, Process]:
    """Return the living processes below a process."""
    everything = processes()
    children: dict[int, list[int]] = {}
    for pid, one in everything.items():
        children.setdefault(one.parent, []).append(pid)
    found, look = {}, [root]
    while look:
        for child in children.get(look.pop(), []):
            look.append(child)
            if not everything[child].ended:
                found[child] = everything[child]
    return found


def members(sessions: Container[int]) -> set[int]:
    """Return the living processes of some sessions. Unlike the tree, a session keeps processes whose parent has died."""
    return {pid for pid, one in processes().items() if one.session in sessions and not one.ended}


def run(words: Sequence[str], *, timeout_s: float = 1800) -> Cost:
    """Run a command and measure it. Afterwards no process of it is left.

    Call it within `adopted_orphans`.
    """
    begun_s = time.monotonic()
    cpu: dict[int, float] = {}
    peak_mb = 0.0
    before = set(descendants(os.getpid()))
    with subprocess.Popen(list(words), stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as process:
        while process.poll() is None and time.monotonic() - begun_s < timeout_s:
            now = {pid: one for pid, one in descendants(os.getpid()).items() if pid not in before}
            cpu |= {pid: one.cpu_s for pid, one in now.items()}
            peak_mb = max(peak_mb, sum(one.resident_mb for one in now.values()))
            time.sleep(_LOOK_EVERY_S)
        wall_s = time.monotonic() - begun_s
        process.kill()
        output = process.stdout.read() if process.stdout else ""
    end_all(before)
    return Cost(sum(cpu.values()), wall_s, peak_mb, process.returncode, output)


def end_all(keep: set[int]) -> None:
    """Kill the processes below this one, except those to keep, and wait for them."""
    deadline_s = time.monotonic() + 20
    seen = set[int]()
    while time.monotonic() < deadline_s:
        left = {pid for pid in descendants(os.getpid()) if pid not in keep}
        seen |= left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not left:
            return
        time.sleep(0.05)
