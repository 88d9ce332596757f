"""Measure what the process of a camera costs, and how long the recovery from a hang or crash of its driver takes.

    python -m benchmarks.industrial_cameras cost --seconds 6
    python -m benchmarks.industrial_cameras recovery --repeats 5

`cost` reads a camera without hardware, which sends prepared pictures of 1920 x 1080 at a fixed rate. It does so in two ways in
turn: in this process, with one copy of each frame, and through the process of a camera. The camera stamps each frame with the
clock of the machine, so the age of a frame on arrival is known.

`recovery` stops (SIGSTOP) and kills the process of three cameras, and measures the time to the next frame. No frame is dropped
after connecting.
"""

import argparse
import json
import os
import resource
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources.clock import SystemClock
from andon.sources.live.camera_process import Order
from andon.sources.live.camera_settings import CameraSettings
from andon.sources.live.capture import Grabbed
from andon.sources.live.device import Buffer
from andon.sources.live.process_capture import Patience, ProcessCapture
from andon.sources.live.vendor_camera import vendor_stream

WIDTH, HEIGHT = 1920, 1080
FORMATS = {"mono": (0x01080001, 1), "colour": (0x02180015, 3)}


class PreparedCamera:
    """A camera that sends prepared pictures at a fixed rate."""

    def __init__(self, _camera: str, settings: Any) -> None:
        self._code, depth = FORMATS[settings["format"]]
        self._period_s = 1 / settings["rate_hz"]
        rng = np.random.default_rng(0)
        self._pictures = [rng.integers(0, 256, WIDTH * HEIGHT * depth, np.uint8) for _ in range(4)]
        self.most_bytes = WIDTH * HEIGHT * depth
        self._next_s = time.monotonic()
        self._number = 0

    def grab(self, _timeout_s: float) -> Buffer:
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s = max(self._next_s + self._period_s, time.monotonic() - self._period_s)
        self._number += 1
        return Buffer(
            release=lambda: None,
            pixels=self._pictures[self._number % 4],
            width=WIDTH,
            height=HEIGHT,
            code=self._code,
            stamp_ns=time.monotonic_ns(),
        )

    def check(self) -> None:
        """Return, because this camera always answers."""

    def close(self) -> None:
        """Nothing to release."""


def _order(kind: str, rate_hz: float) -> Order:
    return Order(
        opener="benchmarks.industrial_cameras:PreparedCamera", camera="", settings={"format": kind, "rate_hz": rate_hz}
    )


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _ticks_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_process(kind: str, rate_hz: float, seconds: float) -> dict[str, float]:
    """Read the camera in this process."""
    camera = PreparedCamera("", {"format": kind, "rate_hz": rate_hz})
    ages, until_s, before_s = [], time.monotonic() + seconds, _cpu_s(resource.RUSAGE_SELF)
    while time.monotonic() < until_s:
        buffer = camera.grab(0.1)
        buffer.pixels.copy()
        ages.append((time.monotonic_ns() - (buffer.stamp_ns or 0)) / 1e6)
        buffer.release()
    return _figures(ages, _cpu_s(resource.RUSAGE_SELF) - before_s, 0.0, 0)


def through_a_process(kind: str, rate_hz: float, seconds: float) -> dict[str, float]:
    """Read the camera through the process of a camera."""
    patience = Patience(open_timeout_s=20.0, read_timeout_s=5.0, triggered=False)
    capture = ProcessCapture(_order(kind, rate_hz), patience, SystemClock())
    try:
        while not isinstance(grabbed := capture.read(), Grabbed) or grabbed.source_s is None:
            pass  # stamps are passed on after two seconds
        child_s, before_s = _ticks_s(capture.pid), _cpu_s(resource.RUSAGE_SELF)
        ages, skipped, until_s = [], 0, time.monotonic() + seconds
        while time.monotonic() < until_s:
            grabbed = capture.read()
            if isinstance(grabbed, Grabbed):
                assert grabbed.source_s is not None
                ages.append(1000 * (time.monotonic() - grabbed.source_s))
                skipped += grabbed.skipped
        return _figures(ages, _cpu_s(resource.RUSAGE_SELF) - before_s, _ticks_s(capture.pid) - child_s, skipped)
    finally:
        capture.close()


def _figures(ages_ms: list[float], here_s: float, child_s: float, skipped: int) -> dict[str, float]:
    median, p99 = np.percentile(ages_ms, [50, 99])
    return {
        "frames": len(ages_ms),
        "skipped": skipped,
        "age_ms_median": round(float(median), 3),
        "age_ms_p99": round(float(p99), 3),
        "cpu_ms_here": round(1000 * here_s / len(ages_ms), 3),
        "cpu_ms_process": round(1000 * child_s / len(ages_ms), 3),
    }


def _children() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for file in children for pid in file.read_text(encoding="utf-8").split()]


def recovery(name: str, order: Order, fault: signal.Signals, repeats: int) -> dict[str, Any]:
    """Return the times from a fault of the camera's process to the next fresh frame, in seconds."""
    settings = CameraSettings(warm_frames=0, stale_after_s=30.0)
    stream = vendor_stream(
        name, order, FrameSpec(channels=3, size=(16, 16)), settings, clock=SystemClock(), stop=threading.Event()
    )
    took_s = []
    try:
        for _ in range(repeats):
            while not isinstance(next(stream), Item):
                pass
            (pid,) = _children()
            began_s = time.monotonic()
            os.kill(pid, fault)
            while pid in _children() or not _children():
                time.sleep(0.005)
            before = stream.counts.grabbed  # a frame from before the fault may still wait
            while not isinstance(item := next(stream), Item) or int(item.ref.key.rpartition("#")[2]) <= before:
                pass
            took_s.append(round(time.monotonic() - began_s, 2))
    finally:
        stream.close()
    return {"camera": name, "fault": fault.name, "median_s": float(np.median(took_s)), "all_s": took_s}


def _cameras() -> dict[str, Order]:
    found = {"prepared": _order("colour", 50.0)}
    settings = msgspec.to_builtins(CameraSettings())
    genicam = find_spec("genicam")
    if genicam is not None and genicam.origin is not None and find_spec("harvesters") is not None:
        producers = [str(Path(genicam.origin).parent / "viky.cti")]
        found["genicam (viky.cti)"] = Order(
            opener="andon.sources.live.genicam_device:open_device",
            camera="0",
            settings={**settings, "producers": producers},
        )
    if find_spec("pypylon") is not None:
        os.environ["PYLON_CAMEMU"] = "1"
        found["basler (emulator)"] = Order(
            opener="andon.sources.live.basler_device:open_device", camera="0", settings=settings
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("cost", "recovery"))
    parser.add_argument("--seconds", type=float, default=6.0, help="duration of each run of cost")
    parser.add_argument("--rate-hz", type=float, default=25.0, help="frames per second of cost")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each kind")
    given = parser.parse_args()
    conditions = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": sys.version.split()[0], "seed": 0}
    print(json.dumps(conditions))
    if given.question == "recovery":
        for name, order in _cameras().items():
            for fault in (signal.SIGSTOP, signal.SIGKILL):
                print(json.dumps(recovery(name, order, fault, given.repeats)), flush=True)
        return
    for _ in range(given.repeats):
        for kind in FORMATS:
            for way in (in_process, through_a_process):
                figures = way(kind, given.rate_hz, given.seconds)
                print(json.dumps({"format": kind, "way": way.__name__, **figures}), flush=True)


if __name__ == "__main__":
    main()
