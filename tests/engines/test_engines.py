"""Both engines keep one contract: a result for each item, even if workers die.

The tests of Ray run in `.ci/run` and by hand, where `andon[cluster]` is installed. Elsewhere they are skipped.
"""

import functools
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.engines import workloads

from andon.engines.engine import Engine, open_engine
from andon.engines.scratch_folder import remove_left_folders
from andon.foundation.errors import ConfigError

RAY = pytest.param(
    "ray",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs andon[cluster]"),
        pytest.mark.filterwarnings("ignore"),  # Ray's own
    ],
)


@pytest.fixture(scope="module", params=["local", RAY])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with open_engine(request.param, workers=2) as opened:
        yield opened


def test_each_item_has_one_result(engine: Engine) -> None:
    results = list(engine.map_unordered(workloads.square, range(20)))

    assert {result.item: result.value for result in results} == {number: number**2 for number in range(20)}
    assert len(results) == 20
    assert all(result.done for result in results)


def test_no_items_give_no_results(engine: Engine) -> None:
    assert list(engine.map_unordered(workloads.square, [])) == []


def test_an_exception_is_a_result_and_the_others_go_on(engine: Engine) -> None:
    results = {result.item: result for result in engine.map_unordered(workloads.square_or_fail, range(6))}

    assert results[3].error == "ValueError: three is not allowed"
    assert not results[3].done
    assert not results[3].poisoned
    assert [results[number].value for number in (0, 1, 2, 4, 5)] == [0, 1, 4, 16, 25]


def test_workers_keep_their_process_from_item_to_item(engine: Engine) -> None:
    processes = {result.value for result in engine.map_unordered(workloads.process_of, range(12))}

    assert len(processes) <= 3


def test_the_item_of_a_dead_worker_runs_again(engine: Engine, tmp_path: Path) -> None:
    fn = functools.partial(workloads.die_once, str(tmp_path))

    results = list(engine.map_unordered(fn, range(12)))

    assert sorted(result.item for result in results) == list(range(12))
    assert all(result.done for result in results)


def test_an_item_that_ends_three_workers_is_poisoned_and_reported(engine: Engine, tmp_path: Path) -> None:
    fn = functools.partial(workloads.die_at_five, str(tmp_path))

    results = {result.item: result for result in engine.map_unordered(fn, range(8), retries=2)}

    assert sorted(results) == list(range(8))
    assert results[5].poisoned
    assert results[5].error.startswith("given up after 3 tries: ")
    assert (tmp_path / "five").read_text() == "..."
    assert all(results[number].done for number in range(8) if number != 5)


def test_an_unfit_worker_passes_the_item_on(engine: Engine, tmp_path: Path) -> None:
    fn = functools.partial(workloads.unfit_once, str(tmp_path))

    assert sorted(result.value or 0 for result in engine.map_unordered(fn, range(4))) == [0, 1, 2, 3]


def test_an_item_for_which_no_worker_is_fit_is_given_up_with_the_reason(engine: Engine) -> None:
    (result,) = engine.map_unordered(workloads.unfit, [1], retries=1)

    assert result.poisoned
    assert result.error == "given up after 2 tries: this processor computes other scores"


def test_items_are_taken_only_when_a_worker_is_free(engine: Engine) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with closing(engine.map_unordered(workloads.square, items())) as results:  # type: ignore[type-var]
        next(results)
        assert len(taken) <= 2 * engine.workers


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected local or ray, got 'dask'"):
        open_engine("dask")


def test_an_address_needs_ray() -> None:
    with pytest.raises(ConfigError, match="Add --engine ray"):
        open_engine("local", address="auto")


def test_more_processes_than_a_machine_can_hold_are_refused_before_any_starts() -> None:
    with pytest.raises(ConfigError, match=r"workers: expected at most \d+ processes on this machine, 32 for each CPU"):
        open_engine("local", workers=100_000)


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        open_engine("local", workers=0)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs andon[cluster]")
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_does_not_answer_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ConfigError, match=r"expected the address of a Ray cluster that runs, got '127\.0\.0\.1:"):
        open_engine("ray", address=f"127.0.0.1:{port}").__enter__()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs andon[cluster]")
def test_the_folder_of_a_killed_program_with_ray_can_be_removed_when_its_processes_have_ended() -> None:
    program = (
        "import os\n"
        "from andon.engines.engine import open_engine\n"
        "with open_engine('ray', workers=1):\n"
        "    os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        killed.wait()
    (left,) = Path("/tmp").glob(f"andon-ray-{killed.pid}-*")
    assert list(left.glob("r/session_*"))
    assert left.stat().st_mode & 0o077 == 0
    deadline_s = time.monotonic() + 60
    while (pids := _working_in(left)) and time.monotonic() < deadline_s:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)

    assert left in remove_left_folders("andon-ray-", Path("/tmp"))
    assert not left.exists()


def _working_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder.name.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found
