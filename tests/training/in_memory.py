"""Good parts for tests of a fit alone: tensors, without a source, a split or a folder."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from andon.runtime.progress import silent
from andon.training.recipe import State


class Windows:
    """A `Part` that was never read from anywhere."""

    def __init__(self, windows: Tensor) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, places: Sequence[int]) -> Tensor:
        return self._windows[list(places)]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        return iter(torch.split(self._windows, size) if len(self) else ())


class Parts:
    """A `Good`."""

    def __init__(self, train: Tensor, validation: Tensor) -> None:
        self.train, self.validation = Windows(train), Windows(validation)


class Here:
    """A `Run` that leaves no traces."""

    seed = 0
    device = torch.device("cpu")
    resumed: State | None = None
    progress = staticmethod(silent)

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        raise AssertionError("this fit does not go by epochs")
