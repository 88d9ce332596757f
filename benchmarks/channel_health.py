"""Measure false alarms of the channel checks on good logs, and the faults that they find.

    python -m benchmarks.channel_health --data FOLDER_OR_LOG ...       # logs that are good as a whole
    python -m benchmarks.channel_health --tennessee-eastman FOLDER     # d00.dat.gz sets the limits, d00_te.dat.gz is checked

The limits come from the first half of a log, as a calibration computes them, and are checked on the second half. Prints one JSON
line per log:

* ``false_alarms``: number of channels with each finding on the good second half, of ``channels``.
* ``found``: the share of channels in which each synthetic fault is found. Faults begin in the middle of the second half. A stuck
  channel keeps its value. One out of range is raised by ten times its range. With a wrong rate, only every second row arrives.
* ``stuck_after_s``: median of the limits. ``never_stuck``: channels without this limit, because they did not change.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.calibration.good_health import GoodWindow, channel_health
from andon.monitor.channel_health import ChannelLimits, ChannelState, limits_of_channel, step
from andon.runtime.items import Item
from andon.runtime.schema import Channel
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import cut, window_spec
from andon.sources.source import collect
from benchmarks import tennessee_eastman

STEPS = 16
"""Rows of a window."""
Numbers = NDArray[np.float64]


def limits_from(log: Log) -> list[ChannelLimits]:
    """Return the limits of each channel that a calibration on this good log gives."""
    spec = window_spec(log.found, STEPS, STEPS)
    windows = [
        GoodWindow(item.ref, np.asarray(item.data, np.float32)) for item in cut(log, spec) if isinstance(item, Item)
    ]
    health = channel_health(windows, spec, {channel.name: log.found.period_s for channel in spec.channels})
    return [limits_of_channel(Channel(name=one.name), one, stale_after_s=10 * log.found.period_s) for one in health]


def findings(times_s: Numbers, values: NDArray[np.float32], limits: ChannelLimits) -> set[str]:
    """Return the names of all problems of one channel."""
    state = ChannelState(started_s=float(times_s[0]))
    found: set[str] = set()
    for time_s, value in zip(times_s.tolist(), values.tolist(), strict=True):
        state, reasons = step(state, value, time_s, limits)
        found.update(reason.name for reason in reasons)
    return found


def measured(name: str, first: Log, run: Run) -> dict[str, object]:
    """Return the figures of one log: limits from `first`, checked on `run`."""
    limits = limits_from(first)
    alarms: Counter[str] = Counter()
    found: Counter[str] = Counter()
    middle = len(run.times_s) // 2
    times_s = run.times_s
    for place, limit in enumerate(limits):
        good = run.values[:, place]
        alarms.update(findings(times_s, good, limit))
        stuck, high = good.copy(), good.copy()
        stuck[middle:] = good[middle]
        spread = float(np.ptp(np.concatenate([one.values[:, place] for one in first.runs])))
        high[middle:] += 10 * max(spread, 1e-3)
        slow = np.concatenate([np.arange(middle), np.arange(middle, len(good), 2)])
        found["stuck"] += "STUCK" in findings(times_s, stuck, limit)
        found["out of range"] += "OUT_OF_RANGE" in findings(times_s, high, limit)
        found["wrong rate"] += "WRONG_RATE" in findings(times_s[slow], good[slow], limit)
    known = [limit.stuck_after_s for limit in limits if limit.stuck_after_s is not None]
    return {
        "log": name,
        "rows": [sum(len(one.times_s) for one in first.runs), len(run.times_s)],
        "channels": len(limits),
        "false_alarms": dict(alarms),
        "found": {fault: round(number / len(limits), 3) for fault, number in found.items()},
        "stuck_after_s": round(float(np.median(known)), 1) if known else None,
        "never_stuck": len(limits) - len(known),
    }


def halves(log: Log) -> tuple[Log, Run]:
    """Return the first half of the longest run as a log, and its second half."""
    run = max(log.runs, key=lambda one: len(one.times_s))
    middle = len(run.times_s) // 2
    begin = Run(name=run.name, times_s=run.times_s[:middle], values=run.values[:middle])
    end = Run(name=run.name, times_s=run.times_s[middle:], values=run.values[middle:])
    found = FoundLogs(channels=log.found.channels, period_s=log.found.period_s, runs=1, rows=middle)
    return Log(found=found, runs=(begin,)), end


def main() -> None:
    """Measure, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="LOG", nargs="+", default=[], help="good logs")
    parser.add_argument(
        "--tennessee-eastman", metavar="FOLDER", type=Path, help="folder with d00.dat.gz and d00_te.dat.gz"
    )
    args = parser.parse_args()
    for path in args.data:
        log = collect(path)
        assert isinstance(log, Log)
        print(json.dumps(measured(Path(path).name, *halves(log))), flush=True)
    if args.tennessee_eastman is not None:
        names = tuple(Channel(name=name) for name in tennessee_eastman.CHANNELS)
        runs = []
        for name in ("d00.dat.gz", "d00_te.dat.gz"):
            values = tennessee_eastman.read(args.tennessee_eastman / name)
            runs.append(Run(name=name, times_s=180.0 * np.arange(len(values), dtype=np.float64), values=values))
        rows = len(runs[0].times_s)
        first = Log(found=FoundLogs(channels=names, period_s=180.0, runs=1, rows=rows), runs=(runs[0],))
        print(json.dumps(measured("Tennessee Eastman, d00", first, runs[1])), flush=True)


if __name__ == "__main__":
    main()
