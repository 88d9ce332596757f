"""Measure the time of the frame checks, their false alarms on good pictures, and the faults that they find.

    OMP_NUM_THREADS=1 python -m benchmarks.health                     # time at 1080p
    OMP_NUM_THREADS=1 python -m benchmarks.health --data FOLDER ...   # false alarms and found faults, too

Prints one JSON line per measured step: CPU microseconds of one call on a drawn 1080p frame with noise (least and median).

Then prints one JSON line per folder of good pictures:

* ``default``: false alarms of the limits without statistics of good parts, on all pictures.
* ``calibrated``: the same with limits from every second picture, on the others.
* ``small``: the mean share of false alarms with limits from 30 and 60 random pictures, on the others, over 20 draws.
* ``found``: of those others, the share in which each synthetic fault is found with the calibrated limits. The faults of levels
  divide them by 32 or raise them by 200. A torn frame has its lower part shifted sideways by 8 or 40 pixels. Others are grey
  below a row, repeat a row to the end (smeared), or have a Gaussian blur of 2 pixels. The row is drawn with a fixed seed. A fault
  counts as found with any reason, because the line gets INVALID in any case. Blur is measured on single frames.
"""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

import cv2
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from andon.calibration.good_health import frame_health
from andon.monitor.frame_health import HealthLimits, HealthState, limits_of, live_limits, step
from andon.runtime.frame_statistics import FrameStatistics, measure
from andon.runtime.items import Item
from andon.sources.series.log import Log
from andon.sources.source import collect

Frame = NDArray[np.uint8]
SMALL = (30, 60)
"""Numbers of calibration pictures for the limits of a small calibration."""
DRAWS = 20


def drawn(height: int = 1080, width: int = 1920) -> Frame:
    """Return a frame of slow waves with the noise of a sensor."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).normal(0, 2, (height, width))
    grey = np.clip(128 + 50 * np.sin(rows / 19) + 30 * np.cos(columns / 23) + noise, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def microseconds(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the CPU time of one call: the least and the median."""
    taken = []
    for _ in range(repeats):
        start = time.thread_time_ns()
        work()
        taken.append((time.thread_time_ns() - start) / 1e3)
    return {"us_least": round(min(taken)), "us_median": round(float(np.median(taken)))}


def times(repeats: int) -> None:
    """Print the time of each step."""
    frame = drawn()
    statistics, before = measure(frame)
    statistics, _ = measure(frame, before)
    limits = live_limits(HealthLimits(sharpness=1.0, torn=3.0, overexposed=0.25))
    state, _ = step(HealthState(), statistics, 0.0, limits)
    steps: dict[str, Callable[[], object]] = {
        "measure without sharpness": lambda: measure(frame, before, sharpness=False),
        "measure": lambda: measure(frame, before),
        "step": lambda: step(state, statistics, 1.0, limits),
        "copy of the frame": frame.copy,
    }
    for name, work in steps.items():
        figures = {"what": name, **microseconds(work, repeats), "n": repeats, "load": round(os.getloadavg()[0], 1)}
        print(json.dumps(figures), flush=True)


def faulty(frame: Frame, row: int) -> dict[str, Frame]:
    """Return the frame with each synthetic fault. It is torn, cut or smeared from `row` on."""
    above, below = frame[:row], frame[row:]
    return {
        "dark": frame // 32,
        "bright": np.minimum(frame.astype(np.int16) + 200, 255).astype(np.uint8),
        "torn by 8 px": np.concatenate([above, np.roll(below, 8, axis=1)]),
        "torn by 40 px": np.concatenate([above, np.roll(below, 40, axis=1)]),
        "grey below": np.concatenate([above, np.full_like(below, 128)]),
        "smeared": np.concatenate([above, np.repeat(frame[row - 1 : row], len(below), axis=0)]),
        "blurred": np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.0), np.uint8).reshape(frame.shape),
    }


def reasons(statistics: FrameStatistics, limits: HealthLimits) -> list[str]:
    """Return the names of the findings about a single frame."""
    _, findings = step(HealthState(), statistics, 0.0, limits)
    return [finding.reason.name for finding in findings]


def limits_from(measured: list[FrameStatistics]) -> HealthLimits:
    """Return the limits that a file calibrated on these good frames gives. Blur is decided by single frames here."""
    return structs.replace(limits_of(frame_health(measured)), blurred_of=1, blurred_frames=1)


def small(measured: list[FrameStatistics], count: int) -> float:
    """Return the mean share of false alarms on the other pictures, with limits from `count` random ones."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(DRAWS):
        order = rng.permutation(len(measured)).tolist()
        limits = limits_from([measured[place] for place in order[:count]])
        others = [measured[place] for place in order[count:]]
        shares.append(sum(bool(reasons(one, limits)) for one in others) / len(others))
    return round(float(np.mean(shares)), 4)


def folder(path: str) -> dict[str, object]:
    """Return the figures of one folder of good pictures."""
    parts = collect(path)
    assert not isinstance(parts, Log)
    items = [part for part in map(parts.read, parts.refs) if isinstance(part, Item)]
    frames = [np.asarray(item.data, np.uint8) for item in items]
    measured = [measure(frame)[0] for frame in frames]
    calibrated = limits_from(measured[::2])
    rng = np.random.default_rng(0)
    found: Counter[str] = Counter()
    for frame in frames[1::2]:
        row = int(rng.integers(len(frame) // 4, 3 * len(frame) // 4))
        for name, bad in faulty(frame, row).items():
            found[name] += bool(reasons(measure(bad)[0], calibrated))
    others = measured[1::2]
    return {
        "folder": path,
        "pictures": len(frames),
        "default": counted(measured, limits_of(None)),
        "calibrated": counted(others, calibrated) | {"of": len(others)},
        "small": {str(count): small(measured, count) for count in SMALL if count < len(measured)},
        "found": {name: round(number / len(others), 3) for name, number in found.items()},
    }


def counted(measured: Iterable[FrameStatistics], limits: HealthLimits) -> dict[str, int]:
    """Return how many frames have each finding."""
    return dict(Counter(name for one in measured for name in reasons(one, limits)))


def main() -> None:
    """Measure, and print the JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="calls per step (default: 200)")
    parser.add_argument("--data", metavar="FOLDER", nargs="+", default=[], help="folders of good pictures")
    args = parser.parse_args()
    times(args.repeats)
    for path in args.data:
        print(json.dumps(folder(path)), flush=True)


if __name__ == "__main__":
    main()
