"""Measure live streams in one process: fairness, lost frames, latency, and the share of the processor. Prints one JSON line each.

    OMP_NUM_THREADS=1 python -m benchmarks.monitor_streams cameras FAST.onnx OTHER.onnx --seconds 60
    OMP_NUM_THREADS=1 python -m benchmarks.monitor_streams rtsp FAST.onnx --seconds 60
    OMP_NUM_THREADS=1 python -m benchmarks.monitor_streams sensors --seconds 30 [--health]

* ``cameras``: four live streams of frames of the calibrated size at 10 frames a second, two for each model file, with
  ``keep = "every"``. ``judged`` is by stream, ``spread`` is (most - least) / mean.
* ``rtsp``: one camera of 1080p at 25 frames a second, with ``keep = "every"``. The RTSP server is a process of this machine,
  and its encoder also needs a core.
* ``sensors``: eight channels at 1 kHz on standard input, in blocks of 50 rows, with windows of 200 rows and a hop of 100.
  The model file is trained on the same simulation. ``cpu_share`` is measured after the start of the process.

Latency is from the arrival of a frame in the reader to its verdict. ``cpu_share`` is processor time divided by duration.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from tests.monitor.test_supervisor import Kept, sink

from andon.monitor.config import ChosenSource, Configuration, Line, Policy
from andon.monitor.judging import Outcome
from andon.monitor.supervisor import Supervisor
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, InputSpec, Reason
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.source import Source, find

STREAMS, RATE_HZ = 4, 10.0
CHANNELS, SENSOR_HZ, BLOCK = 8, 1000, 50


class _Live(Struct, frozen=True, kw_only=True):
    stale_after_s: Annotated[float, Meta(description="longest silence")] = 2.0


class Timed(Kept):
    """A sink that counts and keeps latencies."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies_s: list[float] = []

    def put(self, outcome: Outcome) -> None:
        if outcome.arrived_s is not None and outcome.verdict.reason is not Reason.STALE:
            self.latencies_s.append(time.monotonic() - outcome.arrived_s)


def camera(name: str, size: tuple[int, int], channels: int, seconds: float) -> ChosenSource:
    """Return a live source of noisy frames at a fixed rate."""

    def stream(_text: str, _spec: InputSpec, _settings: Any, _clock: Clock, stop: threading.Event) -> Stream:
        return frames(stop)

    def frames(stop: threading.Event) -> Iterator[Item | Lost]:
        rng = np.random.default_rng(0)
        pictures = [rng.integers(90, 160, (*size, channels), dtype=np.uint8) for _ in range(4)]
        began_s = time.monotonic()
        for number in range(int(seconds * RATE_HZ)):
            wait_s = began_s + number / RATE_HZ - time.monotonic()
            if stop.wait(max(0.0, wait_s)):
                return
            yield Item(Ref(key=f"{name}#{number}"), pictures[number % 4])

    kind = Source(name=name, summary=name, accepts=lambda _: True, stream=stream, settings=_Live, live=True)
    return ChosenSource(kind, name, _Live())


def cameras(models: list[Path], seconds: float) -> dict[str, Any]:
    """Run four streams on two model files."""
    lines, sinks = [], []
    for number in range(STREAMS):
        model = models[number % len(models)]
        spec = Detector.load(model).card.input
        assert isinstance(spec, FrameSpec)
        size = spec.frame_size or (1080, 1920)
        sinks.append(Timed())
        lines.append(
            Line(
                name=f"stream-{number}",
                model=str(model),
                source=camera(f"camera-{number}", size, spec.channels, seconds),
                sinks=(sink(sinks[-1]),),
                policy=Policy(keep="every", frame_size="any"),
            )
        )
    began, began_s = time.process_time(), time.monotonic()
    end = Supervisor(Configuration(lines=tuple(lines)), SystemClock(), threading.Event()).run()
    used, took_s = time.process_time() - began, time.monotonic() - began_s
    # noise is another scene: INVALID by the graph counts as judged
    lost = [line.finished.counters.by_reason.get("LOST", 0) for line in end.lines]
    judged = [len(one.latencies_s) - missed for one, missed in zip(sinks, lost, strict=True)]
    latencies = np.concatenate([one.latencies_s for one in sinks])
    return {
        "what": "cameras",
        "streams": STREAMS,
        "rate_hz": RATE_HZ,
        "grabbed": sum(line.finished.counters.grabbed for line in end.lines),
        "judged": judged,
        "dropped": sum(line.finished.counters.dropped for line in end.lines),
        "invalid": {line.name: dict(line.finished.counters.by_reason) for line in end.lines},
        "spread": round((max(judged) - min(judged)) / max(1.0, float(np.mean(judged))), 4),
        "latency_ms": {f"p{at}": round(1e3 * float(np.percentile(latencies, at)), 1) for at in (50, 90, 99, 100)},
        "cpu_share": round(used / took_s, 3),
        "seconds": round(took_s, 1),
        "load": os.getloadavg()[0],
    }


