"""Compare the latency of two model files on this machine, with calls that alternate.

Other work on the machine then slows both in the same way, so the ratio is reliable where milliseconds are not.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from andon.foundation.progress import Progress, silent
from andon.runtime.bench import sample_item
from andon.runtime.calls_in_turn import CONFIDENCE, calls_in_turn, median_limits
from andon.runtime.detector import Detector
from andon.runtime.model_file.format import read
from andon.runtime.session import Device


class OfPair(Struct, frozen=True, kw_only=True):
    """Results of one file of a pair."""

    path: str
    model: str
    """Short digest of the file."""
    file_mb: float
    item_shape: tuple[int, ...]
    latency_ms: float
    """Median time of one call, on one thread, wall-clock."""


class BenchPair(Struct, frozen=True, kw_only=True):
    """Results of a comparison."""

    first: OfPair
    second: OfPair
    device: str
    pairs: int
    """Number of pairs of calls."""
    ratio: float
    """Median over the pairs of the second file's time divided by that of the first."""
    low: float
    high: float
    """Limits of the ratio, with a confidence of `CONFIDENCE`."""

    @property
    def decided(self) -> bool:
        """True if the limits exclude equal times."""
        return not self.low <= 1.0 <= self.high


def bench_pair(
    first: Path | str,
    second: Path | str,
    *,
    device: Device = "cpu",
    frame_size: tuple[int, int] | None = None,
    seconds: float = 3.0,
    progress: Progress = silent,
) -> BenchPair:
    """Measure two model files in turn. The file that comes first changes from pair to pair.

    Args:
        first: a model file.
        second: the file to compare with it.
        device: the device to run both on.
        frame_size: height and width of the synthetic raw frames. None means the calibrated size of each file.
        seconds: length of the measurement.
        progress: called after each pair.

    Raises:
        ModelFileError, DeviceError, ConfigError: see `bench`.
    """
    paths = (first, second)
    models = [read(path) for path in paths]
    items = [sample_item(path, model.card.input, frame_size) for path, model in zip(paths, models, strict=True)]
    detectors = [Detector.load(path, device=device, threads=1, frame_size="any", provider="any") for path in paths]
    calls = calls_in_turn(detectors, items, seconds=seconds, progress=progress, what="pairs of calls")
    taken = [[call.wall_ms for call in of] for of in calls]
    ratios = np.array(taken[1]) / np.array(taken[0])
    low, high = median_limits(ratios.tolist(), CONFIDENCE)
    return BenchPair(
        first=_of(paths[0], models[0].short_digest, len(models[0].data), items[0].shape, taken[0]),
        second=_of(paths[1], models[1].short_digest, len(models[1].data), items[1].shape, taken[1]),
        device=detectors[0].device,
        pairs=len(ratios),
        ratio=float(np.median(ratios)),
        low=low,
        high=high,
    )


def _of(path: Path | str, digest: str, size: int, shape: tuple[int, ...], taken_ms: Sequence[float]) -> OfPair:
    return OfPair(
        path=str(path),
        model=digest,
        file_mb=size / 1e6,
        item_shape=shape,
        latency_ms=float(np.median(taken_ms)),
    )
