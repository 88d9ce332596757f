"""Measure PyAV and OpenCV as decoders of 1080p video, and the CPU time that the monitor adds.

    OMP_NUM_THREADS=1 python -m benchmarks.decoders [--rtsp] [--model FILE.onnx]

With ``--rtsp``, the opening of an RTSP stream is measured, too (needs GStreamer). With ``--model``, the monitor is.

The clip is a moving test pattern with noise: H.264, 6 Mbit/s, 25 frames per second, a key frame each second, no B-frames. The
program ffmpeg makes it. Prints one JSON line per result:

* ``decode``: CPU milliseconds per frame of the process, median of the repeats, and whether the pixels of both are equal.
* ``open``: wall milliseconds until the first frame, median of the repeats.
* ``monitor``: CPU time of the process while the monitor judges the clip at its recorded speed. The CPU time of a loop that only
  decodes and judges the same frames is subtracted. The result is a share of one core. The two alternate.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np

from andon.monitor.counters import Counters
from andon.monitor.judging import Outcome
from andon.monitor.loop import monitor
from andon.runtime.detector import Detector
from andon.runtime.items import Item
from andon.runtime.judge import judge_of
from andon.sources.clock import SystemClock
from andon.sources.kinds import camera, video
from andon.sources.live.capture import Capture
from andon.sources.opencv import opencv
from andon.sources.pyav import Decoder, frames, open_container, to_frame
from andon.sources.stream_settings import ReplaySettings
from andon.sources.video_file import open_video


def write_clip(path: Path, seconds: int) -> None:
    """Write the clip with the program ffmpeg."""
    pattern = "testsrc2=size=1920x1080:rate=25,noise=alls=6:allf=t"
    command = [
        "ffmpeg",
        "-loglevel",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        pattern,
        "-t",
        str(seconds),
        "-c:v",
        "libx264",
    ]
    subprocess.run([*command, "-preset", "veryfast", "-b:v", "6M", "-g", "25", "-bf", "0", str(path)], check=True)


def milliseconds_per_frame(work: Callable[[], Iterator[object]]) -> float:
    """Return the CPU time of the process for one frame."""
    begin_ns, count = time.process_time_ns(), 0
    for _ in work():
        count += 1
    return (time.process_time_ns() - begin_ns) / 1e6 / count


def decoded(path: Path) -> Iterator[object]:
    container = open_container(str(path), protocols="file", timeout_s=None)
    yield from frames(container)
    container.close()


def decoded_to_rgb(path: Path) -> Iterator[object]:
    for grabbed in decoded(path):
        yield to_frame(grabbed.data, 3, "clip")  # type: ignore[attr-defined]


def grabbed_with_opencv(path: Path) -> Iterator[object]:
    reader = open_video(path, "opencv")
    while reader.grab():
        yield None
    reader.close()


def read_with_opencv(path: Path) -> Iterator[object]:
    reader = open_video(path, "opencv")
    while reader.grab():
        yield reader.frame(3, "clip")
    reader.close()


def first_frame_ms(path: Path, package: Decoder) -> float:
    """Return the wall time until the first frame of a file."""
    begin_s = time.perf_counter()
    reader = open_video(path, package)
    reader.grab()
    reader.frame(3, "clip")
    took_ms = 1e3 * (time.perf_counter() - begin_s)
    reader.close()
    return took_ms


def first_live_frame_ms(open_now: Callable[[], Capture | None]) -> float:
    """Return the wall time until the first frame of a stream."""
    begin_s = time.perf_counter()
    capture = open_now()
    assert capture is not None
    assert capture.read() is not None
    took_ms = 1e3 * (time.perf_counter() - begin_s)
    capture.close()
    return took_ms


class Nothing:
    """A sink that keeps nothing."""

    lost = 0
    summary = ""

    def put(self, outcome: Outcome) -> None:
        """Take an outcome."""

    def close(self) -> None:
        """Do nothing."""


def added_by_the_monitor(path: Path, model: Path) -> tuple[float, float, int]:
    """Return CPU seconds of the monitor and of the bare loop for the same clip, and the number of frames."""
    detector = Detector.load(model, threads=1, frame_size="any")
    judge = judge_of(detector)
    clock, spec = SystemClock(), detector.card.input

    def bare() -> float:
        begin_s = time.process_time()
        stop = threading.Event()
        for item in video.stream(str(path), spec, ReplaySettings(), clock, stop):
            assert isinstance(item, Item)
            judge.call(item.data)
        return time.process_time() - begin_s

    def whole() -> tuple[float, Counters]:
        begin_s, stop = time.process_time(), threading.Event()
        settings = ReplaySettings(speed="recorded")
        done = monitor(judge, lambda: video.stream(str(path), spec, settings, clock, stop), [Nothing()], clock, stop)
        return time.process_time() - begin_s, done.counters

    bare()  # warm up
    bare_s, whole_s, counted = [], [], 0
    for _ in range(3):
        bare_s.append(bare())
        took_s, counters = whole()
        whole_s.append(took_s)
        counted = counters.judged
        assert counters.judged == counters.grabbed
    return statistics.median(whole_s), statistics.median(bare_s), counted


def show(**facts: Any) -> None:
    """Print one line."""
    print(
        json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in facts.items()}),
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=12, help="length of the clip")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rtsp", action="store_true", help="measure the opening of an RTSP stream, too")
    parser.add_argument("--model", type=Path, help="a model file for frames")
    args = parser.parse_args()
    opencv()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "line.mp4"
        write_clip(clip, args.seconds)
        ways: dict[str, Callable[[Path], Iterator[object]]] = {
            "PyAV, decoded only": decoded,
            "PyAV, to RGB": decoded_to_rgb,
            "OpenCV, grabbed only": grabbed_with_opencv,
            "OpenCV, to RGB": read_with_opencv,
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.repeats):  # in turns, so that the load of the machine is the same for all
            for name, way in ways.items():
                taken[name].append(milliseconds_per_frame(lambda way=way: way(clip)))  # type: ignore[misc]
        pairs = zip(decoded_to_rgb(clip), read_with_opencv(clip), strict=True)
        equal = all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in pairs)
        for name, values in taken.items():
            show(what="decode", how=name, cpu_ms=statistics.median(values), least_ms=min(values), equal=equal)
        for package in get_args(Decoder):
            times = [first_frame_ms(clip, package) for _ in range(args.repeats)]
            show(what="open", how=f"file with {package}", wall_ms=statistics.median(times))
        if args.rtsp:
            measure_rtsp(args.repeats)
        if args.model is not None:
            whole_s, bare_s, count = added_by_the_monitor(clip, args.model)
            show(
                what="monitor",
                frames=count,
                cpu_s_monitor=whole_s,
                cpu_s_decode_and_judge=bare_s,
                own_share_of_a_core=(whole_s - bare_s) / args.seconds,
                load=os.getloadavg()[0],
            )


def measure_rtsp(repeats: int) -> None:
    """Measure the opening of a live RTSP stream of 320x180 pixels with a key frame each second."""
    from tests.sources.rtsp_server import RtspServer, absent

    if absent():
        raise SystemExit(absent())
    server = RtspServer()
    try:
        settings = camera.Settings()
        protocols = camera._PROTOCOLS["rtsp"]
        ways: dict[str, Callable[[], Capture | None]] = {
            "pyav": lambda: camera._open_with_pyav(server.url, protocols, settings),
            "opencv": lambda: camera._open_url(server.url, protocols, settings),
        }
        first_live_frame_ms(ways["pyav"])  # the server starts its encoder with the first client
        for name, way in ways.items():
            times = [first_live_frame_ms(way) for _ in range(repeats)]
            show(what="open", how=f"RTSP with {name}", wall_ms=statistics.median(times), least_ms=min(times))
    finally:
        server.close()


if __name__ == "__main__":
    main()
