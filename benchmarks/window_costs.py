"""Measure what detectors for windows cost: seconds of the fit, milliseconds a window in the runtime, and size of the file.

The log is synthetic: 100 000 rows of 8 channels that depend on each other, by default in windows of 64 rows with a hop of 16.
The fit is timed without reading and cutting the log. Latencies are medians of single windows on one thread, and the best of
several rounds, because other processes disturb single ones.

    python -m benchmarks.window_costs
    python -m benchmarks.window_costs --detectors whitening --channels 52 --steps 8 --hop 1 --rows 2000 --json
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.sensor_models import rows_as_log
from msgspec import Struct, structs

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.foundation.progress import silent
from andon.foundation.settings import from_mapping
from andon.runtime.bench import bench
from andon.sources.series.log import Log
from andon.training.fitting.device import device_named, seeded
from andon.training.fitting.prepared_data import prepare_data
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import recipe
from andon.training.runs.export_run import export_run
from andon.training.runs.train import ObserveOptions, TrainOptions, train

ROUNDS = 5


class Line(Struct, frozen=True, kw_only=True):
    """Costs of one detector."""

    detector: str
    windows: int
    """Number of windows that were trained on."""
    fit_s: float
    """Best of the rounds."""
    window_ms: float
    """Best of the rounds."""
    file_mb: float
    gemm_ms: float
    """Time of a matrix product of 1024 x 1024 in the same round. It shows the speed of the machine."""


class _Context:
    """The environment of a fit that records nothing."""

    seed = 0
    progress = staticmethod(silent)
    resumed = None

    def __init__(self) -> None:
        self.device = device_named("cpu")

    def epoch(self, *_args: object, **_named: object) -> None:
        """Ignore the end of an epoch."""

    def suspects(self, *_args: object, **_named: object) -> None:
        """Ignore suspects."""


def coupled_log(rows: int, channels: int, *, seed: int) -> Log:
    """Return a log of channels that follow a few slow causes, with noise."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(rows, 3))
    slow = np.zeros_like(noise)
    for row in range(1, rows):
        slow[row] = 0.95 * slow[row - 1] + noise[row]
    values = slow @ generator.normal(size=(3, channels)) + generator.normal(size=(rows, channels))
    return rows_as_log({"run": values.astype(np.float32)}, [f"c{place}" for place in range(channels)])


def measure(detector: str, log: Log, steps: int, hop: int) -> Line:
    """Train, export and time one detector."""
    known = recipe(detector)
    settings = from_mapping(known.settings, {"steps": steps, "hop": hop}, where=detector)
    data = prepare_data(log, known, settings, seed=0)
    seconds = []
    for _ in range(ROUNDS):
        with seeded(0, 1, device_named("cpu")):
            scorer = known.build(settings, data.spec)
            start_s = time.perf_counter()
            known.fit_and_finalize(scorer, data, settings, _Context())
            seconds.append(time.perf_counter() - start_s)
    with tempfile.TemporaryDirectory() as folder:
        run = train(
            known,
            log,
            Path(folder) / "run",
            settings=settings,
            options=TrainOptions(seed=0, device="cpu", threads=1),
            observe=ObserveOptions(picture_epochs=NONE),
        )
        path = Path(folder) / "model.onnx"
        request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="")
        exported = export_run(run, path, request=request, data=log)
        timed = min((bench(path, seconds=0.5) for _ in range(ROUNDS)), key=lambda one: one.latency_ms)
    return Line(
        detector=detector,
        windows=len(data.train),
        fit_s=min(seconds),
        window_ms=timed.latency_ms,
        file_mb=len(exported.model.data) / 1e6,
        gemm_ms=timed.gemm_ms,
    )


def main() -> None:
    """Measure the detectors, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=["whitening", "pca", "window_mean"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--hop", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    args = parser.parse_args()
    log = coupled_log(args.rows, args.channels, seed=args.seed)
    if not args.json:
        print(f"{'detector':<14} {'windows':>8} {'fit s':>7} {'ms a window':>12} {'MB':>6} {'gemm ms':>8}")
    for detector in args.detectors:
        line = measure(detector, log, args.steps, args.hop)
        if args.json:
            print(json.dumps({"what": "window_costs"} | structs.asdict(line)), flush=True)
        else:
            print(
                f"{line.detector:<14} {line.windows:>8} {line.fit_s:>7.3f} {line.window_ms:>12.3f} {line.file_mb:>6.2f} "
                f"{line.gemm_ms:>8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
