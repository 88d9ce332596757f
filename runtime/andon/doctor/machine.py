"""Judge the machine: cores and their quota, instructions of the processor, memory and clock."""

import math
from collections.abc import Sequence

from msgspec import Struct

from andon.doctor.finding import Finding

LEAST_MEMORY_BYTES = 256 << 20
"""Free memory below which a line is likely to fail. The base install needs 45 MB, a model and its frames come on top."""
CLOCK_SLACK_S = 86_400.0
"""The clock may be this far behind the newest file of andon, because archives keep local times."""


class Machine(Struct, frozen=True, kw_only=True):
    """Facts about the machine. None where the system does not provide one."""

    cores: int
    """Cores of the machine."""
    usable: int
    """Cores that this process may run on."""
    quota: float | None = None
    """Cores that the control group allows on average, for example 1.5."""
    flags: frozenset[str] | None = None
    """Instruction sets, as the system names them. None if it does not."""
    memory_free_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Limit of the control group. None if there is none."""
    memory_used_bytes: int | None = None
    """Use of the control group."""
    wall_s: float = 0.0
    newest_file_s: float = 0.0
    """Time at which the newest file of andon was written."""


def check_machine(machine: Machine) -> list[Finding]:
    """Return the findings about cores, processor, memory and clock."""
    return [*_cores(machine), *_processor(machine.flags), *_memory(machine), *_clock(machine)]


def _cores(machine: Machine) -> list[Finding]:
    text = f"{machine.usable} of {machine.cores} cores"
    if machine.quota is None or machine.quota >= machine.usable:
        return [Finding(subject="cores", ok=True, text=text)]
    threads = max(1, math.floor(machine.quota))
    return [
        Finding(
            subject="cores",
            ok=True,
            warning=True,
            text=f"{text}, but the control group allows {machine.quota:g} on average. More threads than that are stopped for "
            "up to a tenth of a second again and again",
            remedy=f"Use at most {threads} thread{'s' * (threads > 1)} in all (OMP_NUM_THREADS={threads}), or raise the limit of "
            "the container.",
        )
    ]


def _processor(flags: frozenset[str] | None) -> list[Finding]:
    if flags is None:
        return []
    if flags & {"asimd", "neon"}:
        dot = "with" if flags & {"asimddp", "i8mm"} else "without"
        return [Finding(subject="processor", ok=True, text=f"ARM, {dot} integer dot products (files in int8)")]
    if "avx2" not in flags:
        text = "no AVX2: judging takes several times as long as on other processors"
        remedy = "Use a machine with AVX2. In a virtual machine, pass the processor type of the host through."
        return [Finding(subject="processor", ok=True, warning=True, text=text, remedy=remedy)]
    vector = "AVX-512" if "avx512f" in flags else "AVX2"
    vnni = "VNNI" if flags & {"avx512_vnni", "avx_vnni"} else "no VNNI: files in int8 are not faster here"
    return [Finding(subject="processor", ok=True, text=f"{vector}, {vnni}")]


def _memory(machine: Machine) -> list[Finding]:
    free = [size for size in (machine.memory_free_bytes,) if size is not None]
    limited = ""
    if machine.memory_limit_bytes is not None:
        free.append(machine.memory_limit_bytes - (machine.memory_used_bytes or 0))
        limited = f" (limit of the control group: {machine.memory_limit_bytes / 1e6:.0f} MB)"
    if not free:
        return []
    low = min(free) < LEAST_MEMORY_BYTES
    return [
        Finding(
            subject="memory",
            ok=True,
            warning=low,
            text=f"{max(0, min(free)) / 1e6:.0f} MB free{limited}",
            remedy="End other programs, or raise the limit of the container." if low else "",
        )
    ]


def _clock(machine: Machine) -> list[Finding]:
    behind_s = machine.newest_file_s - machine.wall_s
    if behind_s <= CLOCK_SLACK_S:
        return [Finding(subject="clock", ok=True, text="not before the files of andon")]
    return [
        Finding(
            subject="clock",
            ok=True,
            warning=True,
            text=f"{behind_s / 86_400:.0f} days before the files of andon. Events would have wrong times",
            remedy="timedatectl set-ntp true",
        )
    ]


def processor_flags(cpuinfo: str) -> frozenset[str] | None:
    """Return the instruction sets in the text of ``/proc/cpuinfo``. None if it has none."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return None


def quota_of(cpu_max: str) -> float | None:
    """Return the cores that a line of ``cpu.max`` allows. None if it sets no limit.

    >>> quota_of("150000 100000"), quota_of("max 100000")
    (1.5, None)
    """
    words = cpu_max.split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or not int(words[1]):
        return None
    return int(words[0]) / int(words[1])


def smallest(limits: Sequence[float | None]) -> float | None:
    """Return the smallest limit, or None if there is none. Each parent group limits its members, too."""
    return min((limit for limit in limits if limit is not None), default=None)
