"""A monitor over frames made on the fly, as a process of its own: for tests that kill it, signal it or weigh it.

python watch_noise.py MODEL OUT FRAMES
"""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from andon.monitor.counter_line import CounterLine
from andon.monitor.counters import Counters
from andon.monitor.loop import monitor
from andon.monitor.signals import stop_on_signals
from andon.monitor.sinks.json_lines import JsonLines
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.runtime.judge import judge_of
from andon.sources.clock import SystemClock


def resident_kb() -> int:
    """Memory that this process has in RAM."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def main(model: str, out: str, frames: int) -> None:
    """Judge that many frames; every tenth is of a wrong size. Prints the memory at every thousandth."""
    clock, stop = SystemClock(), threading.Event()
    rng = np.random.default_rng(0)
    weights: dict[int, int] = {}

    def stream() -> Iterator[Item]:
        for number in range(frames):
            side = 25 if number % 10 == 9 else 24
            yield Item(Ref(key=f"noise#{number}"), rng.integers(90, 160, (side, side, 1), dtype=np.uint8))

    def weigh(counters: Counters) -> None:
        if counters.grabbed % 1000 == 0 and counters.grabbed not in weights:
            weights[counters.grabbed] = resident_kb()

    with stop_on_signals(stop):
        sink = JsonLines(out, clock=clock, stop=stop)
        print("ready", file=sys.stderr, flush=True)
        finished = monitor(judge_of(Detector.load(model)), stream, [sink], clock, stop, on_counters=weigh)
        sink.close()
        CounterLine(sys.stderr, clock).finish(finished.counters)
    print(json.dumps({"weights": weights, "grabbed": finished.counters.grabbed}), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
