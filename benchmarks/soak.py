"""Run a monitor for many frames, source losses and reloads, and look for growth. Prints one JSON line.

    OMP_NUM_THREADS=1 python -m benchmarks.soak --frames 300000 --losses 50 --reloads 10

Two lines share one process. Line A gets the frames, and its source fails and is opened again. Both model files are replaced again
and again. An event store keeps the events. Memory is the resident set of the process; it is read after each 10 000 frames.
``growth_mb`` is the largest value after the first 10 000 frames minus the value then. ``reload_growth_mb`` is the same over the
second half of the reloads. The counts of threads and open files are taken at the same times.
"""

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tests.monitor.conftest import SIDE, exported
from tests.monitor.test_supervisor import Kept, line

from andon.monitor.config import Configuration
from andon.monitor.event import Event, ModelChanged, SourceChanged
from andon.monitor.judging import Outcome
from andon.monitor.service import Service
from andon.monitor.status import ProcessStatus
from andon.monitor.store import Settings as StoreSettings
from andon.runtime.items import Item, Lost, Ref
from andon.sources.clock import SystemClock

LOOK_EVERY = 10_000


class Counting(Kept):
    """A sink that counts and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def put(self, outcome: Outcome) -> None:
        self.count += outcome.data is not None


class Folder:
    """Stands for pytest's factory of folders."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, name: str) -> Path:
        """Return a new folder."""
        return Path(tempfile.mkdtemp(prefix=name, dir=self._root))


def resident_mb() -> float:
    """Return the resident set of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    """Return the number of open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - fast


def soak(  # noqa: PLR0915 - one run from its start to its figures
    frames: int, losses: int, reloads: int, root: Path, look_every: int = LOOK_EVERY
) -> dict[str, Any]:
    """Run the monitor and return the figures."""
    models = [exported(Folder(root), middle=middle) for middle in (0.5, 0.49)]  # type: ignore[arg-type]
    running = [root / "a.onnx", root / "b.onnx"]
    for path in running:
        shutil.copy(models[0], path)
    rng = np.random.default_rng(0)
    good = [rng.integers(90, 160, (SIDE, SIDE, 1), dtype=np.uint8) for _ in range(16)]
    bad = rng.integers(0, 255, (SIDE, SIDE, 1), dtype=np.uint8)
    counting, other = Counting(), Counting()
    given, stop, share = [0], threading.Event(), frames // (reloads + 1)
    reloaded: list[float] = []

    def wait_for_reloads() -> None:
        """Let no two exchanges of a file fall into one look of the supervisor: it would see one of them only."""
        end_s = time.monotonic() + 30
        while given[0] > (len(reloaded) // 2 + 1.5) * share and time.monotonic() < end_s:
            time.sleep(0.01)

    def source(_stop: threading.Event) -> Iterator[Item | Lost]:
        per_loss = frames // (losses + 1)
        while given[0] < frames and not stop.is_set():
            given[0] += 1
            wait_for_reloads()
            yield Item(Ref(key=f"a#{given[0]}"), bad if given[0] % 500 == 0 else good[given[0] % 16])
            if given[0] % per_loss == 0 and given[0] < frames:
                raise RuntimeError("cable")
        stop.set()

    def slow(line_stop: threading.Event) -> Iterator[Item | Lost]:
        number = 0
        while not line_stop.is_set():
            time.sleep(0.01)
            number += 1
            yield Item(Ref(key=f"b#{number}"), good[number % 16])

    events: dict[str, int] = {}
    samples: list[tuple[int, float, int, int]] = []

    def on_event(event: Event) -> None:
        events[event.kind] = events.get(event.kind, 0) + 1
        if isinstance(event.body, ModelChanged):
            reloaded.append(resident_mb())
        if isinstance(event.body, SourceChanged):
            events[f"source {event.body.state}"] = events.get(f"source {event.body.state}", 0) + 1

    swaps = [0]

    def look(_status: ProcessStatus) -> None:
        if given[0] >= look_every * (len(samples) + 1) and not stop.is_set():
            samples.append((given[0], resident_mb(), threading.active_count(), open_files()))
        if swaps[0] < reloads and given[0] > (swaps[0] + 1) * share:
            swaps[0] += 1
            for path in running:
                new = path.with_suffix(".new")
                shutil.copy(models[swaps[0] % 2], new)
                new.replace(path)

    lines = (
        line(running[0], "a", source, counting, endless=True, alarm="3/10"),
        line(running[1], "b", slow, other, endless=True),
    )
    began_s = time.monotonic()
    service = Service(
        Configuration(lines=lines, store=StoreSettings(path=str(root / "state"))),
        SystemClock(),
        stop,
        on_event=on_event,
        on_status=look,
    )
    end = service.run()
    seconds = time.monotonic() - began_s
    counters = end.lines[0].finished.counters
    base = samples[0]
    half = reloaded[len(reloaded) // 2 :] or [0.0]
    return {
        "what": "soak",
        "frames": counters.grabbed,
        "judged": counters.judged,
        "exact": counters.grabbed == counters.judged + counters.invalid + counters.dropped,
        "invalid": dict(counters.by_reason),
        "delivered": counting.count,
        "other_line": other.count,
        "losses": events.get("source retrying", 0),
        "reloads": len(reloaded),
        "events": sum(count for kind, count in events.items() if " " not in kind),
        "seconds": round(seconds, 1),
        "memory_mb": round(base[1], 1),
        "growth_mb": round(max(memory for _, memory, _, _ in samples) - base[1], 1),
        "reload_growth_mb": round(half[-1] - half[0], 1),
        "threads": sorted({threads for _, _, threads, _ in samples}),
        "open_files": sorted({files for _, _, _, files in samples}),
    }


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--losses", type=int, default=50)
    parser.add_argument("--reloads", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        print(json.dumps(soak(args.frames, args.losses, args.reloads, Path(root))))


if __name__ == "__main__":
    main()
