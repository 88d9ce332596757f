"""Small real scorers and collections with seeded numbers, for tests of the export."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Channel, FrameSpec, Reason, WindowSpec
from andon.sources.collection import FoundFrames, FoundLogs

FRAMES = FrameSpec(channels=3, size=(32, 48))
WINDOWS = WindowSpec(
    steps=16,
    hop=4,
    period_s=1.0,
    channels=(
        Channel(name="voltage", unit="V", center=230.0, scale=5.0),
        Channel(name="current", center=1.0, scale=0.2),
    ),
)


class Edges(nn.Module):
    """A scorer for frames: the absolute response of a seeded convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.filters = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"edges": self.filters(prepared).abs().mean(1)}, {"brightness": prepared.mean(dim=(1, 2, 3))})


class Squares(nn.Module):
    """A scorer for windows: the distance of each value from its centre."""

    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"error": prepared**2}, {})


class Frames:
    """Seeded frames of one size. Frames in `dark` have one dark level, and frames in `lost` are unreadable."""

    def __init__(
        self, count: int, *, size: tuple[int, int] = (60, 80), dark: Sequence[int] = (), lost: Sequence[int] = ()
    ) -> None:
        self.found = FoundFrames(channels=3, frame_size=size, largest=size)
        self.refs = [Ref(key=f"{number:04}.png") for number in range(count)]
        self._size, self._dark, self._lost = size, set(dark), set(lost)

    def read(self, ref: Ref) -> Item | Lost:
        number = int(ref.key[:4])
        if number in self._lost:
            return Lost(ref, Reason.UNREADABLE, "unreadable for a test")
        generator = np.random.default_rng(number)
        # each dark frame has its own level: equal pictures would count as one part
        bright = number % 16 if number in self._dark else generator.uniform(80, 160)
        noise = generator.normal(0, 0 if number in self._dark else 20, (*self._size, 3))
        return Item(ref, np.clip(bright + noise, 0, 255).astype(np.uint8))


class WindowRuns:
    """Seeded windows in `runs` runs of `each` windows. `phi` is the correlation of neighbours within a run."""

    def __init__(self, runs: int, each: int, *, phi: float = 0.0) -> None:
        self.found = FoundLogs(channels=WINDOWS.channels, period_s=1.0, runs=runs, rows=runs * each * 16)
        self.refs = [
            Ref(key=f"run{run}#{place}", group=f"run{run}", time_s=float(16 * place))
            for run in range(runs)
            for place in range(each)
        ]
        generator = np.random.default_rng(runs * each)
        self._windows = {}
        for run in range(runs):
            level = 0.0
            for place in range(each):
                level = phi * level + generator.normal()
                shape = generator.normal(size=(16, 2)) * (1.0 + 0.3 * abs(level))
                self._windows[f"run{run}#{place}"] = (np.array([230.0, 1.0]) + shape * [5.0, 0.2]).astype(np.float32)

    def read(self, ref: Ref) -> Item | Lost:
        return Item(ref, self._windows[ref.key])
