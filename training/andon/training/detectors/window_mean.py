"""The baseline for windows: the mean of each channel over a window, compared with its mean over good windows; the worst channel.

A detector that does not beat it learned nothing about how channels behave. It detects shifts of one channel and nothing else:
no spikes, no oscillations, and no channels that stop moving together while each stays in its range. On 22 public logs it had
a higher VUS-PR than the networks on 9. Use it to judge other detectors, not to judge parts.
"""

from typing import Annotated

import torch
from msgspec import Meta, Struct, structs
from torch import Tensor

from andon.export.evidence import Evidence, Scorer
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Found, FoundLogs
from andon.sources.series.windows import window_spec
from andon.training.nets.surprise import BATCH
from andon.training.recipe.recipe import FitContext, Recipe, TrainingData
from andon.training.recipe.wrong_data import expected_windows

CLIP = 1000.0
"""Number of standard deviations at which values are clipped, as for `pca`."""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `window_mean`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1: judge row by row", extra={"unit": "rows"})] = (
        64
    )
    hop: Annotated[
        int, Meta(ge=1, description="distance between windows, in training and on the line", extra={"unit": "rows"})
    ] = 16


class WindowMean(Scorer):
    """A scorer from ``[N, T, C]`` to ``shift``: the largest distance of a channel's mean, in standard deviations of its rows."""

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(len(spec.channels)))

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the score and the map ``distances``, which has the distance of its channel in each cell."""
        away = (prepared.mean(dim=1) - self.get_buffer("center")).abs()
        distances = away.unsqueeze(1) + torch.zeros_like(prepared)
        return Evidence({"distances": distances}, {"shift": away.amax(dim=1)})


def fit(scorer: WindowMean, good: TrainingData, settings: Settings, context: FitContext) -> None:  # noqa: ARG001 - a Recipe's
    """Store the mean of each channel over the good windows."""
    total = sum(batch.double().mean(dim=1).sum(dim=0) for batch in good.train.batches(BATCH))
    scorer.get_buffer("center").copy_((torch.as_tensor(total) / len(good.train)).float())


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundLogs):
        raise expected_windows("window_mean")
    return structs.replace(window_spec(found, settings.steps, settings.hop), clip=CLIP)


def _build(settings: Settings, spec: InputSpec) -> WindowMean:  # noqa: ARG001 - a Recipe's
    if not isinstance(spec, WindowSpec):
        raise expected_windows("window_mean")
    return WindowMean(spec)


RECIPE = Recipe(
    name="window_mean",
    summary="windows of sensor channels: the mean of the worst channel; the baseline that others must beat",
    settings=Settings,
    tiny=Settings(steps=16, hop=8),
    gives="window",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=lambda _settings, _spec: ScoreRule(score="shift"),
    uses_validation=False,
)
