"""Memory of the machine and of its control group, compared with what a model file needs."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import DeviceError
from andon.runtime.available_memory import Memory, memory_here, refuse_too_little

MEMINFO = "MemTotal:        8000000 kB\nMemAvailable:    6000000 kB\nSwapTotal:       1000000 kB\nHugePages_Total: 0\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_machine_without_a_limit_has_its_memory_and_swap(tmp_path: Path) -> None:
    root = machine(tmp_path, {"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max\n"})

    assert memory_here(root) == Memory(total=9_000_000 * 1024, available=6_000_000 * 1024)


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/line\n",
        "sys/fs/cgroup/line/memory.max": "500000000\n",
        "sys/fs/cgroup/line/memory.swap.max": "0\n",
        "sys/fs/cgroup/line/memory.current": "300000000\n",
        "sys/fs/cgroup/line/memory.stat": "anon 100\ninactive_file 50000000\n",
    }

    assert memory_here(machine(tmp_path, files)) == Memory(total=500_000_000, available=250_000_000)


def test_the_smallest_limit_of_all_groups_around_a_process_counts(tmp_path: Path) -> None:
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/lines/one\n"}
    for place, limit in (("lines/one", 900_000_000), ("lines", 600_000_000)):
        files |= {
            f"sys/fs/cgroup/{place}/memory.max": f"{limit}\n",
            f"sys/fs/cgroup/{place}/memory.swap.max": "0\n",
            f"sys/fs/cgroup/{place}/memory.current": "100000000\n",
        }

    assert memory_here(machine(tmp_path, files)) == Memory(total=600_000_000, available=500_000_000)


def test_a_container_that_may_swap_without_limit_has_no_total_of_its_own(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "sys/fs/cgroup/memory.max": "500000000\n",
        "sys/fs/cgroup/memory.swap.max": "max\n",
        "sys/fs/cgroup/memory.current": "300000000\n",
    }

    assert memory_here(machine(tmp_path, files)) == Memory(total=9_000_000 * 1024, available=200_000_000)


def test_control_groups_of_version_1_are_read(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "400000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 10000000\n",
    }

    assert memory_here(machine(tmp_path, files)).available == 310_000_000


def test_without_proc_nothing_is_known(tmp_path: Path) -> None:
    assert memory_here(tmp_path) == Memory(None, None)


@given(text=st.text(max_size=80))
def test_damaged_files_of_the_system_never_raise(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("system")
    names = ("proc/meminfo", "proc/self/cgroup", "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.stat")
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())

    memory_here(root)


def test_this_machine_has_some_memory() -> None:
    total = memory_here().total

    assert total is None or total > 10**8


def test_a_file_that_needs_more_than_there_is_at_all_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"expected at least 700 MB, .* got 500 MB in all"):
        refuse_too_little(700.0, Memory(500_000_000, 400_000_000))


def test_a_file_that_needs_more_than_is_free_is_loaded_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        refuse_too_little(700.0, Memory(8_000_000_000, 400_000_000))

    assert "needs 700 MB to judge with this file, and 400 MB are available now" in caplog.text


@pytest.mark.parametrize("needed", [None, 300.0])
def test_enough_memory_and_an_unknown_need_pass_silently(
    needed: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_too_little(needed, Memory(8_000_000_000, 400_000_000))
    refuse_too_little(needed, Memory(None, None))

    assert not caplog.records
