"""Simulate many cameras on one device: latency and load by number of cameras and by waiting time.

    python -m benchmarks.micro_batching                    # the table
    python -m benchmarks.micro_batching --seconds 5 --pad  # with batches filled up to 1, 2, 4, 8, 16, 32 frames

The simulation has no wall clock. Cameras send 25 frames a second with jitter. The device needs 1.5 ms + 0.25 ms a frame, and a
verdict is late 40 ms after its frame. Prints one JSON line for each row.
"""

import argparse
import json
from typing import NamedTuple

import numpy as np

from andon.runtime.micro_batching import BatchRule, MicroBatcher

PERIOD_S, JITTER_S = 0.040, 0.004
FIXED_S, EACH_S = 0.0015, 0.00025
DEADLINE_S = 0.040


class Figures(NamedTuple):
    """Result of one simulation."""

    frames: int
    late: int
    """Frames without a verdict at the deadline."""
    p50_ms: float
    p99_ms: float
    busy: float
    """Share of the time in which the device computes."""
    mean_batch: float


def simulate(cameras: int, rule: BatchRule, *, seconds: float = 20.0, seed: int = 0) -> Figures:
    """Simulate cameras with random phases, and a device that judges one batch at a time."""
    generator = np.random.default_rng(seed)
    frames = int(seconds / PERIOD_S)
    phases = generator.uniform(0, PERIOD_S, cameras)
    arrivals = phases[:, None] + PERIOD_S * np.arange(frames) + generator.normal(0, JITTER_S, (cameras, frames))
    order = np.sort(np.maximum(arrivals, 0.0).ravel())
    batcher: MicroBatcher[float] = MicroBatcher(rule)
    now_s, at, late, busy_s, batches = 0.0, 0, 0, 0.0, 0
    latencies: list[float] = []
    while at < len(order) or len(batcher):
        while at < len(order) and order[at] <= now_s:
            batcher.offer(order[at], order[at], due_s=order[at] + DEADLINE_S)
            at += 1
        step = batcher.next_batch(now_s, flush=at == len(order))
        late += len(step.late)
        if step.batch is not None:
            took_s = FIXED_S + EACH_S * step.batch.size
            batcher.cost.add(step.batch.size, took_s)
            now_s += took_s
            busy_s += took_s
            batches += 1
            for arrived_s in step.batch.items:
                latencies.append(now_s - arrived_s)
                late += now_s > arrived_s + DEADLINE_S
            continue
        events = [one for one in (step.wake_at_s, order[at] if at < len(order) else None) if one is not None]
        now_s = max(now_s, min(events)) if events else now_s
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1e3
    return Figures(len(order), late, float(p50), float(p99), busy_s / now_s, len(latencies) / max(1, batches))


CAMERAS = (8, 32, 64, 128, 256)
RULES = ((1, 0.0), (16, 0.0), (16, 0.002), (16, 0.005), (32, 0.002))
"""`max_batch` and `max_wait_s` of each column."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="simulated time (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of phases and jitter (default: 0)")
    parser.add_argument("--pad", action="store_true", help="fill batches up to powers of two (default: off)")
    args = parser.parse_args()
    for cameras in CAMERAS:
        for max_batch, max_wait_s in RULES:
            rule = BatchRule(max_batch=max_batch, max_wait_s=max_wait_s, pad=args.pad)
            figures = simulate(cameras, rule, seconds=args.seconds, seed=args.seed)
            print(
                json.dumps(
                    {
                        "cameras": cameras,
                        "max_batch": max_batch,
                        "max_wait_ms": 1e3 * max_wait_s,
                        "p50_ms": round(figures.p50_ms, 2),
                        "p99_ms": round(figures.p99_ms, 2),
                        "busy": round(figures.busy, 3),
                        "late": round(figures.late / figures.frames, 4),
                        "mean_batch": round(figures.mean_batch, 1),
                    }
                )
            )


if __name__ == "__main__":
    main()
