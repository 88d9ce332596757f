"""Cells on engines give the table of one run, also after interruptions of several engines."""

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.training.comparison.test_compare import CONVERTER, DIVERGES, SMALL, Recorder, plan, where

from andon.foundation.errors import ConfigError
from andon.training.comparison.compare import Compared, EngineRequest, compare
from andon.training.comparison.results import part_folders
from andon.training.comparison.table import Table

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2, 3)
TIMES = frozenset({"train_s", "train_cpu_s", "latency_ms", "export_s", "evaluate_s", "gemm_ms"})
HAS_RAY = importlib.util.find_spec("ray") is not None


def figures(table: Table) -> list[tuple[str, str, dict[str, object]]]:
    """Return everything in a table except the measured times."""
    return [
        (row.set, row.detector, {name: spread for name, spread in row.figures.items() if name not in TIMES})
        for row in (*table.rows, *table.means)
    ]


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return compare(plan(SMALL, seeds=SEEDS), tmp_path_factory.mktemp("one"), where())


def interrupted(out: Path, engine: str, end: signal.Signals) -> int:
    """Start the comparison as a command, and end its process after one more cell. Return the number of cells done."""
    words = ["--detectors", SMALL, "--data", CONVERTER, "--out", str(out)]
    words += ["--seeds", *map(str, SEEDS), "--threads", "1", "--device", "cpu", "--bench-seconds", "0"]
    before = len(list(out.glob("*/*/*/result.json")))
    driver = subprocess.Popen(
        [sys.executable, "-m", "andon", "compare", *words, "--engine", engine, "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until_s = time.monotonic() + 200
    while len(list(out.glob("*/*/*/result.json"))) == before and time.monotonic() < until_s:
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(end)
    driver.wait(60)
    return len(list(out.glob("*/*/*/result.json")))


def test_two_interrupted_engines_and_a_last_run_give_the_table_of_one_run(one_run: Compared, tmp_path: Path) -> None:
    first = interrupted(tmp_path, "local", signal.SIGKILL)
    later = interrupted(tmp_path, "ray" if HAS_RAY else "local", signal.SIGTERM)
    assert 1 <= first < later

    until_s = time.monotonic() + 200
    while True:  # workers of the killed driver finish their cells
        compared = compare(
            plan(SMALL, seeds=SEEDS),
            tmp_path,
            where(),
            engine=EngineRequest(name="local", workers=2),
        )
        if compared.complete or time.monotonic() > until_s:
            break
        time.sleep(0.5)

    assert compared.complete
    assert (compared.table.cells, compared.table.done) == (4, 4)
    assert figures(compared.table) == figures(one_run.table)
    assert [part for place in tmp_path.glob("*/*/seed-?") for part in part_folders(place)] == []


def test_cells_that_fail_and_cells_that_succeed_are_reported(tmp_path: Path) -> None:
    recorder = Recorder()

    compared = compare(
        plan(SMALL, DIVERGES),
        tmp_path,
        where(),
        events=recorder.events(),
        engine=EngineRequest(name="local", workers=1),
    )

    assert (len(compared.done), len(compared.failed)) == (1, 1)
    assert recorder.cells == ["1/2 0", "2/2 0"]
    assert "training diverged" in compared.table.failed[0].message
    again = compare(plan(SMALL), tmp_path, where(), engine=EngineRequest(name="local", workers=1))
    assert (again.before, again.complete) == (compared.done, True)


def test_an_engine_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--address: expected it together with --engine ray"):
        compare(plan(SMALL), tmp_path, where(), engine=EngineRequest(name="local", address="auto"))
