"""Distance of each pixel from the mean of good pictures, in standard deviations.

Works if all pictures show the part in the same position and light. Does not work if parts move or turn: their edges then have a
large spread, and defects there are missed. The method is a textbook baseline (a normal distribution for each pixel).
"""

from typing import Annotated

import torch
from msgspec import Meta, Struct
from torch import Tensor

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.recipe.recipe import FitContext, Recipe, TrainingData


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `pixel_spread`."""

    size: Annotated[
        int, Meta(ge=8, le=512, description="side of the square that is compared", extra={"unit": "px"})
    ] = 64
    floor: Annotated[float, Meta(gt=0.0, le=1.0, description="smallest spread of a pixel, as a share of white")] = 0.02


class PixelSpread(Scorer):
    """Map prepared frames ``[N, C, h, w]`` in 0 to 1 to the map ``deviation`` ``[N, h, w]``."""

    def __init__(self, settings: Settings, channels: int) -> None:
        super().__init__()
        self.floor = settings.floor
        shape = (channels, settings.size, settings.size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the mean deviation over the colours of each pixel."""
        deviation = (prepared - self.get_buffer("mean")).abs() / self.get_buffer("spread")
        return Evidence(maps={"deviation": deviation.mean(dim=1)}, scores={})


def fit(scorer: PixelSpread, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Compute mean and standard deviation of each pixel, in one pass."""
    total = torch.zeros_like(scorer.get_buffer("mean"), dtype=torch.float64)
    squares = torch.zeros_like(total)
    for batch in good.train.batches(64):
        values = batch.to(context.device, torch.float64)
        total += values.sum(dim=0)
        squares += values.square().sum(dim=0)
    mean = total / len(good.train)
    spread = (squares / len(good.train) - mean.square()).clamp_min(0.0).sqrt()
    scorer.get_buffer("mean").copy_(mean)
    scorer.get_buffer("spread").copy_(spread.clamp_min(settings.floor))


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("pixel_spread: expected frames (pictures), got windows of sensor data.")
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(settings.size, settings.size))


def _build(settings: Settings, spec: InputSpec) -> PixelSpread:
    if not isinstance(spec, FrameSpec):
        raise DataError("pixel_spread: expected frames (pictures), got windows of sensor data.")
    return PixelSpread(settings, spec.channels)


def _score_rule(_settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(map="deviation", pool="top", share=0.01)


RECIPE = Recipe(
    name="pixel_spread",
    summary="frames, by how far each pixel is from the mean of good pictures",
    settings=Settings,
    tiny=Settings(size=16),
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    uses_validation=False,
)
