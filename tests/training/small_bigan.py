"""Small pictures, small nets and their training, for tests of bigan."""

from typing import Any, Literal

import torch
from tests.training.in_memory import Parts, Remembering
from torch import Generator, Tensor, nn

from andon.runtime.schema import FrameSpec
from andon.training.detectors.bigan import RECIPE, BiGAN, Settings, fit
from andon.training.recipe.recipe import State

SMALL = Settings(latent=6, maps=3, discriminator_maps=3, features=8, batch_size=8, epochs=2)
"""Settings of nets that train in a moment."""


def frames(height: int = 12, width: int = 12, channels: Literal[1, 3] = 1) -> FrameSpec:
    return FrameSpec(channels=channels, size=(height, width))


def built(chosen: Settings = SMALL, spec: FrameSpec | None = None, seed: int = 0) -> BiGAN:
    torch.manual_seed(seed)
    scorer = RECIPE.build(chosen, spec or frames())
    assert isinstance(scorer, BiGAN)
    return scorer


def bars(count: int, seed: int = 0) -> Tensor:
    """Return good parts ``[count, 1, 12, 12]``: a bright upright bar of random place and width."""
    generator = Generator().manual_seed(seed)
    places = torch.arange(12).view(1, 1, 1, 12)
    left = torch.randint(1, 6, (count, 1, 1, 1), generator=generator)
    wide = torch.randint(2, 5, (count, 1, 1, 1), generator=generator)
    bar = ((places >= left) & (places < left + wide)).float().expand(count, 1, 12, 12)
    return 0.1 + 0.8 * bar + 0.02 * torch.rand(count, 1, 12, 12, generator=generator)


class Going(Remembering):
    """A run that keeps states and weights, and can resume from one of them."""

    def __init__(self, resumed: State | None = None, stop_after: int | None = None) -> None:
        super().__init__()
        self.resumed = resumed
        self.states: list[tuple[dict[str, Tensor], State]] = []
        self.stop_after = stop_after

    def epoch(self, scorer: nn.Module, losses: Any, state: State | None = None) -> None:
        super().epoch(scorer, losses, state)
        assert state is not None
        weights = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
        self.states.append((weights, State({n: t.clone() for n, t in state.tensors.items()}, dict(state.scalars))))
        if len(self.rows) == self.stop_after:
            raise KeyboardInterrupt


def played(chosen: Settings, count: int = 40, run: Remembering | None = None) -> tuple[BiGAN, list[dict[str, float]]]:
    scorer, run = built(chosen), run or Remembering()
    fit(scorer, Parts(bars(count), bars(16, seed=1)), chosen, run)
    return scorer, run.rows
