"""Measure false alarms and found faults of the channel checks, through a running line with `health` on.

    OMP_NUM_THREADS=1 python -m benchmarks.channel_health --skab FOLDER
    OMP_NUM_THREADS=1 python -m benchmarks.channel_health --tennessee-eastman FOLDER

With ``--time`` it prints the cost of one window. The folders are those with ``anomaly-free/`` and with ``d00.dat.gz``.

A model file (`pca`, windows of 8 rows, hop 4) is trained and exported from good rows: the first half of SKAB's clean file, or
Tennessee Eastman's d00. Its calibration rows set the limits. A supervisor then judges logs that it has not seen, as fast as
possible. Prints one JSON line per log:

* ``false_alarms``: windows of the good log that the checks made INVALID, by reason, of ``windows``.
* ``found``: for each synthetic fault, the share of the channels in which it is found: some window has the reason of the fault
  and names the channel. ``delay_rows`` is the median number of rows from the first faulty one to the end of that window. Faults
  begin in the middle of the log, in one channel at a time. A stuck channel keeps its value. One out of range rises by 200 times
  its range, which no sensor for it can measure. One outside training rises by ten times its range. With a wrong rate, only every
  second sample is left. A stale one has no more samples, a missing one none at all. One sample of a channel that is not finite is
  infinite.
* ``real_faults``: windows of logs with real faults that became INVALID, by reason, of ``windows``. These would be judged
  without the checks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.monitor.test_supervisor import Kept, sink

from andon.monitor.channel_health import findings, limits_of_channel
from andon.monitor.config import ChosenSource, Configuration, Line, Policy
from andon.monitor.judging import Outcome
from andon.monitor.supervisor import Supervisor
from andon.runtime.schema import Channel, InputSpec, Reason, Status, WindowSpec
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import FoundLogs, Stream
from andon.sources.series.grid import Grid
from andon.sources.series.log import Log, Run
from andon.sources.series.replay import replay_log
from andon.sources.series.sample_facts import SampleFacts
from andon.sources.series.windows import Windows
from andon.sources.source import Source, collect
from andon.sources.stream_settings import NoSettings
from benchmarks import tennessee_eastman

STEPS, HOP = 8, 4
Values = NDArray[np.float32]
FAULTS: dict[str, Reason] = {
    "stuck": Reason.STUCK,
    "out of range": Reason.OUT_OF_RANGE,
    "outside training": Reason.OUTSIDE_TRAINING,
    "wrong rate": Reason.WRONG_RATE,
    "stale": Reason.STALE,
    "not finite": Reason.NOT_FINITE,
    "missing": Reason.MISSING_CHANNEL,
}


def faulty(values: Values, place: int, fault: str) -> Values:
    """Return the values with a fault in one channel."""
    bad, middle = values.copy(), len(values) // 2
    match fault:
        case "stuck":
            bad[middle:, place] = bad[middle, place]
        case "out of range" | "outside training":
            times = 200 if fault == "out of range" else 10
            bad[middle:, place] += times * max(float(np.nanmax(values[:, place]) - np.nanmin(values[:, place])), 1e-3)
        case "wrong rate":
            bad[middle::2, place] = np.nan
        case "stale":
            bad[middle:, place] = np.nan
        case "not finite":
            bad[middle, place] = np.inf
        case _:
            bad[:, place] = np.nan
    return bad


def log_of(names: Sequence[str], times_s: NDArray[np.float64], values: Values, period_s: float) -> Log:
    """Return rows as a log of one run."""
    found = FoundLogs(
        channels=tuple(Channel(name=name) for name in names), period_s=period_s, runs=1, rows=len(times_s)
    )
    return Log(found=found, runs=(Run(name="log", times_s=times_s, values=values),))


def judged(model: Path, log: Log) -> list[Outcome]:
    """Return the outcomes of a log, judged by a line with health on."""

    def stream(_text: str, spec: InputSpec, _settings: Any, clock: Clock, stop: threading.Event) -> Stream:
        assert isinstance(spec, WindowSpec)
        return replay_log(log, spec, clock, "max", stop)

    kind = Source(name="memory", summary="a log in memory", accepts=lambda _text: True, stream=stream)
    kept = Kept()
    line = Line(
        name="line",
        model=str(model),
        source=ChosenSource(kind, "memory", NoSettings()),
        sinks=(sink(kept),),
        policy=Policy(health=True),
    )
    Supervisor(Configuration(lines=(line,)), SystemClock(), threading.Event()).run()
    return kept.outcomes


def trained(log: Log, folder: Path) -> Path:
    """Train and export a model file from a good log."""
    run, names = log.runs[0], [channel.name for channel in log.found.channels]
    with (folder / "good.csv").open("w", encoding="utf-8") as written:
        written.write("time," + ",".join(f'"{name}"' for name in names) + "\n")
        for time_s, row in zip(run.times_s.tolist(), run.values.tolist(), strict=True):
            written.write(f"{time_s}," + ",".join(map(repr, row)) + "\n")
    andon = [sys.executable, "-m", "andon"]
    train = ["train", "pca", "--data", str(folder / "good.csv"), "--out", str(folder / "run")]
    train += ["--steps", str(STEPS), "--hop", str(HOP)]
    export = ["export", str(folder / "run"), "-o", str(folder / "m.onnx"), "--no-promise"]
    for command in (train, export):
        subprocess.run([*andon, *command], check=True, capture_output=True)
    return folder / "m.onnx"


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the number of windows by the reason of a channel check, or of a gap."""
    reasons = {*FAULTS.values(), Reason.GAP}
    return dict(Counter(one.verdict.reason.name for one in outcomes if one.verdict.reason in reasons))


