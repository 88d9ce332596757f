"""A small detector for tests. It trains in epochs, reconstructs and generates parts, and trains within a moment."""

from typing import Annotated

import torch
from msgspec import Meta
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import ConfigError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found
from andon.training.fitting.gradient_descent import Plan, descend
from andon.training.recipe.recipe import FitContext, Recipe, TrainingData


class Settings(Plan, frozen=True, kw_only=True):
    latent: Annotated[int, Meta(ge=1)] = 4
    side: Annotated[int, Meta(ge=4)] = 12
    generates: bool = True
    rebuilds: bool = True


TINY = Settings(epochs=4, batch_size=16, learning_rate=0.01)


class Dreamer(Scorer):
    """A linear autoencoder with dropout, so that modes and random generators matter."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        size = spec.channels * spec.size[0] * spec.size[1]
        self.rebuilds, self.shape = settings.rebuilds, (spec.channels, *spec.size)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, settings.latent), nn.Dropout(0.2))
        self.decoder = nn.Sequential(nn.Linear(settings.latent, size), nn.Sigmoid(), nn.Unflatten(1, self.shape))

    def forward(self, prepared: Tensor) -> Evidence:
        rebuilt = self.decoder(self.encoder(prepared))
        images = {"reconstruction": rebuilt} if self.rebuilds else {}
        return Evidence({"error": (rebuilt - prepared).abs().mean(dim=1)}, {}, images)


def _input(settings: Settings, found: Found) -> InputSpec:
    return FrameSpec(channels=3, size=(settings.side, settings.side + 4))


def _build(settings: Settings, spec: InputSpec) -> Dreamer:
    assert isinstance(spec, FrameSpec)
    return Dreamer(settings, spec)


def _loss(scorer: Dreamer, batch: Tensor, _warmth: float) -> Tensor:
    error: Tensor = (scorer.decoder(scorer.encoder(batch)) - batch).square()
    return error.mean()


def _fit(scorer: nn.Module, good: TrainingData, settings: Settings, context: FitContext) -> None:
    descend(scorer, good, _loss, settings, context)


def _sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    if not settings.generates:
        raise ConfigError("this one generates nothing, by its settings.")
    assert isinstance(scorer, Dreamer)
    torch.rand(3)  # like a detector that wrongly uses the global random generator
    made: Tensor = scorer.decoder(torch.randn(count, settings.latent, generator=generator))
    return made


RECIPE = Recipe(
    name="dreamer",
    summary="for tests",
    settings=Settings,
    tiny=TINY,
    gives="frame",
    input=_input,
    build=_build,
    fit=_fit,
    score_rule=lambda _settings, _spec: ScoreRule(map="error", pool="mean"),
    sample=_sample,
)
