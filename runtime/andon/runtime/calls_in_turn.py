"""Time several detectors with calls in turn. Other work on the machine then slows all of them in the same way."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.progress import Progress, silent
from andon.runtime.bench import sample_item
from andon.runtime.detector import Detector
from andon.runtime.model_file.format import read
from andon.runtime.session import Device

LEAST_ROUNDS = 20
CONFIDENCE = 0.95


class Latency(Struct, frozen=True, kw_only=True):
    """Time of one call of a model file, on one thread, wall-clock."""

    model: str
    """Short digest of the file."""
    file_mb: float
    item_shape: tuple[int, ...]
    latency_ms: float
    """Median."""
    low_ms: float
    high_ms: float
    """Limits of the median, with a confidence of `CONFIDENCE`."""
    latency_p99_ms: float
    cpu_ms: float
    """Median CPU time of the calling thread. Unlike the other times, it hardly grows while other programs use the CPU."""


class Call(NamedTuple):
    """Times of one call."""

    wall_ms: float
    cpu_ms: float


def latencies(
    paths: Sequence[Path | str],
    *,
    device: Device = "cpu",
    frame_size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    progress: Progress = silent,
) -> list[Latency]:
    """Measure model files with calls in turn, and return one result for each, in the same order.

    Args:
        paths: the model files.
        device: the device to run on.
        frame_size: height and width of the synthetic raw frames. None means the calibrated size of each file.
        seconds: length of the whole measurement.
        progress: called after each round.

    Raises:
        ModelFileError, DeviceError, ConfigError: see `bench`.
    """
    models = [read(path) for path in paths]
    items = [sample_item(path, model.card.input, frame_size) for path, model in zip(paths, models, strict=True)]
    detectors = [Detector.load(path, device=device, threads=1, frame_size="any", provider="any") for path in paths]
    taken = calls_in_turn(detectors, items, seconds=seconds, progress=progress, what="rounds of calls")
    return [_latency(*of) for of in zip(models, items, taken, strict=True)]


def calls_in_turn(
    detectors: Sequence[Detector],
    items: Sequence[NDArray[Any]],
    *,
    seconds: float,
    progress: Progress = silent,
    what: str = "calls",
) -> list[list[Call]]:
    """Call each detector once in every round, and return the times of each, after 5 calls to warm up.

    The detector that comes first changes from round to round. There are at least `LEAST_ROUNDS` rounds.

    Args:
        detectors: what to call.
        items: the item for each of them.
        seconds: length of the measurement.
        progress: called after each round.
        what: name of the work for `progress`.
    """
    for _ in range(5):
        for detector, item in zip(detectors, items, strict=True):
            detector(item)
    taken: list[list[Call]] = [[] for _ in detectors]
    rounds = 0
    end_s = time.perf_counter() + seconds
    while detectors and (time.perf_counter() < end_s or rounds < LEAST_ROUNDS):
        for place in range(len(detectors)):
            at = (place + rounds) % len(detectors)
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            detectors[at](items[at])
            cpu_s, wall_s = time.thread_time() - began_cpu_s, time.perf_counter() - began_s
            taken[at].append(Call(1e3 * wall_s, 1e3 * cpu_s))
        rounds += 1
        progress(what, rounds, None)
    return taken


def median_limits(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Return limits of the median of what the values were drawn from, without an assumption about its shape.

    The limits are order statistics. The number of values below the median is binomial with probability .5, here by its normal
    approximation, rounded outwards. With fewer than 6 values they are the smallest and largest value.

    >>> median_limits([5.0, 1.0, 2.0, 4.0, 3.0, 6.0, 7.0, 9.0, 8.0, 10.0], 0.95)
    (2.0, 9.0)
    """
    ordered = sorted(values)
    n = len(ordered)
    z = {0.95: 1.959964}[confidence]
    away = z * n**0.5 / 2
    first = max(0, int(np.floor(n / 2 - away)))
    last = min(n - 1, int(np.ceil(n / 2 + away)) - 1)
    return ordered[first], ordered[max(first, last)]


def _latency(model: Any, item: NDArray[Any], taken: Sequence[Call]) -> Latency:
    taken_ms = [call.wall_ms for call in taken]
    low, high = median_limits(taken_ms, CONFIDENCE)
    return Latency(
        model=model.short_digest,
        file_mb=len(model.data) / 1e6,
        item_shape=item.shape,
        latency_ms=float(np.median(taken_ms)),
        low_ms=low,
        high_ms=high,
        latency_p99_ms=float(np.quantile(taken_ms, 0.99)),
        cpu_ms=float(np.median([call.cpu_ms for call in taken])),
    )
