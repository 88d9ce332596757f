"""Measure memory and CPU time of many lines with one model file: with one session for all of them, and with one for each.

    OMP_NUM_THREADS=1 python -m benchmarks.shared_sessions MODEL.onnx PICTURES --lines 1 4 16

Each run is a process of its own with whole lines of a monitor. Each line judges pictures of the folder, beginning with another
one than its neighbours. Runs with and without sharing take turns. The memory is that of the lines: the peak of resident memory
above that of the process before the first line was opened. The CPU time is that of the whole process. ``equal`` is true if all
verdicts of all runs are the same, bit for bit.

Then the same pictures are judged in batches, as `SharedDetector` does it. ``other_bits`` counts the verdicts that differ in any
bit from those of single calls. Prints one JSON line for each number of lines and for each size of a batch.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.monitor.config import ChosenSource, Line, Policy
from andon.monitor.feed import Feed
from andon.monitor.judging import Outcome
from andon.monitor.line import RunningLine
from andon.monitor.loaded_models import LoadedModels
from andon.monitor.turns import Turns, cores
from andon.runtime import Detector, Verdict
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.model_file.format import read
from andon.runtime.schema import FrameSpec, InputSpec
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.pictures.decode import decode_file, frame_channels
from andon.sources.source import Source
from andon.sources.stream_settings import NoSettings

PICTURES = 16
BATCHES = (1, 2, 4, 8)


def resident_mb(key: str) -> float:
    """Return a value of the resident memory of this process: ``VmRSS`` now, or ``VmHWM`` at its peak."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{key}:")[2].split()[0]) / 1024


def bits(verdict: Verdict) -> bytes:
    """Return everything that a verdict contains, as bytes."""
    numbers = np.array([verdict.status, verdict.reason, verdict.score, verdict.p_value, verdict.level], np.float64)
    return numbers.tobytes() + b"".join(verdict.evidence[name].tobytes() for name in sorted(verdict.evidence))


class Digests:
    """A sink that keeps a digest of all verdicts of a line."""

    lost = 0
    summary = ""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def put(self, outcome: Outcome) -> None:
        self.digest.update(bits(outcome.verdict))

    def close(self) -> None:
        pass


