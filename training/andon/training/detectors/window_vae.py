"""A variational autoencoder over windows of sensor channels, scored by its reconstruction error or its latent variables.

Suitable if channels move together in ways that a few numbers describe: machines in a steady state or a cycle. The detector does
not use the order of windows. There are three scores. ``error`` is the reconstruction error. ``euclid`` and ``mahalanobis`` are
squared distances of a window's latent variables from the latent variables of good windows. A slow drift that can still be
reconstructed moves the latent variables. Far from the training data the encoder saturates, and only the error detects the
deviation. ``--decides combined`` takes the largest surprise of the three (`nets.surprise`).

Source: Kingma and Welling, Auto-Encoding Variational Bayes (2014). The loss is squared error + beta * KL, both summed
over dimensions and averaged over the batch. With a mean over values and a sum over latents, "beta = 1" would be
hundreds of times stronger. For scores, z is the mean of the posterior, so the same window always has the same score.

Defaults were measured on the simulated converter (1 000 windows of 64 rows, 9 CPU seconds). At 1 % false rejects it
found .98, .91 and .88 of the windows with a spike, an oscillation and a drift. Results with 4 to 16 latent variables
and a beta of .01 to .1 differ by less than .01; beta 1 loses .02.

On the converter, the latent distances detect little except the drift (AUROC .87, and .93 for the error after 15 epochs). Good
windows form a ring, by the phase of the load, and its centre is equally far from all of them. The combination is not better
than the error (.92; oscillation of half severity .83 against .88), so the error decides by default.
"""

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from msgspec import Meta, structs
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Found, FoundLogs
from andon.sources.series.windows import window_spec
from andon.training.fitting.gradient_descent import ClipNorm, PlainFeed, Plan, descend
from andon.training.nets.gaussian import Gaussian
from andon.training.nets.surprise import BATCH, Combination, scores_over
from andon.training.nets.variational import divergence, drawn, notes_on_beta
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.wrong_data import expected_windows

logger = logging.getLogger(__name__)

UNUSED = 0.01
"""Mean divergence in nat below which a latent variable contains no information about its window."""

_Layers = Annotated[int, Meta(ge=1)]


class Settings(Plan, frozen=True, kw_only=True):
    """Settings of `window_vae`."""

    steps: Annotated[int, Meta(ge=1, description="length of a window; 1: judge row by row", extra={"unit": "rows"})] = (
        64
    )
    hop: Annotated[
        int, Meta(ge=1, description="distance between windows, in training and on the line", extra={"unit": "rows"})
    ] = 16
    latent: Annotated[
        int, Meta(ge=1, description="number of latent variables that describe a window; 2 can be plotted")
    ] = 8
    widths: Annotated[
        tuple[_Layers, ...],
        Meta(min_length=1, description="widths of the encoder's hidden layers; the decoder mirrors them"),
    ] = (128, 64)
    beta: Annotated[float, Meta(ge=0.0, description="weight of the KL term; near 0: a plain autoencoder")] = 0.1
    epochs: Annotated[
        int, Meta(ge=1, description="largest number of passes over the training set", extra={"unit": "epochs"})
    ] = 60
    batch_size: Annotated[int, Meta(ge=1, description="windows per step", extra={"unit": "windows"})] = 32
    learning_rate: Annotated[float, Meta(gt=0.0, description="initial learning rate of Adam")] = 2e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="weight decay of Adam")] = 0.0
    clip_norm: ClipNorm = 100.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which the weight of the KL term rises from 0")
    ] = 0.2
    decides: Annotated[
        Literal["error", "euclid", "mahalanobis", "combined"],
        Meta(
            description="score that decides; combined: the rarest score, by the share of validation windows that score as high"
        ),
    ] = "error"


