"""Measure promises and detection with a context channel and with a trend subtracted, on simulated machines.

* ``regimes``: a machine with three recipes of different level and spread. Each lasts 1 500 rows on average. The channel
  ``recipe`` states which one runs. Compared: without and with ``--context recipe``. A later log with the same recipes shows
  whether the promise is kept. Faults are steps of one channel by 3 standard deviations of its recipe, 100 rows long.
* ``drift``: a good log that drifts by `DRIFT` standard deviations over its length, and goes on to drift after it. Compared:
  without and with ``--detrend mean`` and ``line``.

A promise is broken if the rejected share of the disjoint windows of the later log is above it. ``caught``: share of the faults
with a REJECT among the windows that touch them.

    OMP_NUM_THREADS=1 python -m benchmarks.window_readings --repetitions 40
"""

import argparse
import json
from collections.abc import Callable, Iterator

import numpy as np
from benchmarks.sensor_models import Candidate, judge, train_detector
from msgspec import Struct
from numpy.typing import NDArray

from andon.calibration.request import PromiseRequest
from andon.foundation.errors import AndonError
from andon.foundation.progress import ProgressLine, track
from andon.runtime.detector import Detector
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.training.fitting.window_reading import WindowReading

ALPHA = 0.05
ROWS = 40_000
LATER_ROWS = 40_000
LEVELS = np.array([[10.0, 5.0], [20.0, 3.0], [14.0, 9.0]])
SPREADS = np.array([[0.5, 0.2], [1.0, 0.1], [0.3, 0.6]])
STAY_ROWS = 1500
DRIFT = 2.0
STEP = 3.0
FAULT_ROWS = 100
FAULTS = 60

Floats = NDArray[np.float64]


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of one way to read the windows, over all repetitions."""

    scene: str
    reading: str
    refused: int
    promised: int
    broken: int
    rejected: float | None
    """Mean rejected share of good windows in the later logs. None without a promise."""
    caught: float | None
    """Mean share of faults caught."""


def noise(rows: int, generator: np.random.Generator, phi: float = 0.5) -> Floats:
    """Return correlated noise of two channels, with standard deviation 1."""
    steps = generator.normal(size=(rows, 2)) * np.sqrt(1 - phi**2)
    values = np.empty((rows, 2))
    last = generator.normal(size=2)
    for row in range(rows):
        last = phi * last + steps[row]
        values[row] = last
    return values


def log_of(values: Floats, names: tuple[str, ...]) -> Log:
    """Return a log with one run."""
    channels = tuple(Channel(name=name) for name in names)
    run = Run(name="log", times_s=np.arange(len(values), dtype=np.float64), values=values.astype(np.float32))
    return Log(found=FoundLogs(channels=channels, period_s=1.0, runs=1, rows=len(values)), runs=(run,))


def regimes(rows: int, generator: np.random.Generator, *, faults: bool) -> tuple[Log, NDArray[np.intp]]:
    """Return a log of the machine with recipes, and the first rows of its faults."""
    stays = generator.exponential(STAY_ROWS, size=rows // 100).astype(int) + 100
    state = np.repeat(generator.integers(0, 3, size=len(stays)), stays)[:rows]
    values = LEVELS[state] + SPREADS[state] * noise(rows, generator)
    starts = np.linspace(500, rows - 500, FAULTS).astype(np.intp) if faults else np.empty(0, np.intp)
    for number, start in enumerate(starts.tolist()):
        span, channel = slice(start, start + FAULT_ROWS), number % 2
        values[span, channel] += STEP * SPREADS[state[span], channel]
    return log_of(np.column_stack([state + 1.0, values]), ("recipe", "power", "flow")), starts


def drifting(
    rows: int, generator: np.random.Generator, *, faults: bool, begin: int = 0
) -> tuple[Log, NDArray[np.intp]]:
    """Return a log of a machine that drifts, and the first rows of its faults."""
    values = noise(rows, generator) + DRIFT * (begin + np.arange(rows))[:, None] / ROWS
    starts = np.linspace(500, rows - 500, FAULTS).astype(np.intp) if faults else np.empty(0, np.intp)
    for number, start in enumerate(starts.tolist()):
        values[start : start + FAULT_ROWS, number % 2] += STEP
    return log_of(values, ("power", "flow")), starts


def measure(
    scene: str,
    name: str,
    reading: WindowReading,
    make: Callable[[int, str], tuple[Log, NDArray[np.intp]]],
    seeds: range,
) -> Outcome:
    """Train, export and judge with each seed."""
    refused = broken = 0
    rejected, caught = [], []
    for seed in track(list(seeds), ProgressLine(), f"{scene}, {name}"):
        promise = PromiseRequest(false_reject=ALPHA)
        candidate = Candidate(DETECTOR, {"steps": 32, "hop": 8})
        try:
            detector = train_detector(candidate, make(seed, "good")[0], seed=seed, promise=promise, reading=reading)
        except AndonError:
            refused += 1
            continue
        later, _ = make(seed, "later")
        share = float(judge(detector, later, hop=32)["log"].rejected.mean())
        rejected.append(share)
        broken += share > ALPHA
        faulty, starts = make(seed, "faulty")
        caught.append(_caught(detector, faulty, starts))
    return Outcome(
        scene=scene,
        reading=name,
        refused=refused,
        promised=len(rejected),
        broken=broken,
        rejected=round(float(np.mean(rejected)), 4) if rejected else None,
        caught=round(float(np.mean(caught)), 4) if caught else None,
    )


def _caught(detector: Detector, log: Log, starts: NDArray[np.intp]) -> float:
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    windows = judge(detector, log, hop=spec.hop)["log"]
    ends = windows.ends[windows.rejected]
    return float(np.mean([((ends >= start) & (ends < start + FAULT_ROWS + spec.steps)).any() for start in starts]))


def outcomes(repetitions: int) -> Iterator[Outcome]:
    """Yield the result of each scene and reading."""
    seeds = range(repetitions)
    offset = {"good": 0, "later": 1, "faulty": 2}

    def machine(seed: int, part: str) -> tuple[Log, NDArray[np.intp]]:
        generator = np.random.default_rng(3 * seed + offset[part])
        return regimes(ROWS if part == "good" else LATER_ROWS, generator, faults=part == "faulty")

    def drift(seed: int, part: str) -> tuple[Log, NDArray[np.intp]]:
        generator = np.random.default_rng(10**6 + 3 * seed + offset[part])
        return drifting(ROWS, generator, faults=part == "faulty", begin=0 if part == "good" else ROWS)

    yield measure("regimes", "as it is", WindowReading(), machine, seeds)
    yield measure("regimes", "--context recipe", WindowReading(context="recipe"), machine, seeds)
    yield measure("drift", "as it is", WindowReading(), drift, seeds)
    yield measure("drift", "--detrend mean", WindowReading(detrend="mean"), drift, seeds)
    yield measure("drift", "--detrend line", WindowReading(detrend="line"), drift, seeds)


DETECTOR = "whitening"


def main() -> None:
    """Print one JSON line for each scene and reading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=40)
    for outcome in outcomes(parser.parse_args().repetitions):
        print(json.dumps({name: getattr(outcome, name) for name in Outcome.__struct_fields__}), flush=True)


if __name__ == "__main__":
    main()
