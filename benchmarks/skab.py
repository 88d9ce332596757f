"""Evaluate detectors on SKAB v0.9, by the protocol of its leaderboard and by additional figures.

First table ("board"): a new model for each of the 34 files. It is trained on the first 400 rows, without labels, and evaluated
on the rest. Of these 400 rows, 30 % set the threshold, and 10 % weigh scores if the detector needs that. True and false
alarms, misses and quiet rows are summed over files. A row alarms if all windows that contain it alarm. Two dummies that read no
sensor are added. They show how little F1 means here. Second table: one model, trained on `anomaly-free.csv` and evaluated on all
rows of all files.

The figures that matter are VUS-PR (buffers of 0 to 100 rows, mean over files), caught faults, false events and delay. Events
are alarms of windows, at the end of the window. Alarms closer than 60 rows count as one event. Rows are treated as one second
apart, because the time stamps have gaps.

    ANDON_DATA=../shared/data python -m benchmarks.skab
    ANDON_DATA=../shared/data python -m benchmarks.skab --files 2 --json
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.sensor_models import Candidate, Floats, Windows, judge, row_scores, rows_as_log, train_detector
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.calibration.request import PromiseRequest
from andon.evaluation.figures.series import EventOutcomes, PointCounts, judge_events, point_counts, spans, vus_pr
from andon.foundation.progress import Progress, ProgressLine, silent, track
from andon.runtime.detector import Detector
from andon.runtime.schema import WindowSpec
from andon.sources.kinds.logs import collect
from andon.sources.series.log import Log

TRAIN_ROWS = 400
BUFFER_ROWS = 100
REFRACTORY_ROWS = 60.0
ROWS_AN_HOUR = 3600.0
RESAMPLES = 10_000
FOLDERS = ("valve1", "valve2", "other")

# 8 rows: the longest window, in powers of two, for which the 120 calibration rows contain the 14 windows that andon needs
BOARD = (
    Candidate("whitening", {"steps": 8, "hop": 1}),
    Candidate("window_mean", {"steps": 8, "hop": 1}),
    Candidate("window_vae", {"steps": 8, "hop": 1}),
    Candidate("pca", {"steps": 8, "hop": 1}),
    Candidate("pca", {"steps": 1, "hop": 1}),
)
WHOLE = (
    Candidate("whitening", {}),
    Candidate("window_mean", {}),
    Candidate("window_vae", {}),
    Candidate("pca", {}),
    Candidate("pca", {"steps": 1, "hop": 1}),
)


class Labelled(NamedTuple):
    """One labelled file."""

    name: str
    values: NDArray[np.float32]
    """Sensor values ``[rows, C]``."""
    faulty: NDArray[np.bool_]


class Outcome(NamedTuple):
    """Results of a detector on the evaluated rows of one file."""

    points: PointCounts
    volume: float
    """VUS-PR; NaN if all rows are good or all are faulty."""
    events: EventOutcomes
    good_rows: int
    volumes: dict[str, float]
    """VUS-PR of the other scores of the file, by name."""


class Line(Struct, frozen=True, kw_only=True):
    """A row of a table."""

    table: str
    detector: str
    files: int
    rows: int
    f1: float
    false_alarm_rate: float
    missed_alarm_rate: float
    vus_pr: float
    """VUS-PR, mean over files."""
    faults: int
    caught: int
    false_events: int
    false_events_an_hour: float
    median_delay_rows: float
    """Median delay of alarms in rows. A missed fault counts with its length."""
    vus_pr_by_file: tuple[float, ...] = ()
    other_scores_vus_pr: dict[str, float] = {}
    seed: int | None = None
    seconds: float | None = None


def read(folder: Path) -> tuple[list[str], list[Labelled], NDArray[np.float32]]:
    """Return the channel names, the labelled files in the order of the leaderboard, and the rows of the clean file."""
    logs = [collect(str(folder / name)) for name in FOLDERS]
    clean = collect(str(folder / "anomaly-free" / "anomaly-free.csv"))
    names = [channel.name for channel in clean.found.channels]
    assert all([channel.name for channel in log.found.channels] == names for log in logs)
    files = [
        Labelled(f"{name}/{run.name}", run.values, run.faulty)
        for name, log in zip(FOLDERS, logs, strict=True)
        for run in log.runs
        if run.faulty is not None
    ]
    return names, files, clean.runs[0].values


def outcome(detector: Detector, windows: Windows, file: Labelled, since: int) -> Outcome:
    """Return the results on the rows of a file from `since` on. Windows may begin before `since`."""
    spec = detector.card.input
    assert isinstance(spec, WindowSpec)
    by_row = {
        name: row_scores(windows.ends, scores, len(file.faulty), spec.steps)[since:]
        for name, scores in windows.scores.items()
    }
    faulty = file.faulty[since:]
    judged = ~np.isnan(by_row["score"])
    ends = windows.ends[windows.rejected & (windows.ends >= since)]
    starts = np.maximum(ends - spec.steps + 1, since)
    return Outcome(
        points=point_counts(by_row["score"][judged] > detector.threshold, faulty[judged]),
        volume=_volume(by_row["score"], faulty),
        events=judge_events(ends, _events(file, since), refractory_s=REFRACTORY_ROWS, since_s=starts),
        good_rows=int((~faulty).sum()),
        volumes={name: _volume(scores, faulty) for name, scores in by_row.items() if name != "score"},
    )


def without_sensors(alarms: NDArray[np.bool_], file: Labelled, since: int) -> Outcome:
    """Return the results of fixed alarms at the rows from `since` on, which do not depend on sensors."""
    faulty = file.faulty[since:]
    return Outcome(
        points=point_counts(alarms, faulty),
        volume=_volume(alarms.astype(float), faulty),
        events=judge_events(np.flatnonzero(alarms) + since, _events(file, since), refractory_s=REFRACTORY_ROWS),
        good_rows=int((~faulty).sum()),
        volumes={},
    )


def dummies(files: Sequence[Labelled], since: int, table: str) -> list[Line]:
    """Return the lines of two dummies: one alarms at each row, the other from 25 to 85 % of the rows."""
    lines = []
    for name, low, high in (("dummy: always", 0.0, 1.0), ("dummy: 25 to 85 %", 0.25, 0.85)):
        outcomes = []
        for file in files:
            place = np.arange(len(file.faulty) - since) / (len(file.faulty) - since)
            outcomes.append(without_sensors((place >= low) & (place < high), file, since))
        lines.append(summed(table, name, outcomes))
    return lines


def summed(table: str, detector: str, outcomes: Sequence[Outcome]) -> Line:
    """Return one line for several files. Counts are summed before rates are computed; VUS-PR is a mean."""
    points = sum((one.points for one in outcomes), PointCounts())
    delays = np.concatenate([one.events.delay_s for one in outcomes])
    good_rows = sum(one.good_rows for one in outcomes)
    false_events = sum(one.events.false_events for one in outcomes)
    return Line(
        table=table,
        detector=detector,
        files=len(outcomes),
        rows=points.true_alarms + points.false_alarms + points.misses + points.quiet,
        f1=points.f1,
        false_alarm_rate=points.false_alarm_rate,
        missed_alarm_rate=points.missed_alarm_rate,
        vus_pr=float(np.nanmean([one.volume for one in outcomes])),
        vus_pr_by_file=tuple(one.volume for one in outcomes),
        faults=len(delays),
        caught=int(sum(one.events.caught.sum() for one in outcomes)),
        false_events=false_events,
        false_events_an_hour=false_events * ROWS_AN_HOUR / good_rows,
        median_delay_rows=float(np.median(delays)),
        other_scores_vus_pr={
            name: float(np.nanmean([one.volumes[name] for one in outcomes])) for name in outcomes[0].volumes
        },
    )


def board(
    candidate: Candidate, names: Sequence[str], files: Sequence[Labelled], *, seed: int, progress: Progress = silent
) -> Line:
    """Return the line of a candidate by the leaderboard's protocol, with a new model for each file."""
    start_s = time.perf_counter()
    outcomes = []
    for file in track(files, progress, candidate.detector, len(files)):
        good = rows_as_log({file.name: file.values[:TRAIN_ROWS]}, names)
        detector = train_detector(candidate, good, seed=seed, promise=PromiseRequest(no_promise=True))
        windows = judge(detector, rows_as_log({file.name: file.values}, names))[file.name]
        outcomes.append(outcome(detector, windows, file, TRAIN_ROWS))
    return _with_seed_and_time(summed("board", candidate.name, outcomes), seed, start_s)


