"""Small, seeded, synthetic good parts that need no download: for the contract, for tests and for experiments."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Channel
from andon.sources.collection import FoundFrames, FoundLogs
from andon.sources.series.log import Log, Run

FRAME_SIZE = (40, 56)
"""Height and width. They differ from each other and from network input sizes, so that swapped axes are detected."""
CHANNELS = ("wave", "echo")
PERIOD_S = 0.1


class SyntheticFrames:
    """A collection of similar frames: a ring on a gradient, with small random shifts and noise."""

    def __init__(self, count: int, size: tuple[int, int] = FRAME_SIZE) -> None:
        self.found = FoundFrames(channels=3, frame_size=size, largest=size)
        self.refs: Sequence[Ref] = [Ref(key=f"{number:03}.png") for number in range(count)]

    def read(self, ref: Ref) -> Item | Lost:
        """Return the frame of a key. The same key always gives the same frame."""
        assert self.found.frame_size is not None
        return Item(ref, synthetic_frame(int(ref.key[:3]), self.found.frame_size))


def synthetic_frame(seed: int, size: tuple[int, int] = FRAME_SIZE) -> NDArray[np.uint8]:
    """Return the frame of a seed, uint8 ``[H, W, 3]``."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    down, right = rows / size[0], columns / size[1]
    away = np.hypot(down - 0.5 - generator.normal(0, 0.02), right - 0.5 - generator.normal(0, 0.02))
    ring = np.exp(-(((away - 0.3) / 0.08) ** 2))
    planes = np.stack([90 + 100 * ring + 30 * down, 110 + 40 * right - 30 * ring, 80 + 60 * ring], axis=-1)
    frame: NDArray[np.uint8] = np.clip(planes + generator.normal(0, 4, planes.shape), 0, 255).astype(np.uint8)
    return frame


def synthetic_log(rows: int, *, seed: int = 0) -> Log:
    """Return two runs with two channels: a noisy wave, and its delayed echo in another unit."""
    channels = tuple(Channel(name=name) for name in CHANNELS)
    runs = tuple(_synthetic_run(f"run{number}", rows, seed + number) for number in range(2))
    return Log(found=FoundLogs(channels=channels, period_s=PERIOD_S, runs=len(runs), rows=rows * len(runs)), runs=runs)


def _synthetic_run(name: str, rows: int, seed: int) -> Run:
    generator = np.random.default_rng(seed)
    phase = 2 * np.pi * np.arange(rows) / 11 + generator.uniform(0, 2 * np.pi)
    noise = generator.normal(0, 0.1, (2, rows))
    values = np.stack([230 + 10 * (np.sin(phase) + noise[0]), 4 + np.sin(phase - 1) + noise[1]], axis=1)
    return Run(name=name, times_s=np.arange(rows, dtype=np.float64) * PERIOD_S, values=values.astype(np.float32))