class WindowVAE(Scorer):
    """A fully connected network that encodes windows ``[N, T, C]`` as `latent` numbers and decodes them to ``[N, T, C]``."""

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
        """Return mean and log-variance of the posterior, each ``[N, latent]``."""
        hidden = self.encoder(prepared.flatten(1))
        return self.mean(hidden), self.log_variance(hidden).clamp(-10.0, 10.0)

    def decode(self, latent: Tensor) -> Tensor:
        """Return ``[N, T, C]`` from ``[N, latent]``."""
        rebuilt: Tensor = self.decoder(latent)
        return rebuilt.reshape(-1, *self.shape)

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the map ``error``, the scores, the reconstruction and the table ``latent``.

        ``error`` is the squared difference between the window and its reconstruction, in squared standard deviations. The
        reconstruction is decoded from the posterior's mean. The table ``latent`` is that mean.
        """
        error, rebuilt, latent, scores = self._judge(prepared)
        distances = {name: score for name, score in scores.items() if name != "error"}  # the pooled map gives "error"
        combined = {"combined": self.combination(scores)}
        return Evidence({"error": error}, distances | combined, {"reconstruction": rebuilt}, {"latent": latent})

    def scores(self, prepared: Tensor) -> dict[str, Tensor]:
        """Return ``error`` (the mean of its map), ``euclid`` and ``mahalanobis``, each ``[N]``."""
        return self._judge(prepared)[3]

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        mean, _ = self.encode(prepared)
        rebuilt = self.decode(mean)
        error = (prepared - rebuilt) ** 2
        return error, rebuilt, mean, {"error": error.mean(dim=(1, 2)), **self.latent(mean)._asdict()}


def loss(scorer: WindowVAE, batch: Tensor, warmth: float, beta: float) -> Tensor:
    """Return squared error + beta * KL, summed over dimensions, mean over the batch.

    z is drawn at random in training, and is the mean otherwise.
    """
    mean, log_variance = scorer.encode(batch)
    latent = drawn(mean, log_variance) if scorer.training else mean
    error = ((batch - scorer.decode(latent)) ** 2).sum(dim=(1, 2))
    return (error + beta * warmth * divergence(mean, log_variance, dim=1)).mean()


class _Spreading(PlainFeed):
    """A feed of unchanged good parts that adapts the scores to the current weights after each epoch, for observers."""

    def __init__(self, good: TrainingData, device: torch.device) -> None:
        super().__init__(good)
        self._device = device

    def judge(self, scorer: WindowVAE, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Adapt the scores to the weights. Return no further results."""
        spread(scorer, self._good, self._device)
        return {}


def fit(scorer: WindowVAE, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Minimise the loss, with an annealed KL term."""
    feed = None if settings.decides == "error" else _Spreading(good, context.device)
    descend(
        scorer, good, lambda vae, batch, warmth: loss(vae, batch, warmth, settings.beta), settings, context, feed=feed
    )


def finalize(scorer: WindowVAE, good: TrainingData, settings: Settings, device: torch.device) -> None:  # noqa: ARG001 - a Recipe's
    """Estimate the spread of the latent variables and the tails of the scores."""
    used = spread(scorer, good, device)
    if not bool(used.any()):
        logger.warning("posterior collapse: no latent variable contains information about its window. Lower --beta")
    elif not bool(used.all()):
        logger.info("left out %d of %d latent variables, which contain no information", sum(~used), len(used))


def spread(scorer: WindowVAE, good: TrainingData, device: torch.device) -> Tensor:
    """Estimate the spread of latent variables over the training set, then the spread of scores over the validation set.

    Returns:
        Bool ``[latent]``: which variables contain information about their windows. The others are left out of the
            Mahalanobis
        distance, unless none does.
    """
    points, apart = posteriors(scorer, good.train, device)
    used = apart >= UNUSED
    scorer.latent.fit(points, used if bool(used.any()) else torch.ones_like(used))
    scorer.combination.fit(scores_over(scorer.scores, good.validation, device))
    return used


def posteriors(scorer: WindowVAE, part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return means ``[n, latent]`` over a part, and each variable's mean divergence from the prior ``[latent]``, in nat."""
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
        raise expected_windows("window_vae")
    return window_spec(found, settings.steps, settings.hop)


def _build(settings: Settings, spec: InputSpec) -> WindowVAE:
    if not isinstance(spec, WindowSpec):
        raise expected_windows("window_vae")
    return WindowVAE(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(map="error", pool="mean") if settings.decides == "error" else ScoreRule(score=settings.decides)


TINY = Settings(steps=16, hop=8, latent=2, widths=(16,), epochs=4, batch_size=16)

RECIPE = Recipe(
    name="window_vae",
    version=3,
    summary="windows of sensor channels: reconstruction error or latent distances of a variational autoencoder",
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
