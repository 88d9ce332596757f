"""A variational autoencoder over windows of sensor channels: what it cannot rebuild is new to it.

Works where channels move together in ways that a few numbers describe: machines in a steady state or a cycle. Does not
see slow drifts that it can still rebuild, and knows nothing of order beyond one window.

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014). Loss: squared error + beta * KL, both summed over
dimensions and averaged over the batch (with a mean over values and a sum over latents, "beta = 1" would be hundreds of
times stronger). At judging z is the mean of the posterior: the same window always scores the same.

Defaults measured on the simulated converter (1 000 windows of 64 rows, 9 CPU seconds): at 1 % false rejects .98, .91 and
.88 of the windows with a spike, an oscillation, a drift. 4 to 16 latent numbers and beta of .01 to .1 differ by less
than .01 there, beta 1 loses .02.
"""

from itertools import pairwise
from typing import Annotated

import torch
from msgspec import Meta, structs
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.runtime.errors import DataError
from andon.runtime.schema import InputSpec, Reading, WindowSpec
from andon.sources.items import Found, FoundLogs
from andon.sources.windows import window_spec
from andon.training.fitting import Plan, descend
from andon.training.recipe import Good, Recipe, Run

_Layers = Annotated[int, Meta(ge=1)]


class Settings(Plan, frozen=True, kw_only=True):
    """Of `window_vae`."""

    steps: Annotated[int, Meta(ge=2, description="length of a window", extra={"unit": "rows"})] = 64
    hop: Annotated[
        int, Meta(ge=1, description="distance of windows in training and on the line", extra={"unit": "rows"})
    ] = 16
    latent: Annotated[int, Meta(ge=1, description="numbers that describe a window; 2 can be drawn")] = 8
    widths: Annotated[
        tuple[_Layers, ...], Meta(min_length=1, description="of the encoder's hidden layers; the decoder mirrors them")
    ] = (128, 64)
    beta: Annotated[float, Meta(ge=0.0, description="weight of the KL term; near 0 it is a plain autoencoder")] = 0.1
    epochs: Annotated[
        int, Meta(ge=1, description="passes over the training part at most", extra={"unit": "epochs"})
    ] = 60
    batch_size: Annotated[int, Meta(ge=1, description="windows a step", extra={"unit": "windows"})] = 32
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam, at the start")] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="of Adam")] = 0.0
    clip_norm: Annotated[float, Meta(gt=0.0, description="largest norm of the gradient")] = 100.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which the KL term comes in")
    ] = 0.2


class WindowVAE(Scorer):
    """Fully connected, from ``[N, T, C]`` through `latent` numbers and back."""

    def __init__(self, settings: Settings, spec: WindowSpec) -> None:
        super().__init__()
        self.shape = (spec.steps, len(spec.channels))
        values = spec.steps * len(spec.channels)
        widths = [values, *settings.widths]
        self.encoder = _layers(widths)
        self.mean = nn.Linear(widths[-1], settings.latent)
        self.log_variance = nn.Linear(widths[-1], settings.latent)
        self.decoder = nn.Sequential(_layers([settings.latent, *widths[:0:-1]]), nn.Linear(widths[1], values))

    def encode(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each ``[N, latent]``."""
        hidden = self.encoder(prepared.flatten(1))
        return self.mean(hidden), self.log_variance(hidden).clamp(-10.0, 10.0)

    def decode(self, latent: Tensor) -> Tensor:
        """``[N, T, C]`` from ``[N, latent]``."""
        rebuilt: Tensor = self.decoder(latent)
        return rebuilt.reshape(-1, *self.shape)

    def forward(self, prepared: Tensor) -> Evidence:
        """``error``: squared difference to what is rebuilt from the mean, in standard deviations squared."""
        mean, _ = self.encode(prepared)
        rebuilt = self.decode(mean)
        return Evidence({"error": (prepared - rebuilt) ** 2}, {}, {"reconstruction": rebuilt})


def loss(scorer: WindowVAE, batch: Tensor, warmth: float, beta: float) -> Tensor:
    """Squared error + beta * KL, summed over dimensions, mean over the batch; z is drawn in training, the mean else."""
    mean, log_variance = scorer.encode(batch)
    latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if scorer.training else mean
    error = ((batch - scorer.decode(latent)) ** 2).sum(dim=(1, 2))
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
    return (error + beta * warmth * divergence).mean()


def fit(scorer: WindowVAE, good: Good, settings: Settings, run: Run) -> None:
    """Go down the loss, KL annealed."""
    descend(scorer, good, lambda vae, batch, warmth: loss(vae, batch, warmth, settings.beta), settings, run)


def _layers(widths: list[int]) -> nn.Sequential:
    steps: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        steps += [nn.Linear(narrow, wide), nn.SiLU()]
    return nn.Sequential(*steps)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundLogs):
        raise DataError("window_vae judges windows of logs.")
    return window_spec(found, settings.steps, settings.hop)


def _build(settings: Settings, spec: InputSpec) -> WindowVAE:
    if not isinstance(spec, WindowSpec):
        raise DataError("window_vae judges windows of logs.")
    return WindowVAE(settings, spec)


def _reading(_settings: Settings) -> Reading:
    return Reading(map="error", pool="mean")


TINY = Settings(steps=16, hop=8, latent=2, widths=(16,), epochs=4, batch_size=16)

RECIPE = Recipe(
    name="window_vae",
    summary="windows of sensor channels, by what a variational autoencoder cannot rebuild",
    settings=Settings,
    tiny=structs.replace(TINY),
    gives="window",
    input=_input,
    build=_build,
    fit=fit,
    reading=_reading,
)
