"""Measure AUROC on the simulated converter by fault and severity, for all scores of the detectors for windows.

The seeds differ: N for the training windows, N + 1 for the good test windows, and N + 2, ... for the kinds of faults. Faults
are in independent runs with one fault of 200 rows each. Windows are disjoint and not aligned with faults, and most of the
affected ones contain only a few faulty rows. `touched` counts windows with at least one faulty row, like andon's evaluation.
`whole` counts only windows whose rows are all faulty. Windows in recovery count as neither.

    python -m benchmarks.converter_severities
    python -m benchmarks.converter_severities --severities 1 --json
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
from benchmarks.sensor_models import Candidate, Windows, judge, train_detector
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.request import PromiseRequest
from andon.demo.power_converter import KINDS, ConverterSettings, FaultKind, schedule_faults, simulate
from andon.evaluation.figures.ranking import auroc
from andon.foundation.progress import ProgressLine, track
from andon.runtime.detector import Detector
from andon.runtime.schema import WindowSpec
from andon.sources.series.log import Log

SEVERITIES = (0.125, 0.25, 0.5, 1.0, 2.0)
CANDIDATES = (
    Candidate("whitening", {}),
    Candidate("window_vae", {}),
    Candidate("pca", {}),
    Candidate("window_mean", {}),
)
FAULT_ROWS = 200
RUN_ROWS = 1400
"""Rows of a run. They include the longest recovery, of 1 000 rows."""


class Line(Struct, frozen=True, kw_only=True):
    """Results of one score of a detector on one kind of fault at one severity."""

    detector: str
    score: str
    """Name of the score. ``score`` is the deciding one."""
    fault: FaultKind
    severity: float
    touched: float
    """AUROC of windows with at least one faulty row against good windows."""
    whole: float
    """AUROC of windows whose rows are all faulty against good windows."""
    windows: tuple[int, int, int]
    """Numbers of windows: good, touched, whole."""
    seed: int


def faulty_runs(kind: FaultKind, severity: float, *, seed: int, runs: int) -> Log:
    """Return independent runs with one fault each."""
    faults = schedule_faults(
        seed,
        runs,
        rows=RUN_ROWS,
        runs=runs,
        duration_rows=FAULT_ROWS,
        severity=severity,
        kinds=[kind],
    )
    return simulate(ConverterSettings(), seed=seed, runs=runs, rows=RUN_ROWS, faults=faults)


def shares(log: Log, windows: dict[str, Windows], steps: int) -> NDArray[np.float64]:
    """Return the share of faulty rows in each window, run by run; NaN for windows in recovery."""
    found = []
    for run in log.runs:
        assert run.faulty is not None
        assert run.recovering is not None
        for end in windows[run.name].ends.tolist():
            rows = slice(end + 1 - steps, end + 1)
            neither = run.recovering[rows].any() and not run.faulty[rows].any()
            found.append(np.nan if neither else float(run.faulty[rows].mean()))
    return np.array(found)


def measure(
    detector: Detector,
    name: str,
    good: dict[str, np.ndarray],
    kind: FaultKind,
    severity: float,
    *,
    seed: int,
    runs: int,
) -> list[Line]:
    """Return a line for each score of the file."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    log = faulty_runs(kind, severity, seed=seed + 2 + KINDS.index(kind), runs=runs)
    windows = judge(detector, log, hop=spec.steps)
    share = shares(log, windows, spec.steps)
    lines = []
    for score, values in good.items():
        faulty = np.concatenate([windows[run.name].scores[score] for run in log.runs])
        touched, whole = faulty[share > 0], faulty[share == 1]
        lines.append(
            Line(
                detector=name,
                score=score,
                fault=kind,
                severity=severity,
                touched=_auroc(values, touched),
                whole=_auroc(values, whole),
                windows=(len(values), len(touched), len(whole)),
                seed=seed,
            )
        )
    return lines


def _auroc(good: NDArray[np.float64], faulty: NDArray[np.float64]) -> float:
    return auroc(np.concatenate([good, faulty]), np.arange(len(good) + len(faulty)) >= len(good))


def sweep(
    candidate: Candidate, severities: Sequence[float], *, seed: int, runs: int, progress: ProgressLine
) -> list[Line]:
    """Train a candidate once, and measure it on each fault at each severity."""
    detector = train_detector(
        candidate, simulate(ConverterSettings(), seed=seed, runs=1000, rows=64), seed=seed, promise=PromiseRequest()
    )
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    judged = judge(detector, simulate(ConverterSettings(), seed=seed + 1, runs=1000, rows=spec.steps), hop=spec.steps)
    good = {
        score: np.concatenate([one.scores[score] for one in judged.values()])
        for score in next(iter(judged.values())).scores
    }
    cells = [(kind, severity) for kind in KINDS for severity in severities]
    return [
        line
        for kind, severity in track(cells, progress, candidate.name, len(cells))
        for line in measure(detector, candidate.name, good, kind, severity, seed=seed, runs=runs)
    ]


def render(lines: Sequence[Line]) -> str:
    """Return the lines as a readable table with one column per severity."""
    severities = sorted({line.severity for line in lines})
    rows = [
        f"{'detector':<14} {'score':<12} {'fault':<20} "
        + " ".join(f"{severity:>13g}" for severity in severities)
        + "    touched / whole"
    ]
    keys = list(dict.fromkeys((line.detector, line.score, line.fault) for line in lines))
    for key in keys:
        cells = {line.severity: line for line in lines if (line.detector, line.score, line.fault) == key}
        rows.append(
            f"{key[0]:<14} {key[1]:<12} {key[2]:<20} "
            + " ".join(f"{cells[one].touched:>6.3f} /{cells[one].whole:>5.3f}" for one in severities)
        )
    for detector, score in dict.fromkeys((line.detector, line.score) for line in lines):
        some = [line for line in lines if (line.detector, line.score) == (detector, score)]
        rows.append(
            f"{detector:<14} {score:<12} {'mean of faults':<20} "
            + " ".join(f"{_mean(some, one, 'touched'):>6.3f} /{_mean(some, one, 'whole'):>5.3f}" for one in severities)
        )
    return "\n".join(rows)


def _mean(lines: Sequence[Line], severity: float, figure: str) -> float:
    return float(np.mean([getattr(line, figure) for line in lines if line.severity == severity]))


def main() -> None:
    """Measure all candidates, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--severities", type=float, nargs="+", default=list(SEVERITIES))
    parser.add_argument("--runs", type=int, default=100, help="runs per kind of fault and severity (default: 100)")
    parser.add_argument("--detector", help="measure only this detector (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    args = parser.parse_args()
    start_s = time.perf_counter()
    lines = [
        line
        for one in CANDIDATES
        if args.detector in (None, one.detector)
        for line in sweep(one, args.severities, seed=args.seed, runs=args.runs, progress=ProgressLine())
    ]
    if args.json:
        for line in lines:
            print(json.dumps({"what": "converter_severities"} | structs.asdict(line)), flush=True)
    else:
        print(render(lines), f"\n{time.perf_counter() - start_s:.0f} s", sep="\n")


if __name__ == "__main__":
    main()