def pictures(folder: Path, spec: InputSpec) -> list[NDArray[Any]]:
    """Return at most `PICTURES` pictures of a folder and its subfolders, evenly spread."""
    if not isinstance(spec, FrameSpec):
        raise SystemExit("expected a model file for frames.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"))
    chosen = found[:: max(1, len(found) // PICTURES)][:PICTURES]
    if not chosen:
        raise SystemExit(f"{folder}: expected pictures, found none.")
    return [np.ascontiguousarray(decode_file(path, channels=frame_channels(spec, str(path)))) for path in chosen]


def configured(model: str, number: int, frames: Sequence[NDArray[Any]], count: int) -> Line:
    """Return a line that judges frames in turn, beginning with another one than its neighbours."""

    def stream(_text: str, _spec: InputSpec, _settings: Any, _clock: Clock, _stop: threading.Event) -> Stream:
        def items() -> Iterator[Item | Lost]:
            for at in range(count):
                yield Item(Ref(key=str(at)), frames[(number + at) % len(frames)])

        return items()

    kind = Source(
        name="memory", summary="frames in memory", accepts=lambda _text: True, stream=stream, settings=NoSettings
    )
    source = ChosenSource(kind, "memory", NoSettings())
    return Line(name=f"line-{number}", model=model, source=source, sinks=(), policy=Policy())


def run_lines(model: str, frames: Sequence[NDArray[Any]], lines: int, count: int, *, shared: bool) -> dict[str, Any]:
    """Run lines until they have judged their frames, and return the figures of this process."""
    clock, turns, models = SystemClock(), Turns(cores()), LoadedModels()
    before_mb = resident_mb("VmRSS")
    digests = [Digests() for _ in range(lines)]
    began_s = time.perf_counter()
    running = [
        RunningLine(
            configured(model, number, frames, count),
            clock,
            models=models if shared else LoadedModels(),
            turns=turns,
            extra_sinks=[digests[number]],
        )
        for number in range(lines)
    ]
    loaded_s, loaded_mb = time.perf_counter() - began_s, resident_mb("VmRSS")
    cpu_s, began_s = time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=follow, args=(line, clock)) for line in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    assert all(line.status().counters.grabbed == count for line in running)
    return {
        "mb": resident_mb("VmHWM") - before_mb,
        "loaded_mb": loaded_mb - before_mb,
        "loaded_s": loaded_s,
        "cpu_ms": 1e3 * cpu_s / (lines * count),
        "frames_per_s": lines * count / wall_s,
        "verdicts": [one.digest.hexdigest() for one in digests],
    }


def follow(line: RunningLine, clock: Clock) -> None:
    """Run one line to its end."""
    source, spec = line.line.source, line.detector.card.input
    feed = Feed(
        lambda: source.open(spec, clock, line.stop), [line.queue], clock=clock, name=line.line.name, stop=line.stop
    )
    feed.start()
    line.follow(feed)


def batches(model: str, frames: Sequence[NDArray[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the CPU time and the equality of batches of several sizes."""
    detector = Detector.load(model)
    alone = [bits(detector(frame)) for frame in frames]
    taken_s: dict[int, list[float]] = {size: [] for size in BATCHES}
    other = dict.fromkeys(BATCHES, 0)
    for _ in range(5):
        for size in BATCHES:
            for first in range(0, len(frames) - size + 1, size):
                began_s = time.thread_time()
                verdicts = detector.batch(frames[first : first + size])
                taken_s[size].append((time.thread_time() - began_s) / size)
                other[size] += sum(bits(one) != alone[first + at] for at, one in enumerate(verdicts))
    for size in BATCHES:
        cpu_ms = round(1e3 * statistics.median(taken_s[size]), 2)
        yield {"batch": size, "cpu_ms": cpu_ms, "other_bits": other[size], "frames": size * len(taken_s[size])}


def child(args: argparse.Namespace, lines: int, *, shared: bool) -> dict[str, Any]:
    """Return the figures of a run in a new process."""
    one = ["--one", "shared" if shared else "own", "--lines", str(lines), "--frames", str(args.frames)]
    command = [sys.executable, "-m", "benchmarks.shared_sessions", args.model, str(args.pictures), *one]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure each number of lines, then batches, and print JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file for frames")
    parser.add_argument("pictures", type=Path, help="folder of pictures that the file can judge")
    parser.add_argument("--lines", type=int, nargs="+", default=[1, 4, 16], help="numbers of lines (default: 1 4 16)")
    parser.add_argument("--frames", type=int, default=20, help="frames of each line (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind; the median is printed (default: 3)")
    parser.add_argument("--one", choices=["shared", "own"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    frames = pictures(args.pictures, read(args.model).card.input)
    if args.one:
        print(json.dumps(run_lines(args.model, frames, args.lines[0], args.frames, shared=args.one == "shared")))
        return
    for lines in args.lines:
        runs: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for _ in range(args.rounds):
            for shared, results in runs.items():
                results.append(child(args, lines, shared=shared))
        row: dict[str, Any] = {"lines": lines}
        for shared, results in runs.items():
            for key in ("mb", "loaded_mb", "loaded_s", "cpu_ms", "frames_per_s"):
                row[f"{'shared' if shared else 'own'}_{key}"] = round(statistics.median(one[key] for one in results), 1)
        row["equal"] = len({tuple(one["verdicts"]) for results in runs.values() for one in results}) == 1
        row["load"] = round(os.getloadavg()[0], 1)
        print(json.dumps(row), flush=True)
    for row in batches(args.model, frames):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
