"""Compare a GPU with the CPU, and judge the frames of many synthetic cameras on it. Needs at most 8 minutes.

    python -m benchmarks.gpu MODEL.onnx                             # on a machine with a GPU and onnxruntime-gpu
    python -m benchmarks.gpu MODEL.onnx --device cpu --cameras 4    # the same code on the CPU, to try the script

1. Opens a session with one node. Without CUDA it prints the reason as one JSON line, and ends with exit code 3.
2. ``parity``: the same frames on both devices, in batches. Bars: equal decisions, and scores that differ by at most 1e-3.
3. ``cost``: milliseconds for batches of 1, 2, 4 ... frames.
4. ``cameras``: 64 cameras at 25 frames a second with jitter, and a deadline of 40 ms. Bar: no frame is late.

Prints one JSON line for each step. Exit code 0: all bars are kept. 1: one is not.
"""

import argparse
import concurrent.futures
import functools
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.doctor.facts import import_in_child
from andon.doctor.probe import CUDA
from andon.runtime import BatchRule, Detector, Reason, SharedDetector, Verdict
from andon.runtime.schema import FrameSpec

FPS, JITTER_S, DEADLINE_S = 25.0, 0.004, 0.040
PARITY_FRAMES, TOLERANCE = 256, 1e-3


def no_cuda() -> str:
    """Return why no session opens with CUDA, or an empty text if one does."""
    imported = import_in_child("onnxruntime")
    if imported.error:
        return imported.error
    for one in imported.opened:
        if one.provider == CUDA:
            return (
                "" if one.runs_on == CUDA else f"{one.error or 'the session runs on the CPU'} {list(imported.missing)}"
            )
    return f"this onnxruntime lists {', '.join(one.provider for one in imported.opened)}"


def frames_for(detector: Detector, count: int, seed: int) -> list[NDArray[Any]]:
    """Return the golden sample of the file with different noise and brightness."""
    spec, golden = detector.card.input, detector.model.golden
    if not isinstance(spec, FrameSpec) or golden is None:
        raise SystemExit("expected a model file for frames with a golden sample. Export it with andon export.")
    sample = golden.input.array().astype(np.float32)
    top = np.iinfo(spec.dtype).max
    generator = np.random.default_rng(seed)
    return [
        np.clip(sample * generator.uniform(0.8, 1.2) + generator.normal(0, top * 0.02, sample.shape), 0, top).astype(
            spec.dtype
        )
        for _ in range(count)
    ]


def parity(reference: Detector, other: Detector, frames: Sequence[NDArray[Any]]) -> dict[str, object]:
    """Compare verdicts: the reference judges one by one, the other one in batches of changing size."""
    expected = [reference(one) for one in frames]
    got: list[Verdict] = []
    sizes = itertools.cycle((1, 3, 32, 7, 16))
    while len(got) < len(frames):
        got += other.batch(frames[len(got) : len(got) + next(sizes)])
    differences = [
        abs(one.score - two.score) / max(abs(one.score), 1e-6)
        for one, two in zip(expected, got, strict=True)
        if not np.isnan(one.score)
    ]
    decisions = sum(one.status is not two.status for one, two in zip(expected, got, strict=True))
    return {
        "step": "parity",
        "frames": len(frames),
        "other_decisions": decisions,
        "largest_relative_difference": max(differences, default=0.0),
        "kept": decisions == 0 and max(differences, default=0.0) <= TOLERANCE,
    }


def cameras(shared: SharedDetector, frames: Sequence[NDArray[Any]], count: int, seconds: float) -> dict[str, object]:
    """Submit the frames of all cameras at their times, and measure until each verdict."""
    generator = np.random.default_rng(1)
    per_camera = int(seconds * FPS)
    times_s = np.sort(
        np.abs(
            generator.uniform(0, 1 / FPS, count)[:, None]
            + np.arange(per_camera) / FPS
            + generator.normal(0, JITTER_S, (count, per_camera))
        ).ravel()
    )
    taken_s: list[float] = []
    behind_s: list[float] = []
    futures = []
    start_s = time.perf_counter()

    def done(submitted_s: float, _future: "concurrent.futures.Future[Verdict]") -> None:
        taken_s.append(time.perf_counter() - submitted_s)

    for number, at_s in enumerate(times_s):
        wait_s = start_s + at_s - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        now_s = time.perf_counter()
        behind_s.append(now_s - start_s - at_s)
        future = shared.submit(frames[number % len(frames)], deadline_s=DEADLINE_S)
        future.add_done_callback(functools.partial(done, now_s))
        futures.append(future)
    verdicts = [future.result(60) for future in futures]
    late = sum(verdict.reason is Reason.LATE for verdict in verdicts)
    return {
        "step": "cameras",
        "cameras": count,
        "frames": len(verdicts),
        "late": late,
        "p50_ms": round(1e3 * float(np.quantile(taken_s, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(taken_s, 0.99)), 2),
        # the script itself must keep up, or the figures mean nothing
        "submitted_behind_p99_ms": round(1e3 * float(np.quantile(behind_s, 0.99)), 2),
        "kept": late == 0,
    }


def gpu_memory_mb() -> float | None:
    """Return the used memory of the first GPU. None without nvidia-smi."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return float(done.stdout.splitlines()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file for frames with a golden sample")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="device to judge on (default: cuda)")
    parser.add_argument("--cameras", type=int, default=64, help="number of cameras (default: 64)")
    parser.add_argument("--seconds", type=float, default=120.0, help="duration of the cameras (default: 120)")
    args = parser.parse_args()
    if args.device == "cuda" and (why := no_cuda()):
        print(json.dumps({"step": "gpu", "at_hand": False, "why": why}))
        return 3
    reference = Detector.load(args.model, frame_size="any", provider="any")
    detector = Detector.load(args.model, device=args.device, frame_size="any", provider="any")
    frames = frames_for(reference, PARITY_FRAMES, seed=0)
    compared = parity(reference, detector, frames)
    print(json.dumps({"device": detector.device, **compared}), flush=True)
    with SharedDetector(detector, rule=BatchRule(pad=args.device == "cuda")) as shared:
        costs = shared.warm_up(frames[0])
        print(
            json.dumps({"step": "cost", "ms": {size: round(1e3 * took_s, 3) for size, took_s in costs.items()}}),
            flush=True,
        )
        before_mb = gpu_memory_mb()
        served = cameras(shared, frames, args.cameras, args.seconds)
        print(json.dumps({**served, "memory_before_mb": before_mb, "memory_after_mb": gpu_memory_mb()}), flush=True)
    return 0 if compared["kept"] and served["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())
