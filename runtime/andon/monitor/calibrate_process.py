"""Run ``andon calibrate`` in a child process with limits of time, memory and file size. The monitor itself never calibrates.

The child gets no secrets: its environment has only what Python needs. It runs with low priority (the command does this itself).
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable

LONGEST_S = 600.0
"""Longest time of a calibration, and longest CPU time."""
MOST_MEMORY = 8 << 30
"""Largest address space of the child, in bytes."""
MOST_OUTPUT = 1 << 16
"""Characters of the output that are read."""
_SPARE_BYTES = 64 << 20
"""Size by which the new file may be larger than the old one."""
_LOOK_S = 0.05
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP")


class Statement(Struct, frozen=True, kw_only=True):
    """The promise of a model file, and the facts behind it."""

    promise: str
    """The sentence."""
    threshold: float
    n: int
    """Number of good parts or windows."""
    date: str
    digest: str


class HighPart(Struct, frozen=True, kw_only=True):
    """A good part with a high score. A defective part among the good ones would raise the threshold."""

    item: str
    score: float | None


class Move(Struct, frozen=True, kw_only=True):
    """The move of the threshold, compared with the good parts of both calibrations."""

    n_before: int
    above_before: int
    """Number of new parts above the old threshold."""
    above_after: int
    """Number of old parts above the new threshold."""


class Calibrated(Struct, frozen=True, kw_only=True):
    """The result of ``andon calibrate --json``."""

    before: Statement
    after: Statement
    move: Move | None = None
    highest: tuple[HighPart, ...] = ()


def environment(given: dict[str, str]) -> dict[str, str]:
    """Return the variables of the child: those that Python needs, and one thread for numeric libraries."""
    kept = {name: given[name] for name in _KEPT_VARIABLES if name in given}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def calibrate(old: Path, scores: Path, new: Path, *, reason: str, stop: threading.Event) -> Calibrated:
    """Calibrate a model file from stored scores in a child process.

    Args:
        old: the model file.
        scores: JSON lines.
        new: file to write.
        reason: reason for the log in the file.
        stop: ends the child.

    Raises:
        ConfigError: the command refused, failed, or did not end in time. The text is the reason that it printed.
    """
    # -P: no module of the working folder is imported
    command = [sys.executable, "-P", "-m", "andon", "calibrate", str(old), "--from", str(scores), "-o", str(new)]
    code, output, errors = limited(
        [*command, "--reason", reason, "--json"],
        folder=new.parent,
        stop=stop,
        most_file_bytes=old.stat().st_size + _SPARE_BYTES,
    )
    if code != 0:
        raise ConfigError(_refusal(errors) or f"andon calibrate failed with code {code} and no message")
    try:
        return msgspec.json.decode(output, type=Calibrated)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"andon calibrate: expected a result as JSON, got other output: {error}.") from error


def limited(
    command: Sequence[str], *, folder: Path, stop: threading.Event, most_file_bytes: int, longest_s: float = LONGEST_S
) -> tuple[int, str, str]:
    """Run a command with limits. Return its exit code, and the beginnings of its two outputs.

    Args:
        command: program and arguments. No shell is used.
        folder: working folder. Both outputs are written there.
        stop: ends the command.
        most_file_bytes: largest file that it can write, where the system supports it.
        longest_s: longest time.

    Raises:
        ConfigError: the command cannot be started, did not end in time, or was stopped.
    """
    outputs = folder / "stdout", folder / "stderr"
    try:
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            # in a group of its own, so that Ctrl-C in a terminal reaches the monitor only
            child = subprocess.Popen(  # noqa: S603 - a fixed program without a shell
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment(dict(os.environ)),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise ConfigError(f"andon calibrate cannot be started: {error.strerror or error}") from error
    try:
        _limit(child.pid, most_file_bytes, longest_s)
        waited_s = 0.0
        while child.poll() is None:
            if stop.wait(_LOOK_S):
                raise ConfigError("the monitor stops, so the calibration was ended")
            waited_s += _LOOK_S
            if waited_s >= longest_s:
                raise ConfigError(f"andon calibrate: expected an end within {longest_s:g} s, got none. It was ended.")
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    texts = [one.read_bytes()[:MOST_OUTPUT].decode(errors="replace") for one in outputs]
    return child.returncode, texts[0], texts[1]


def _limit(pid: int, most_file_bytes: int, longest_s: float) -> None:
    """Limit a running process. Only Linux can do this from outside. A function in the child would not be safe with threads."""
    try:
        import resource

        prlimit = resource.prlimit  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, AttributeError):
        return
    limits = {
        resource.RLIMIT_AS: MOST_MEMORY,
        resource.RLIMIT_CPU: int(longest_s) + 1,
        resource.RLIMIT_FSIZE: most_file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        try:
            prlimit(pid, limit, (value, value))
        except (OSError, ValueError):  # the process has ended, or the limit of the monitor itself is lower
            continue


def _refusal(errors: str) -> str:
    """Return the last message that the command printed, without the name of the program."""
    lines = [text.strip() for text in errors.splitlines() if text.strip()]
    return printable(lines[-1].removeprefix("andon: "), limit=1000) if lines else ""
