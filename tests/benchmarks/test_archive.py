"""Small versions of the benchmarks of archives: equal columns, kills, memory of the driver."""

import importlib.util
import os
import subprocess
import sys

import pytest
from benchmarks.archive_cost import measure as measure_cost
from benchmarks.archive_driver_memory import measure as measure_memory
from benchmarks.archive_kills import measure as measure_kills
from benchmarks.process_tree import adopted_orphans, descendants, run

WITH_RAY = pytest.param(
    "ray", marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs andon[cluster]")
)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", WITH_RAY])
def test_an_engine_writes_the_columns_of_a_plain_loop(engine: str) -> None:
    equal, figures = measure_cost(["loop", engine], (600, 1200), 1, seed=0, block_rows=100)

    assert equal
    assert set(figures) == {"loop", engine}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", WITH_RAY])
def test_kills_of_workers_and_drivers_lose_nothing_and_repeat_little(engine: str) -> None:
    kills = measure_kills(engine, 4, 1, seed=1, blocks=30, block_rows=100, pause_s=0.2)

    assert kills.whole
    assert (kills.workers_killed, kills.drivers_killed, kills.runs) == (4, 1, 2)
    assert kills.most_judged <= 2
    assert kills.lost_by_drivers <= 2
    assert (kills.left, kills.processes) == (0, 0)


@pytest.mark.slow
def test_the_driver_grows_little_with_the_number_of_blocks() -> None:
    few, many = measure_memory(1_000, 20_000)

    assert many.peak_mb - few.peak_mb < 15  # the limit is 50 MB for 99 000 more blocks


@pytest.mark.slow
def test_the_cost_of_a_command_includes_children_that_nobody_waits_for() -> None:
    burn = "import time\nwhile time.process_time() < 1: pass"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}]); import time; time.sleep(8)"
    before = set(descendants(os.getpid()))

    with adopted_orphans():
        cost = run([sys.executable, "-c", script])

    assert 0.6 < cost.cpu_s < 2  # the last look at a process is up to 0.1 s before its end
    assert set(descendants(os.getpid())) == before


@pytest.mark.slow
def test_no_process_is_left_after_a_command_that_leaves_one() -> None:
    before = set(descendants(os.getpid()))

    with adopted_orphans():
        run([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)"])

    assert set(descendants(os.getpid())) == before
    assert subprocess.run(["true"], check=True).returncode == 0  # children can still be waited for
