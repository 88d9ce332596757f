"""Stop a process, as if it hung."""

import os
import signal
import time
from pathlib import Path


def stop(pid: int) -> None:
    """Send SIGSTOP, and wait until all threads of the process stand still. The signal alone takes its time on a busy machine."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    end_s = time.monotonic() + 20
    while tasks.exists() and not all(_stopped(task) for task in tasks.iterdir()):
        assert time.monotonic() < end_s, "the process did not stop"
        time.sleep(0.001)


def _stopped(task: Path) -> bool:
    try:
        # the name of the thread is in brackets and may contain spaces; the state comes after it
        return (task / "stat").read_text().rpartition(") ")[2].startswith("T")
    except OSError:  # the thread has ended
        return True