def measured(name: str, good: Log, fresh: Log, real: Sequence[Log]) -> dict[str, Any]:
    """Return the figures of one data set: limits from `good`, checked on `fresh`, and on logs with real faults."""
    names = [channel.name for channel in fresh.found.channels]
    run, period_s = fresh.runs[0], fresh.found.period_s
    begin_s = float(run.times_s[len(run.times_s) // 2])
    with tempfile.TemporaryDirectory() as folder:
        model = trained(good, Path(folder))
        plain = judged(model, fresh)
        found: dict[str, float] = {}
        delays: dict[str, float] = {}
        for fault, reason in FAULTS.items():
            rows = []
            for place, channel in enumerate(names):
                bad = log_of(names, run.times_s, faulty(run.values, place, fault), period_s)
                hits = [
                    one.ref.time_s
                    for one in judged(model, bad)
                    if one.verdict.reason is reason and one.channel == channel and one.ref.time_s is not None
                ]
                after = [time_s for time_s in hits if fault == "missing" or time_s >= begin_s]
                if after:
                    rows.append((after[0] - (run.times_s[0] if fault == "missing" else begin_s)) / period_s)
            found[fault] = round(len(rows) / len(names), 3)
            delays[fault] = round(float(np.median(rows)), 1) if rows else float("nan")
        others = [one for log in real for one in judged(model, log)]
    return {
        "log": name,
        "rows": [len(good.runs[0].times_s), len(run.times_s)],
        "channels": len(names),
        "windows": len(plain),
        "false_alarms": counted(plain),
        "found": found,
        "delay_rows": delays,
        "real_faults": {"windows": len(others), **counted(others)},
        "rejected": sum(one.verdict.status is Status.REJECT for one in others),
        "load": round(os.getloadavg()[0], 1),
    }


def skab(folder: Path) -> dict[str, Any]:
    """Return the figures of SKAB: 8 channels, a row each second."""
    log = collect(str(next(folder.rglob("anomaly-free.csv"))))
    assert isinstance(log, Log)
    names, run = [channel.name for channel in log.found.channels], log.runs[0]
    middle = len(run.times_s) // 2
    good, fresh = [
        log_of(names, run.times_s[rows], run.values[rows], log.found.period_s)
        for rows in (slice(0, middle), slice(middle, None))
    ]
    real = []
    for file in sorted(file for part in ("valve1", "valve2", "other") for file in (folder / part).glob("*.csv")):
        one = collect(str(file))
        assert isinstance(one, Log)
        places = [[channel.name for channel in one.found.channels].index(name) for name in names]
        real.append(log_of(names, one.runs[0].times_s, one.runs[0].values[:, places], log.found.period_s))
    return measured("SKAB", good, fresh, real)


def tennessee(folder: Path) -> dict[str, Any]:
    """Return the figures of Tennessee Eastman: 52 channels, a row each three minutes."""

    def read(name: str) -> Log:
        values = tennessee_eastman.read(folder / name)
        times_s = 180.0 * np.arange(len(values), dtype=np.float64)
        return log_of(tennessee_eastman.CHANNELS, times_s, values, 180.0)

    real = [read(f"d{fault:02}_te.dat.gz") for fault in tennessee_eastman.FAULTS]
    return measured("Tennessee Eastman", read("d00.dat.gz"), read("d00_te.dat.gz"), real)


def microseconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the CPU time of one call: the least and the median."""
    taken = []
    for _ in range(repeats):
        start = time.thread_time_ns()
        work()
        taken.append((time.thread_time_ns() - start) / 1e3)
    return {"us_least": round(min(taken)), "us_median": round(float(np.median(taken)))}


def times(repeats: int) -> None:
    """Print the cost of one window: 8 channels at 1 kHz, 200 points, a hop of 100."""
    channels = tuple(Channel(name=f"c{number}", low=-9.0, high=9.0) for number in range(8))
    spec = WindowSpec(steps=200, hop=100, period_s=0.001, channels=channels)
    grid, windows, facts = Grid(spec), Windows(spec, "a"), SampleFacts(spec)
    values = np.random.default_rng(0).normal(size=(100 * (repeats + 3), 8)).astype(np.float32)
    limits = [limits_of_channel(channel, stuck_after_s=1.0, period_s=0.001) for channel in channels]
    blocks = iter([(np.arange(at, at + 100) / 1000, values[at : at + 100]) for at in range(0, len(values), 100)])
    points = [grid.push(*block) for block in blocks]
    each = iter([one for one in points if len(one)])

    def fold() -> None:
        one = next(each)
        facts.push(one)
        facts.until(int(one.numbers[-1]))

    last = windows.push(points[0]) + windows.push(points[1]) + windows.push(points[2])
    samples = last[-1].samples
    assert samples is not None
    steps: dict[str, Callable[[], object]] = {
        "measure the samples of a window": fold,
        "compare with the limits": lambda: findings(samples, channels, limits),
    }
    for name, work in steps.items():
        figures = {"what": name, **microseconds(work, repeats), "n": repeats, "load": round(os.getloadavg()[0], 1)}
        print(json.dumps(figures), flush=True)


def main() -> None:
    """Measure, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--skab", metavar="FOLDER", type=Path, help="folder with anomaly-free/, valve1/, valve2/, other/"
    )
    parser.add_argument(
        "--tennessee-eastman", metavar="FOLDER", type=Path, help="folder with d00.dat.gz to d21_te.dat.gz"
    )
    parser.add_argument("--time", action="store_true", help="measure the cost of one window")
    args = parser.parse_args()
    if args.time:
        times(200)
    if args.skab is not None:
        print(json.dumps(skab(args.skab)), flush=True)
    if args.tennessee_eastman is not None:
        print(json.dumps(tennessee(args.tennessee_eastman)), flush=True)


if __name__ == "__main__":
    main()
