"""Measure how much a second training on the same machine slows down the first. It should only take its share of the cores.

Alternates between one training alone and two at once, each in its own process. Prints one JSON line: median wall and CPU seconds
of a training, and the ratio of two at once to one. Two trainings on two cores should take at most 2.3 times as long as one.
Run it on a machine without other load. `--waiting ACTIVE` shows the cost of threads that wait by spinning.

    python -m benchmarks.training_under_load --rounds 3
    python -m benchmarks.training_under_load --rounds 1 --waiting ACTIVE
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_SCRIPT = """
import sys
from andon.training.observers.epochs import NONE
from andon.training.runs.train import ObserveOptions, TrainOptions, train
from andon.training.recipe.recipe import recipe
import msgspec
name, data, out, epochs, threads = sys.argv[1:]
known = recipe(name)
settings = msgspec.structs.replace(known.tiny, epochs=int(epochs))  # with small networks, threads wait most
options, observe = TrainOptions(threads=int(threads) or None), ObserveOptions(picture_epochs=NONE, animation_epochs=NONE)
train(known, data, out, settings=settings, options=options, observe=observe)
"""


def pictures(folder: Path, count: int, side: int) -> None:
    """Write seeded grey pictures of a blurred spot."""
    import cv2

    rows, columns = np.mgrid[0:side, 0:side] / side
    for number in range(count):
        generator = np.random.default_rng(number)
        y, x = generator.uniform(0.35, 0.65, 2)
        spot = 60 + 150 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 0.02)
        noisy = np.clip(spot + generator.normal(0, 5, spot.shape), 0, 255).astype(np.uint8)
        if not cv2.imwrite(str(folder / f"{number:04}.png"), noisy):
            raise OSError(f"{folder}: cannot write to this folder")


def timed(at_once: int, data: Path, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the wall seconds until all trainings have ended, and the mean CPU seconds of one."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if arguments.waiting != "andon":
        environment["OMP_WAIT_POLICY"] = arguments.waiting
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _SCRIPT, arguments.detector, str(data), f"{folder}/run{number}",
                 str(arguments.epochs), str(arguments.threads)],
                env=environment,
            )
            for number in range(at_once)
        ]  # fmt: skip
        codes = [process.wait() for process in processes]
        wall_s = time.perf_counter() - start_s
    if any(codes):
        raise SystemExit(f"a training failed: exit codes {codes}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s / at_once


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="conv_vae")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0, help="threads of each training (default: 0, andon's default)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--waiting",
        choices=["andon", "ACTIVE", "PASSIVE"],
        default="andon",
        help="how OpenMP threads wait (default: andon)",
    )
    arguments = parser.parse_args()
    alone: list[tuple[float, float]] = []
    two: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures(Path(folder), arguments.pictures, arguments.side)
        for _ in range(arguments.rounds):
            alone.append(timed(1, Path(folder), arguments))
            two.append(timed(2, Path(folder), arguments))
    wall_1, cpu_1 = (statistics.median(values) for values in zip(*alone, strict=True))
    wall_2, cpu_2 = (statistics.median(values) for values in zip(*two, strict=True))
    print(
        json.dumps(
            {
                "what": f"{arguments.detector}, tiny settings, {arguments.epochs} epochs of {arguments.pictures} pictures",
                "waiting": arguments.waiting,
                "threads": arguments.threads or "default",
                "cores": os.cpu_count(),
                "load_1min": round(os.getloadavg()[0], 2),
                "rounds": arguments.rounds,
                "alone_wall_s": round(wall_1, 2),
                "alone_cpu_s": round(cpu_1, 2),
                "two_at_once_wall_s": round(wall_2, 2),
                "two_at_once_cpu_s_each": round(cpu_2, 2),
                "times_as_long": round(wall_2 / wall_1, 2),
                "times_the_cpu": round(cpu_2 / cpu_1, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
