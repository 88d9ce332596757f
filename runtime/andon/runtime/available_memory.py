"""Compare the memory that a model file needs with the memory of this machine and of its control group (container)."""

import logging
from pathlib import Path
from typing import NamedTuple

from andon.foundation.errors import DeviceError

logger = logging.getLogger(__name__)

_ROOT = Path("/")
_UNLIMITED = 2**60
"""Control groups of version 1 state a number near 2**63 if they have no limit."""


class Memory(NamedTuple):
    """Memory in bytes. None: unknown, as on systems without /proc."""

    total: int | None
    """Memory and swap of the machine, or the limit of the control group if it is smaller."""
    available: int | None
    """Memory that can be used now without swapping."""


def refuse_too_little(needed_mb: float | None, memory: Memory) -> None:
    """Refuse a file that surely cannot work here. Log a warning if it may not work at the moment.

    Other processes can free memory, so only the total is a reason to refuse.

    Args:
        needed_mb: peak memory of a process that judges (`Card.memory_mb`). None: not measured, so nothing is compared.
        memory: memory of this machine.

    Raises:
        DeviceError: the machine or the container has less memory in total.
    """
    if needed_mb is None:
        return
    needed = needed_mb * 1e6
    if memory.total is not None and memory.total < needed:
        raise DeviceError(
            f"memory: expected at least {needed_mb:.0f} MB, which a process needs to judge with this file, got "
            f"{memory.total / 1e6:.0f} MB in all. Use a machine or a container with more memory, or train with fewer or smaller "
            "tiles: --tile ROWSxCOLUMNS, --preset fast."
        )
    if memory.available is not None and memory.available < needed:
        logger.warning(
            "memory: a process needs %.0f MB to judge with this file, and %.0f MB are available now. It may become slow or be "
            "ended by the system. End other programs, or give the container more memory",
            needed_mb, memory.available / 1e6,
        )  # fmt: skip


def memory_here(root: Path = _ROOT) -> Memory:
    """Return the memory of this machine, limited by its control group.

    Args:
        root: folder that contains ``proc`` and ``sys``.
    """
    machine = _kilobytes(_text(root / "proc/meminfo"))
    total = _sum(machine.get("MemTotal"), machine.get("SwapTotal", 0))
    available = machine.get("MemAvailable")
    group = _group(root)
    return Memory(_least(total, group.total), _least(available, group.available))


def _group(root: Path) -> Memory:
    """Return what the control groups of this process allow: its own group and those around it, version 2 or 1."""
    folder = root / "sys/fs/cgroup"
    own = [line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines() if line.count(":") >= 2]
    unified = next((path for number, _, path in own if number == "0"), "/")
    named = next((path for _, kinds, path in own if "memory" in kinds.split(",")), "/")
    groups = [_version_2(place) for place in _upwards(folder, unified)]
    groups += [_version_1(place) for place in _upwards(folder / "memory", named)]
    return Memory(_least(*(group.total for group in groups)), _least(*(group.available for group in groups)))


def _upwards(folder: Path, path: str) -> list[Path]:
    """Return the folder of a control group and of all groups around it. In a container, the own path may not be visible."""
    names = [name for name in path.split("/") if name not in ("", "..")]
    return [folder.joinpath(*names[:count]) for count in range(len(names), -1, -1)]


def _version_2(place: Path) -> Memory:
    limit, used = _number(_text(place / "memory.max")), _number(_text(place / "memory.current"))
    if limit is None:
        return Memory(None, None)
    swap = _text(place / "memory.swap.max").strip()
    total = None if swap == "max" else limit + (_number(swap) or 0)
    # pages of files that were read are freed when memory is needed
    cached = _words(_text(place / "memory.stat")).get("inactive_file", 0)
    return Memory(total, None if used is None else max(0, limit - used + cached))


def _version_1(place: Path) -> Memory:
    limit, used = _number(_text(place / "memory.limit_in_bytes")), _number(_text(place / "memory.usage_in_bytes"))
    if limit is None or limit >= _UNLIMITED or used is None:
        return Memory(None, None)
    cached = _words(_text(place / "memory.stat")).get("total_inactive_file", 0)
    return Memory(None, max(0, limit - used + cached))


def _text(path: Path) -> str:
    """Return the content of a file of the system, empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):  # ValueError: a path with a null byte
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() and text.isascii() else None


def _words(text: str) -> dict[str, int]:
    """Return lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal() and pair[1].isascii()}


def _kilobytes(text: str) -> dict[str, int]:
    """Return the entries of /proc/meminfo in bytes."""
    rows = (line.replace(":", " ").split() for line in text.splitlines())
    return {row[0]: 1024 * int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal() and row[1].isascii()}


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None else one + (other or 0)


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)
