"""Functions for workers, which they import by name. State is kept in files, because a killed worker forgets everything."""

import os
import signal
import time
from pathlib import Path

from andon.engines.engine import UnfitWorkerError


def square(number: int) -> int:
    return number * number


def square_or_fail(number: int) -> int:
    if number == 3:
        raise ValueError("three is not allowed")
    return number * number


def process_of(number: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def die_once(folder: str, number: int) -> int:
    """Kill this worker the first time that it sees a multiple of three."""
    mark = Path(folder) / str(number)
    if number % 3 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_at_five(folder: str, number: int) -> int:
    """Kill each worker that sees five, and count them."""
    if number == 5:
        with (Path(folder) / "five").open("a") as file:
            file.write(".")
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def unfit_once(folder: str, number: int) -> int:
    mark = Path(folder) / "unfit"
    if number == 2 and not mark.exists():
        mark.touch()
        raise UnfitWorkerError("this processor computes other scores")
    return number


def unfit(number: int) -> int:
    raise UnfitWorkerError("this processor computes other scores")


def mark_when_done(folder: str, number: int) -> int:
    """Write the start at once and the end after a second."""
    (Path(folder) / f"start-{number}").write_text(str(os.getpid()))
    time.sleep(1)
    (Path(folder) / f"end-{number}").touch()
    return number
