"""A variational autoencoder over windows of sensor channels: what it cannot rebuild is new to it.

Works where channels move together in ways that a few numbers describe: machines in a steady state or a cycle. Knows
nothing of order beyond one window. Three scores: ``error``, what it cannot rebuild; ``euclid`` and ``mahalanobis``, squared
distances of a window's latent numbers from those of good windows. A slow drift that it can still rebuild moves the latent
numbers; far outside of what it learnt the encoder saturates, and only the error tells. ``--decides combined`` takes the
most surprising of the three (`combination`).

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014). Loss: squared error + beta * KL, both summed over
dimensions and averaged over the batch (with a mean over values and a sum over latents, "beta = 1" would be hundreds of
times stronger). At judging z is the mean of the posterior: the same window always scores the same.

Defaults measured on the simulated converter (1 000 windows of 64 rows, 9 CPU seconds): at 1 % false rejects .98, .91 and
.88 of the windows with a spike, an oscillation, a drift. 4 to 16 latent numbers and beta of .01 to .1 differ by less
than .01 there, beta 1 loses .02. There the latent distances see little but the drift (AUROC .87, the error .93 after 15
epochs): good windows lie on a ring, by the phase of the load, and its centre is as far from all of them. The combination
does not beat the error (.92; oscillation of half severity .83 against .88): so that one decides unless asked otherwise.
"""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from msgspec import Meta, structs
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.foundation.errors import DataError
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Found, FoundLogs
from andon.sources.series.windows import window_spec
from andon.training.fitting.gradient_descent import ClipNorm, PlainFeed, Plan, descend
from andon.training.nets.gaussian import Gaussian
from andon.training.nets.surprise import BATCH, Combination, scores_over
from andon.training.nets.variational import divergence, drawn, notes_on_beta
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData

logger = logging.getLogger(__name__)

UNUSED = 0.01
"""Nat of divergence, on average, below which a latent number says nothing of its window."""

_Layers = Annotated[int, Meta(ge=1)]


class Settings(Plan, frozen=True, kw_only=True):
    """Of `window_vae`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1 judges row by row", extra={"unit": "rows"})] = (
        64
    )
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
    clip_norm: ClipNorm = 100.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which the KL term comes in")
    ] = 0.2
    decides: Annotated[
        Literal["error", "euclid", "mahalanobis", "combined"],
        Meta(description="the score that decides; combined: the most surprising of them, by the validation part"),
    ] = "error"


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
        self.latent = Gaussian(settings.latent)
        self.combination = Combination(("error", "euclid", "mahalanobis"))

    def encode(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each ``[N, latent]``."""
        hidden = self.encoder(prepared.flatten(1))
        return self.mean(hidden), self.log_variance(hidden).clamp(-10.0, 10.0)

    def decode(self, latent: Tensor) -> Tensor:
        """``[N, T, C]`` from ``[N, latent]``."""
        rebuilt: Tensor = self.decoder(latent)
        return rebuilt.reshape(-1, *self.shape)

    def forward(self, prepared: Tensor) -> Evidence:
        """The map ``error``: squared difference to what is rebuilt from the mean, in standard deviations squared.

        The table ``latent`` is that mean.
        """
        error, rebuilt, latent, scores = self._judge(prepared)
        distances = {name: score for name, score in scores.items() if name != "error"}  # the map gives that one
        combined = {"combined": self.combination(scores)}
        return Evidence({"error": error}, distances | combined, {"reconstruction": rebuilt}, {"latent": latent})

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """``error``, the mean of its map, ``euclid`` and ``mahalanobis``, each ``[N]``."""
        return self._judge(prepared)[3]

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        mean, _ = self.encode(prepared)
        rebuilt = self.decode(mean)
        error = (prepared - rebuilt) ** 2
        return error, rebuilt, mean, {"error": error.mean(dim=(1, 2)), **self.latent(mean)._asdict()}


def loss(scorer: WindowVAE, batch: Tensor, warmth: float, beta: float) -> Tensor:
    """Squared error + beta * KL, summed over dimensions, mean over the batch; z is drawn in training, the mean else."""
    mean, log_variance = scorer.encode(batch)
    latent = drawn(mean, log_variance) if scorer.training else mean
    error = ((batch - scorer.decode(latent)) ** 2).sum(dim=(1, 2))
    return (error + beta * warmth * divergence(mean, log_variance, dim=1)).mean()


class _Spreading(PlainFeed):
    """Good parts as they are; what decides is made to fit the weights after each epoch, for whoever watches."""

    def __init__(self, good: TrainingData, device: torch.device) -> None:
        super().__init__(good)
        self._device = device

    def judge(self, scorer: WindowVAE, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Nothing beyond the loss."""
        spread(scorer, self._good, self._device)
        return {}


def fit(scorer: WindowVAE, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Go down the loss, KL annealed."""
    feed = None if settings.decides == "error" else _Spreading(good, context.device)
    descend(
        scorer, good, lambda vae, batch, warmth: loss(vae, batch, warmth, settings.beta), settings, context, feed=feed
    )


def finalize(scorer: WindowVAE, good: TrainingData, settings: Settings, device: torch.device) -> None:  # noqa: ARG001 - a Recipe's
    """Learn the spread of the latent numbers and the tails of the scores."""
    used = spread(scorer, good, device)
    if not bool(used.any()):
        logger.warning("no latent number says anything of its window (posterior collapse): lower --beta")
    elif not bool(used.all()):
        logger.info("%d of %d latent numbers say nothing of their windows and are left out", sum(~used), len(used))


def spread(scorer: WindowVAE, good: TrainingData, device: torch.device) -> Tensor:
    """Learn how latent numbers spread over the training part, then how scores do over the validation part.

    Returns:
        Bool ``[latent]``: which numbers say something of their windows. The others are left out of the Mahalanobis
        distance, unless none does.
    """
    points, apart = posteriors(scorer, good.train, device)
    used = apart >= UNUSED
    scorer.latent.fit(points, used if bool(used.any()) else torch.ones_like(used))
    scorer.combination.fit(scores_over(scorer.scores, good.validation, device))
    return used


def posteriors(scorer: WindowVAE, part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """Means ``[n, latent]`` over a part, and each latent number's mean divergence from the prior ``[latent]``, in nat."""
    means, total = [], torch.zeros(scorer.mean.out_features)
    with torch.no_grad():
        for batch in part.batches(BATCH):
            mean, log_variance = scorer.encode(batch.to(device))
            means.append(mean.cpu())
            total += divergence(mean, log_variance, dim=0).cpu()
    return torch.cat(means), total / len(part)


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


def _score_rule(settings: Settings) -> ScoreRule:
    return ScoreRule(map="error", pool="mean") if settings.decides == "error" else ScoreRule(score=settings.decides)


TINY = Settings(steps=16, hop=8, latent=2, widths=(16,), epochs=4, batch_size=16)

RECIPE = Recipe(
    name="window_vae",
    version=3,
    summary="windows of sensor channels, by what a variational autoencoder cannot rebuild, or by its latent numbers",
    settings=Settings,
    tiny=structs.replace(TINY),
    variants={
        "euclid": structs.replace(TINY, decides="euclid"),
        "mahalanobis": structs.replace(TINY, decides="mahalanobis"),
        "combined": structs.replace(TINY, decides="combined"),
    },
    gives="window",
    input=_input,
    build=_build,
    fit=fit,
    finalize=finalize,
    score_rule=_score_rule,
    notes=lambda settings: notes_on_beta(settings.beta),
)
