"""Read the facts about this installation and machine: metadata, files of the kernel, folders, and a child process."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from andon.doctor.folders import Folder
from andon.doctor.machine import Machine, processor_flags, quota_of, smallest
from andon.doctor.probe import Imported

PROBE_LIMIT_S = 120.0
"""Longest time for the import of one package and its sessions. CUDA needs many seconds at its first start."""
UNLIMITED_BYTES = 1 << 62
"""A limit of memory above this is how the kernel states that there is none."""


def import_in_child(module: str, *, limit_s: float = PROBE_LIMIT_S) -> Imported:
    """Import a module in a new process that finds the same packages, and return the result."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and a module of andon
            [sys.executable, "-P", *(["-S"] if sys.flags.no_site else []), "-m", "andon.doctor.probe", module],
            capture_output=True,
            timeout=limit_s,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Imported(module=module, error=f"no answer within {limit_s:g} s")
    except OSError as error:
        return Imported(module=module, error=f"cannot start {sys.executable}: {error.strerror}")
    try:
        return msgspec.json.decode(done.stdout, type=list[Imported])[0]
    except (msgspec.MsgspecError, IndexError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        end = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return Imported(module=module, error=f"the process ended with {end}" + (f": {lines[-1]}" if lines else ""))


def installed_packages() -> dict[str, str]:
    """Return the version by name, in small letters with hyphens, of all installed packages."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        if name:  # a half removed package has a folder without a name
            # the first one in the search path is the one that is imported
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    return found


def requirements() -> list[str]:
    """Return what the metadata of andon asks for. Empty if andon runs without having been installed."""
    try:
        return importlib.metadata.requires("andon") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def fits(version: str, wanted: str) -> bool:
    """Return whether a version is in a range. True if the package ``packaging``, which ONNX Runtime brings, is missing."""
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
        from packaging.version import InvalidVersion, Version
    except ImportError:
        return True
    try:
        return SpecifierSet(wanted).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def home() -> Path | None:
    """Return the home folder, or None for a user without one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def ray_setting(home: Path | None) -> bool | None:
    """Return ``usage_stats`` of Ray's settings of this user, or None if it is not set."""
    if home is None:
        return None
    try:
        content = json.loads((home / ".ray" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = content.get("usage_stats") if isinstance(content, dict) else None
    return value if isinstance(value, bool) else None


def system() -> str:
    """Return operating system and processor type."""
    return f"{platform.system()} {platform.release()} ({platform.machine()})"


def folder(purpose: str, path: Path, variable: str) -> Folder:
    """Try to write in a folder, or in its nearest parent if it does not exist yet. Nothing remains."""
    place = path
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"andon")
            file.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Folder(purpose=purpose, path=str(path), variable=variable, error=error.strerror or str(error))
    return Folder(purpose=purpose, path=str(path), variable=variable, free_bytes=free)


def machine(wall_s: float, root: Path = Path("/")) -> Machine:
    """Read the facts about this machine.

    Args:
        wall_s: the wall clock, in seconds since 1970.
        root: folder in which ``proc`` and ``sys`` are.
    """
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    groups = _groups(_text(root / "proc/self/cgroup"), root / "sys/fs/cgroup")
    old_quota = [
        quota_of(f"{_text(place / 'cpu.cfs_quota_us').strip()} {_text(place / 'cpu.cfs_period_us').strip()}")
        for place in groups
    ]
    limits = [_number(_text(place / name)) for place in groups for name in ("memory.max", "memory.limit_in_bytes")]
    limited = [limit for limit in limits if limit is not None and limit < UNLIMITED_BYTES]
    used = [_number(_text(place / name)) for place in groups for name in ("memory.current", "memory.usage_in_bytes")]
    return Machine(
        cores=cores,
        usable=usable,
        quota=smallest([*(quota_of(_text(place / "cpu.max")) for place in groups), *old_quota]),
        flags=processor_flags(_text(root / "proc/cpuinfo")),
        memory_free_bytes=_free(_text(root / "proc/meminfo")),
        memory_limit_bytes=min(limited, default=None),
        memory_used_bytes=next((size for size in used if size is not None), None) if limited else None,
        wall_s=wall_s,
        newest_file_s=Path(__file__).stat().st_mtime,
    )


def _groups(membership: str, mount: Path) -> Sequence[Path]:
    """Return the folders of the control groups of this process and of their parents, the innermost ones first.

    In a container the path of the membership often does not exist below the mount, and the mount itself is the group.
    """
    found: list[Path] = []
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = [""] if not controllers else [name for name in controllers.split(",") if name in ("cpu", "memory")]
        for name in names:
            place = mount / name / path.strip("/")
            found.extend(one for one in (place, *place.parents) if one == mount / name or (mount / name) in one.parents)
    return [place for place in dict.fromkeys(found) if place.is_dir()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _free(meminfo: str) -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
    return 1024 * int(found[1]) if found else None
