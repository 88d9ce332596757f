"""Kill workers and drivers of an archive at random moments with ``kill -9``, and run the same command again.

The driver is `benchmarks.archive_workload` with two workers. Workers note the start and the end of each block in a file.
One to two blocks end between two kills. A killed driver is started again at once. Its workers may still finish their blocks.
The checks:

* ``whole``: each picture has one row, the columns are byte-equal to those of a plain loop, and the manifest is complete.
* ``most_started``, ``most_judged``: how often one block was begun and completed at most.
* ``lost_by_drivers``: blocks that were begun and not completed when a driver died, at most.
* ``left``: temporary files in the end. ``processes``: processes in the end.

    OMP_NUM_THREADS=1 python -m benchmarks.archive_kills --engine local --workers 20 --drivers 5 --seed 0
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.archive_cost import digest
from benchmarks.archive_workload import write_input
from benchmarks.process_tree import members

_MOST_S = 900.0
"""Time after which the benchmark gives up."""


class Kills(NamedTuple):
    """Figures of one run."""

    engine: str
    workers_killed: int
    drivers_killed: int
    blocks: int
    runs: int
    whole: bool
    most_started: int
    most_judged: int
    judged_twice: int
    lost_by_drivers: int
    left: int
    processes: int
    wall_s: float


def measure(
    engine: str,
    workers: int,
    drivers: int,
    seed: int,
    *,
    blocks: int = 100,
    block_rows: int = 300,
    pause_s: float = 0.0,
) -> Kills:
    """Run one archive to its end under kills.

    Args:
        engine: ``local`` or ``ray``.
        workers: number of workers to kill.
        drivers: number of drivers to kill.
        seed: of the pictures and of the moments of the kills.
        blocks: number of blocks of the archive.
        block_rows: pictures of a block.
        pause_s: pause of a worker before each block, in seconds. With .2 and five blocks for each kill, the archive does
            not end before the last kill on any machine.
    """
    dice = random.Random(seed)
    kills = ["worker"] * workers + ["driver"] * drivers
    dice.shuffle(kills)
    killed = Counter[str]()
    sessions: list[int] = []
    runs = lost = 0
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="archive-kills-") as scratch:
        folder = Path(scratch)
        table = write_input(folder, blocks * block_rows, block_rows=block_rows, seed=seed)
        log, out = folder / "log.txt", folder / "out"
        log.touch()
        words = [sys.executable, "-m", "benchmarks.archive_workload", engine, str(table), str(out)]
        words += ["--block-rows", str(block_rows), "--log", str(log), "--pause-s", str(pause_s)]
        code = -1
        while code != 0 and time.monotonic() - begun_s < _MOST_S:
            runs += 1
            with subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True) as driver:
                sessions.append(driver.pid)
                ends = _count(log, "end")
                while driver.poll() is None and time.monotonic() - begun_s < _MOST_S:
                    if not kills:
                        driver.wait(timeout=_MOST_S)
                        break
                    if not _wait_for(log, ends + dice.randint(1, 2), driver):
                        break
                    time.sleep(dice.uniform(0, 0.3))
                    if kills[0] == "driver":
                        lost = max(lost, len(_open(log, sessions)))
                        driver.kill()
                        killed[kills.pop(0)] += 1
                        break
                    victim = _working(log, sessions, dice)
                    if victim is None:
                        continue
                    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself, after its last block
                        os.kill(victim, signal.SIGKILL)
                    killed[kills.pop(0)] += 1
                    ends = _count(log, "end")
            code = driver.returncode
        starts, ends_of = (
            Counter(line.split()[1] for line in _lines(log) if line.startswith(kind)) for kind in ("start", "end")
        )
        left = len(list(out.glob("**/.*.tmp")))
        subprocess.run([*words[:3], "loop", str(table), str(folder / "loop")], check=True)
        whole = code == 0 and digest(out) == digest(folder / "loop")
        processes = _processes_left(sessions)
    _remove_logs(sessions)
    return Kills(
        engine=engine,
        workers_killed=killed["worker"],
        drivers_killed=killed["driver"],
        blocks=blocks,
        runs=runs,
        whole=whole,
        most_started=max(starts.values()),
        most_judged=max(ends_of.values()),
        judged_twice=sum(count > 1 for count in ends_of.values()),
        lost_by_drivers=lost,
        left=left,
        processes=processes,
        wall_s=round(time.monotonic() - begun_s, 1),
    )


def _processes_left(sessions: Sequence[int]) -> int:
    """Return the number of processes that are left after 90 seconds, and end them.

    Two helpers of a Ray whose driver was killed need about a minute to notice it.
    """
    deadline_s = time.monotonic() + 90
    while (left := members(sessions)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _remove_logs(drivers: Sequence[int]) -> None:
    """Remove the log files of Ray, because a killed driver cannot do it."""
    for pid in drivers:
        for folder in Path("/tmp").glob(f"andon-ray-{pid}-*"):
            shutil.rmtree(folder)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def _count(log: Path, kind: str) -> int:
    return sum(line.startswith(kind) for line in _lines(log))


def _wait_for(log: Path, ends: int, driver: "subprocess.Popen[bytes]") -> bool:
    """Wait until this number of blocks is complete. Return False if the driver ended before."""
    while driver.poll() is None:
        if _count(log, "end") >= ends:
            return True
        time.sleep(0.01)
    return False


def _open(log: Path, sessions: Sequence[int]) -> list[tuple[str, int]]:
    """Return the blocks that were begun and not completed by processes that live, with the processes."""
    begun: dict[tuple[str, int], None] = {}
    for line in _lines(log):
        kind, key, pid = line.split()
        if kind == "start":
            begun[key, int(pid)] = None
        else:
            begun.pop((key, int(pid)), None)
    alive = members(sessions)
    return [one for one in begun if one[1] in alive]


def _working(log: Path, sessions: Sequence[int], dice: random.Random) -> int | None:
    """Return the id of a process that judges a block now."""
    found = _open(log, sessions)
    return dice.choice(found)[1] if found else None


def main() -> None:
    """Run one engine, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--workers", type=int, default=20, help="number of workers to kill")
    parser.add_argument("--drivers", type=int, default=5, help="number of drivers to kill")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    kills = measure(args.engine, args.workers, args.drivers, args.seed)
    print(json.dumps(kills._asdict() | {"load": [round(load, 1), round(os.getloadavg()[0], 1)]}))


if __name__ == "__main__":
    main()