def rtsp(model: Path, seconds: float) -> dict[str, Any]:
    """Run one line on a real RTSP stream of 1080p."""
    from tests.sources.rtsp_server import RtspServer, absent

    if absent():
        raise SystemExit(absent())
    server, stop, kept = RtspServer(1920, 1080), threading.Event(), Timed()
    try:
        source = find(server.url)
        line = Line(
            name="camera",
            model=str(model),
            source=ChosenSource(source, server.url, source.settings()),
            sinks=(sink(kept),),
            policy=Policy(keep="every", frame_size="any"),
        )
        threading.Timer(seconds, stop.set).start()
        began, began_s = time.process_time(), time.monotonic()
        end = Supervisor(Configuration(lines=(line,)), SystemClock(), stop).run()
        used, took_s = time.process_time() - began, time.monotonic() - began_s
    finally:
        server.close()
    counters = end.lines[0].finished.counters
    latencies = np.array(kept.latencies_s)
    return {
        "what": "rtsp",
        "grabbed": counters.grabbed,
        "frames_per_s": round(counters.grabbed / took_s, 1),
        "judged": len(latencies),
        "dropped": dict(counters.by_drop),
        "invalid": dict(counters.by_reason),
        "latency_ms": {f"p{at}": round(1e3 * float(np.percentile(latencies, at)), 1) for at in (50, 90, 99, 100)},
        "p99_over_median": round(float(np.percentile(latencies, 99) / np.median(latencies)), 2),
        "cpu_share": round(used / took_s, 3),
        "seconds": round(took_s, 1),
        "load": os.getloadavg()[0],
    }


def rows(count: int, seed: int) -> np.ndarray:
    """Return correlated noise ``[count, CHANNELS]``."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (count, CHANNELS))
    waves = np.sin(np.arange(count)[:, None] * (0.01 + 0.002 * np.arange(CHANNELS)))
    return waves + 0.2 * noise @ np.random.default_rng(0).normal(0, 1, (CHANNELS, CHANNELS))


def sensors(seconds: float, *, health: bool = False) -> dict[str, Any]:
    """Train a small model file, and stream samples through a pipe at their rate."""
    names = [f"c{number}" for number in range(CHANNELS)]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        with (root / "good.csv").open("w", encoding="utf-8") as log:
            log.write("time," + ",".join(names) + "\n")
            for number, row in enumerate(rows(120 * SENSOR_HZ, seed=1)):
                log.write(f"{number / SENSOR_HZ:.3f}," + ",".join(f"{value:.5f}" for value in row) + "\n")
        run = [sys.executable, "-m", "andon"]
        train = [
            "train",
            "pca",
            "--data",
            str(root / "good.csv"),
            "--out",
            str(root / "run"),
            "--steps",
            "200",
            "--hop",
            "100",
        ]
        subprocess.run([*run, *train], check=True, capture_output=True)
        subprocess.run([*run, "export", str(root / "run"), "-o", str(root / "m.onnx")], check=True, capture_output=True)
        out = root / "v.jsonl"
        monitor = subprocess.Popen(
            [*run, "monitor", str(root / "m.onnx"), "-", "--out", str(out), *(["--health"] if health else [])],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert monitor.stdin is not None
        values = rows(int(seconds * SENSOR_HZ), seed=2)
        began_s = wall_s = time.time()
        cpu_at_start, measured_from_s = None, 0.0
        for at in range(0, len(values), BLOCK):
            numbers = range(at, min(at + BLOCK, len(values)))
            times = [wall_s + number / SENSOR_HZ for number in numbers]
            block = {"t": times, "values": values[at : at + BLOCK].round(5).tolist()}
            monitor.stdin.write(json.dumps(block).encode() + b"\n")
            monitor.stdin.flush()
            if cpu_at_start is None and time.time() - began_s > 5:
                cpu_at_start, measured_from_s = cpu_of(monitor.pid), time.time()
            time.sleep(max(0.0, began_s + (at + BLOCK) / SENSOR_HZ - time.time()))
        assert cpu_at_start is not None, "--seconds: expected more than 5"
        used, took_s = cpu_of(monitor.pid) - cpu_at_start, time.time() - measured_from_s
        monitor.stdin.close()
        monitor.stdin = None  # so that communicate does not flush it
        messages = monitor.communicate()[1].decode().strip().splitlines() if monitor.stderr else []
        windows = len(out.read_text(encoding="utf-8").splitlines())
    return {
        "what": "sensors",
        "health": health,
        "channels": CHANNELS,
        "rate_hz": SENSOR_HZ,
        "rows": len(values),
        "windows": windows,
        "cpu_share": round(used / took_s, 3),
        "seconds": round(took_s, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "last_message": messages[-1] if messages else "",
        "load": os.getloadavg()[0],
    }


def cpu_of(pid: int) -> float:
    """Return the processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cameras", "rtsp", "sensors"])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--health", action="store_true", help="sensors: check the channels, too")
    args = parser.parse_args()
    if args.what == "sensors":
        print(json.dumps(sensors(args.seconds, health=args.health)))
    elif not args.models:
        parser.error("expected a model file for frames")
    else:
        print(
            json.dumps(
                cameras(args.models, args.seconds) if args.what == "cameras" else rtsp(args.models[0], args.seconds)
            )
        )


if __name__ == "__main__":
    main()