def whole(
    candidate: Candidate, names: Sequence[str], files: Sequence[Labelled], clean: NDArray[np.float32], *, seed: int
) -> Line:
    """Return the line of a candidate with one model for all files, trained on the clean file."""
    start_s = time.perf_counter()
    detector = train_detector(
        candidate, rows_as_log({"clean": clean}, names), seed=seed, promise=PromiseRequest(no_promise=True)
    )
    log: Log = rows_as_log({file.name: file.values for file in files}, names)
    windows = judge(detector, log)
    outcomes = [outcome(detector, windows[file.name], file, 0) for file in files]
    return _with_seed_and_time(summed("clean file", candidate.name, outcomes), seed, start_s)


def difference(line: Line, other: Line) -> tuple[float, float, float]:
    """Return the mean difference of VUS-PR over files, and its 95 % interval from resampled files."""
    pairs = np.array([line.vus_pr_by_file, other.vus_pr_by_file])
    apart = (pairs[0] - pairs[1])[np.isfinite(pairs).all(axis=0)]
    draws = np.random.default_rng(0).integers(0, len(apart), (RESAMPLES, len(apart)))
    low, high = np.quantile(apart[draws].mean(axis=1), [0.025, 0.975])
    return float(apart.mean()), float(low), float(high)


def render_differences(lines: Sequence[Line]) -> str:
    """Return how much better the first detector is than each other line, as text."""
    first = next(line for line in lines if not line.detector.startswith("dummy"))
    rows = [f"VUS-PR of {first.detector} minus that of ... (mean over files, 95 % interval from resampled files)"]
    for other in lines:
        if other is not first:
            mean, low, high = difference(first, other)
            rows.append(f"    {other.detector:<32} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    return "\n".join(rows)


def render(lines: Sequence[Line]) -> str:
    """Return the lines as a readable table."""
    head = f"{'detector':<32} {'F1':>6} {'FAR':>7} {'MAR':>7} {'VUS-PR':>7} {'caught':>8} {'false events (/h)':>18} {'delay':>6}"
    rows = [
        f"{line.detector:<32} {line.f1:>6.3f} {line.false_alarm_rate:>7.2%} {line.missed_alarm_rate:>7.2%} "
        f"{line.vus_pr:>7.3f} {f'{line.caught}/{line.faults}':>8} "
        f"{f'{line.false_events} ({line.false_events_an_hour:.1f})':>18} {line.median_delay_rows:>6.0f}"
        + "".join(f"\n    VUS-PR of {name}: {value:.3f}" for name, value in line.other_scores_vus_pr.items())
        for line in lines
    ]
    return "\n".join([head, *rows])


def _events(file: Labelled, since: int) -> Floats:
    return spans(np.arange(since, len(file.faulty)), file.faulty[since:])


def _volume(scores: Floats, faulty: NDArray[np.bool_]) -> float:
    ignored = np.isnan(scores)
    kept = faulty[~ignored]
    return vus_pr(scores, faulty, BUFFER_ROWS, ignored=ignored) if kept.any() and not kept.all() else float("nan")


def _with_seed_and_time(line: Line, seed: int, start_s: float) -> Line:
    return structs.replace(line, seed=seed, seconds=round(time.perf_counter() - start_s, 1))


def _plain(line: Line) -> dict[str, Any]:
    return {"what": "skab"} | structs.asdict(line)


def _chosen(candidates: Sequence[Candidate], names: Sequence[str] | None) -> list[Candidate]:
    """Return the candidates with these names, such as ``pca --steps 8 --hop 1``; all of them without names."""
    return [one for one in candidates if names is None or one.name in names]


def main() -> None:
    """Compute and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default=os.environ.get("ANDON_DATA"), help="folder that contains skab/ (default: $ANDON_DATA)"
    )
    parser.add_argument("--files", type=int, metavar="N", help="evaluate only the first N files (default: all)")
    parser.add_argument("--table", choices=["board", "clean", "both"], default="both")
    parser.add_argument(
        "--candidates", nargs="+", metavar="NAME", help="evaluate only these, and the dummies (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    args = parser.parse_args()
    names, files, clean = read(Path(args.data) / "skab")
    files = files[: args.files]
    progress = ProgressLine()
    for table, since in (("board", TRAIN_ROWS), ("clean file", 0)):
        if args.table not in ("both", table.split()[0]):
            continue
        lines = dummies(files, since, table)
        if table == "board":
            lines += [
                board(one, names, files, seed=args.seed, progress=progress) for one in _chosen(BOARD, args.candidates)
            ]
        else:
            lines += [whole(one, names, files, clean, seed=args.seed) for one in _chosen(WHOLE, args.candidates)]
        if args.json:
            print("\n".join(json.dumps(_plain(line)) for line in lines), flush=True)
        else:
            print(
                f"{table}: {len(files)} files, {lines[0].rows} rows",
                render(lines),
                render_differences(lines),
                "",
                sep="\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
