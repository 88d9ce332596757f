"""Cores, memory, processor and clock are judged as a line will meet them, also inside a container."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from andon.doctor import facts
from andon.doctor.finding import Finding
from andon.doctor.machine import Machine, check_machine, processor_flags, quota_of

GOOD = Machine(
    cores=4,
    usable=4,
    flags=frozenset({"avx2", "avx512f", "avx512_vnni"}),
    memory_free_bytes=8 << 30,
    wall_s=1_000_000.0,
    newest_file_s=900_000.0,
)


def found(machine: Machine, subject: str) -> Finding:
    (one,) = (finding for finding in check_machine(machine) if finding.subject == subject)
    return one


def test_a_good_machine_has_no_warnings() -> None:
    assert all(one.ok and not one.warning and not one.remedy for one in check_machine(GOOD))


@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.5, 1), (2.0, 2)])
def test_a_quota_below_the_visible_cores_limits_the_threads(quota: float, threads: int) -> None:
    one = found(replace(GOOD, quota=quota), "cores")

    assert one.warning
    assert f"allows {quota:g} on average" in one.text
    assert f"OMP_NUM_THREADS={threads})" in one.remedy


def test_a_quota_of_all_cores_is_no_limit() -> None:
    assert not found(replace(GOOD, quota=4.0), "cores").warning


def test_the_limit_of_the_container_counts_if_it_is_the_smaller_one() -> None:
    one = found(replace(GOOD, memory_limit_bytes=512 << 20, memory_used_bytes=400 << 20), "memory")

    assert one.warning
    assert one.text == "117 MB free (limit of the control group: 537 MB)"


def test_an_old_processor_is_a_warning_and_one_without_vnni_is_not() -> None:
    assert found(replace(GOOD, flags=frozenset({"sse4_2"})), "processor").warning
    assert found(replace(GOOD, flags=frozenset({"avx2"})), "processor").text.startswith("AVX2, no VNNI")
    assert found(replace(GOOD, flags=frozenset({"asimd", "asimddp"})), "processor").text.startswith("ARM, with")
    assert not [one for one in check_machine(replace(GOOD, flags=None)) if one.subject == "processor"]


def test_a_clock_before_the_files_of_andon_is_a_warning() -> None:
    one = found(replace(GOOD, wall_s=0.0), "clock")

    assert one.warning
    assert one.text.startswith("10 days before")


def test_what_the_kernel_writes_is_read() -> None:
    assert processor_flags("processor\t: 0\nflags\t\t: fpu avx2\n") == frozenset({"fpu", "avx2"})
    assert processor_flags("model name: unknown\n") is None
    assert quota_of("50000 100000\n") == 0.5
    for unlimited in ("max 100000", "-1 100000", "", "1 0"):
        assert quota_of(unlimited) is None


def tree(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def test_the_groups_of_version_2_are_read_with_their_parents(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/app\n",
            "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   4096 kB\n",
            "sys/fs/cgroup/pod/cpu.max": "100000 100000",
            "sys/fs/cgroup/pod/app/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/app/memory.max": "max",
            "sys/fs/cgroup/pod/memory.max": "2000000",
            "sys/fs/cgroup/pod/app/memory.current": "1500000",
        },
    )

    machine = facts.machine(1.0, root)

    assert (machine.quota, machine.memory_free_bytes) == (1.0, 4096 * 1024)
    assert (machine.memory_limit_bytes, machine.memory_used_bytes) == (2_000_000, 1_500_000)


def test_the_groups_of_version_1_are_read_where_the_container_sees_them(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )

    machine = facts.machine(1.0, root)

    assert (machine.quota, machine.memory_limit_bytes) == (1.5, None)


def test_a_system_without_these_files_gives_no_limits(tmp_path: Path) -> None:
    machine = facts.machine(1.0, tmp_path)

    assert (machine.quota, machine.flags, machine.memory_free_bytes, machine.memory_limit_bytes) == (None,) * 4
