"""Measure what the check for windows far outside the good ones costs the promise.

    OMP_NUM_THREADS=1 python -m benchmarks.outside_training

Each repetition draws good windows of three channels from one process, and divides them as training does. The ranges come from
the training windows, threshold and limits from the calibration windows (`andon.runtime.outside_training`). The score is the mean
square of the standardised values. New good windows of the same process then show the share of false rejects, with the check and
without it. Windows are independent of each other, so that only the check can break the promise. Prints one JSON line per
process:

* ``broken_without``, ``broken_with``: repetitions of which the false rejects exceed the promised rate, of ``repetitions``.
* ``outside_ppm``: good windows per million that the check alone rejects, mean over the repetitions.
"""

import argparse
import json
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from andon.calibration.promise import allowance
from andon.runtime.calibration_facts import ChannelHealth, Range
from andon.runtime.outside_training import limits, ranges, statistics
from andon.runtime.schema import Channel, OutsideCheck, WindowSpec

STEPS, CHANNELS = 16, 3
Windows = NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def gaussian(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return white noise, ``[count, T, C]``."""
    return generator.normal(size=(count, STEPS, CHANNELS))


def heavy(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return noise with heavy tails: Student's t with three degrees of freedom."""
    return generator.standard_t(3, size=(count, STEPS, CHANNELS))


def slow(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return slow random walks around a level that differs by window."""
    steps = 0.1 * generator.normal(size=(count, STEPS, CHANNELS))
    return np.asarray(generator.normal(size=(count, 1, CHANNELS)) + np.cumsum(steps, axis=1))


def bursts(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return noise whose size differs by window by a factor that has a log-normal distribution."""
    size = np.exp(0.7 * generator.normal(size=(count, 1, 1)))
    return np.asarray(size * generator.normal(size=(count, STEPS, CHANNELS)))


PROCESSES: dict[str, Draw] = {"gaussian": gaussian, "heavy tails": heavy, "slow": slow, "bursts": bursts}


def beyond(windows: Windows, spec: WindowSpec, bounds: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which windows the check rejects."""
    seen = statistics(windows)
    center = np.array([channel.center for channel in spec.channels])
    found = np.stack([seen.high - center, center - seen.low, seen.spread, seen.rate], axis=1)
    return np.asarray((found.reshape(len(windows), -1) > bounds).any(axis=1))


def repetition(
    draw: Draw, seed: int, *, train: int, calibration: int, new: int, alpha: float
) -> tuple[float, float, float]:
    """Return the share of new good windows that are rejected without the check, with it, and by the check alone."""
    generator = np.random.default_rng(seed)
    windows = draw(generator, train + calibration + new).astype(np.float32)
    first, second, third = np.split(windows, [train, train + calibration])
    seen = statistics(first)
    lows, highs, spreads, rates = (ranges(each) for each in (seen.low, seen.high, seen.spread, seen.rate))
    channels = tuple(
        Channel(
            name=f"c{at}",
            center=float(first[..., at].mean()),
            low=lows[at].low,
            high=highs[at].high,
            spread=spreads[at],
            rate=rates[at],
        )
        for at in range(CHANNELS)
    )
    spec = WindowSpec(steps=STEPS, hop=STEPS, period_s=1.0, channels=channels, outside=OutsideCheck())
    kept = statistics(second)
    health = [
        ChannelHealth(
            name=f"c{at}",
            low=float(kept.low[:, at].min()),
            high=float(kept.high[:, at].max()),
            spread=Range(low=0.0, high=float(kept.spread[:, at].max())),
            rate=Range(low=0.0, high=float(kept.rate[:, at].max())),
        )
        for at in range(CHANNELS)
    ]
    bounds = limits(spec, health)
    assert not beyond(second, spec, bounds).any()
    center, scale = first.mean(axis=(0, 1)), first.std(axis=(0, 1))
    of_good, of_new = ((((part - center) / scale) ** 2).mean(axis=(1, 2)) for part in (second, third))
    threshold = np.sort(of_good)[calibration - 1 - allowance(calibration, alpha)]
    rejected, outside = of_new > threshold, beyond(third, spec, bounds)
    return float(rejected.mean()), float((rejected | outside).mean()), float((outside & ~rejected).mean())


def main() -> None:
    """Print one JSON line per process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--train", type=int, default=100, help="training windows")
    parser.add_argument("--calibration", type=int, default=59, help="calibration windows")
    parser.add_argument("--alpha", type=float, default=0.05, help="promised rate of false rejects")
    args = parser.parse_args()
    for name, draw in PROCESSES.items():
        found = np.array(
            [
                repetition(draw, seed, train=args.train, calibration=args.calibration, new=10_000, alpha=args.alpha)
                for seed in range(args.repetitions)
            ]
        )
        line = {
            "process": name,
            "repetitions": args.repetitions,
            "windows": [args.train, args.calibration],
            "alpha": args.alpha,
            "broken_without": int((found[:, 0] > args.alpha).sum()),
            "broken_with": int((found[:, 1] > args.alpha).sum()),
            "outside_ppm": round(1e6 * float(found[:, 2].mean()), 1),
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
