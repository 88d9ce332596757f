"""Good parts for tests of a fit alone: tensors, without a source, a split or a folder."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from andon.foundation.progress import Progress, silent
from andon.training.recipe.recipe import State


class Rows:
    """A `Part` of prepared frames or windows that come from tensors."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int]) -> Tensor:
        return self.rows[list(places)]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        order = torch.arange(len(self)) if shuffle is None else torch.randperm(len(self), generator=shuffle)
        yield from (self.rows[places] for places in torch.split(order, size) if len(places))


class Parts:
    """A `TrainingData` of tensors."""

    def __init__(self, train: Tensor, validation: Tensor) -> None:
        self.train, self.validation = Rows(train), Rows(validation)


class Here:
    """A `FitContext` that records nothing."""

    seed = 0
    device = torch.device("cpu")
    resumed: State | None = None
    progress = staticmethod(silent)
    found_suspects: Sequence[int] = ()

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        raise AssertionError("this fit does not go by epochs")

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        self.found_suspects = [place for place, _ in found]


class Remembering:
    """A `FitContext` that records the rows of the history."""

    seed = 0
    device = torch.device("cpu")
    progress: Progress = staticmethod(silent)
    resumed: State | None = None
    found_suspects: Sequence[int] = ()

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def epoch(self, scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        self.rows.append(dict(losses))

    def suspects(self, found: Sequence[tuple[int, float]], *, left_out: bool) -> None:
        self.found_suspects = [place for place, _ in found]
