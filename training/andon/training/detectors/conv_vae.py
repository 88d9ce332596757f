"""A convolutional variational autoencoder over frames, scored by how well a few numbers describe the frame.

Suitable if good parts are small, centred and differ in ways that a few numbers describe: digits, stamped signs, parts
cut out of a larger picture. Not suitable for fine texture, which a few numbers cannot describe. The network blurs such texture
on good and bad parts, and the blur hides small defects.

There are three scores, all in the graph. ``mse`` and ``bce`` are squared error and cross-entropy of the reconstruction,
means over pixels. ``sap`` also passes the reconstruction through the encoder. It compares the activations of the
innermost convolution for the frame and for the reconstruction. It uses the positions that differ most, relative to the
size of the activations. ``sap`` also contains the squared error and, with `--sap-layers`, more of the convolutions.
Each term is divided by its mean over the validation set, because otherwise the largest would dominate.

The loss is cross-entropy or squared error, plus beta * KL. Both terms are summed over dimensions and averaged over the
batch. With a mean over pixels and a sum over latents, "beta = 1" would be hundreds of times stronger. Only the encoder
has batch normalisation and dropout. For scores, z is the mean of the posterior, so the same frame always has the same
score.

An epoch is a number of frames, not a pass. Therefore, the defaults train equally long on 300 frames and on 50 000.

Results: docs/results.md. Sources: Kingma and Welling, Auto-Encoding Variational Bayes (2014). For ``sap``: Kim et al.,
RaPP, Novelty Detection with Reconstruction along Projection Pathway (ICLR 2020), who sum over all layers and all
positions.
"""

import logging
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.masks import FillIgnored, logit_fill
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.fitting.gradient_descent import ClipNorm, PlainFeed, Plan, descend
from andon.training.nets.variational import LEAST_BETA, divergence, drawn, notes_on_beta
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.small_frames import SIZE, size_seen
from andon.training.recipe.top_share import check_share
from andon.training.recipe.wrong_data import expected_frames

logger = logging.getLogger(__name__)

LEAST_ENERGY = 1e-6
"""Lower limit of the divisor of differences, which is the mean square of a convolution's activations."""
SLOPE = 0.1
"""Slope of the activations below zero."""
BATCH = 256
GLANCE = 512
"""Upper limit of the validation parts that `balance` uses after each epoch, for the scores that observers show. `finalize`
uses all of them.
"""

_Width = Annotated[int, Meta(ge=1, le=1024)]


class Settings(Plan, frozen=True, kw_only=True):
    """Settings of `conv_vae`."""

    size: Annotated[Annotated[int, Meta(ge=8, le=512)] | None, SIZE] = None
    widths: Annotated[
        tuple[_Width, ...],
        Meta(
            min_length=1,
            max_length=7,
            description="channels of the encoder's convolutions; each convolution halves the sides, and the decoder mirrors them",
        ),
    ] = (32, 64, 128)
    hidden: Annotated[
        int, Meta(ge=1, le=4096, description="width of the layer between convolutions and latent variables")
    ] = 128
    latent: Annotated[int, Meta(ge=1, le=1024, description="number of latent variables that describe a frame")] = 10
    beta: Annotated[
        float, Meta(ge=0.0, description="weight of the KL term; below 0.001: a plain autoencoder with noise")
    ] = 0.1
    reconstruction: Annotated[
        Literal["bce", "mse"],
        Meta(description="reconstruction loss: cross-entropy or squared error, summed over pixels"),
    ] = "bce"
    dropout: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="share of the encoder's channels that are dropped in training")
    ] = 0.05
    epochs: Annotated[int, Meta(ge=1, description="largest number of epochs", extra={"unit": "epochs"})] = 9
    epoch_parts: Annotated[
        int,
        Meta(
            ge=0,
            description="frames that count as one epoch, independent of the number of good parts; 0: the whole training set",
            extra={"unit": "frames"},
        ),
    ] = 16384
    batch_size: Annotated[int, Meta(ge=2, description="frames per step", extra={"unit": "frames"})] = 64
    learning_rate: Annotated[float, Meta(gt=0.0, description="initial learning rate of Adam")] = 3e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="weight decay of Adam")] = 0.0
    clip_norm: ClipNorm = 20.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which the weight of the KL term rises from 0")
    ] = 0.2
    decides: Annotated[
        Literal["mse", "bce", "sap"],
        Meta(
            description=(
                "score that decides. mse: squared error. bce: cross-entropy. sap: squared error, and differences of the "
                "encoder's activations"
            )
        ),
    ] = "sap"
    sap_layers: Annotated[
        int, Meta(ge=0, description="number of convolutions that ``sap`` compares, counted from the innermost; 0: all")
    ] = 1
    sap_share: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1.0,
            description="share of all positions of a convolution that count in ``sap``: those that differ most",
        ),
    ] = 0.1
    pool: Annotated[
        Literal["mean", "top", "max"], Meta(description="how the map of squared errors becomes ``mse``")
    ] = "mean"
    share: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1.0,
            description="with --pool top: ``mse`` = mean of the highest values; this is their share of all values",
        ),
    ] = 0.01

    @property
    def by_cosine(self) -> bool:
        """True for a cosine schedule, which is the default."""
        return self.schedule != "plateau"


class ConvVAE(Scorer):
    """A network from ``[N, C, h, w]`` in 0 to 1 through `latent` numbers and back."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        widths = (spec.channels, *settings.widths)
        sides = [spec.size]
        for _ in settings.widths:
            height, width = sides[-1]
            sides.append((-(-height // 2), -(-width // 2)))
        self.innermost = (widths[-1], *sides[-1])
        inside = math.prod(self.innermost)
        self.convolutions = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(SLOPE),
                nn.Dropout2d(settings.dropout),
            )
            for before, after in pairwise(widths)
        )
        self.hidden = nn.Sequential(nn.Linear(inside, settings.hidden), nn.LeakyReLU(SLOPE))
        self.mean = nn.Linear(settings.hidden, settings.latent)
        self.log_variance = nn.Linear(settings.hidden, settings.latent)
        self.widen = nn.Sequential(
            nn.Linear(settings.latent, settings.hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(settings.hidden, inside),
            nn.LeakyReLU(SLOPE),
        )
        up: list[nn.Module] = []
        for level in range(len(settings.widths), 0, -1):
            # halving rounds up, so the output of each even side needs one more pixel
            height, width = sides[level - 1]
            longer = (1 - height % 2, 1 - width % 2)
            up += [
                nn.ConvTranspose2d(widths[level], widths[level - 1], 3, stride=2, padding=1, output_padding=longer),
                nn.LeakyReLU(SLOPE),
            ]
        self.decoder = nn.Sequential(*up[:-1])
        # logits whose sigmoid is the value of prepared pixels that do not count: they count in no error
        self.fill = FillIgnored(spec, logit_fill(spec))
        self.looked_at = min(settings.sap_layers or len(settings.widths), len(settings.widths))
        self.share = settings.sap_share
        # mean differences on good parts; differences are divided by them
        self.register_buffer("usual", torch.ones(1 + self.looked_at))

    def layers(self, prepared: Tensor) -> list[Tensor]:
        """Return the activations of each convolution for frames, ``[N, width, h, w]``; each halves height and width."""
        seen = [prepared]
        for convolution in self.convolutions:
            seen.append(convolution(seen[-1]))
        return seen[1:]

    def encode(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior, each ``[N, latent]``."""
        return self._posterior(self.layers(prepared))

    def _posterior(self, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(seen[-1].flatten(1))
        return self.mean(hidden), self.log_variance(hidden).clamp(-10.0, 10.0)

    def decode(self, latent: Tensor) -> Tensor:
        """Return logits ``[N, C, h, w]`` from ``[N, latent]``; their sigmoid is the reconstruction."""
        logits: Tensor = self.fill(self.decoder(self.widen(latent).view(-1, *self.innermost)))
        return logits

    def differences(self, prepared: Tensor) -> Tensor:
        """Return ``[N, 1 + looked_at]``: differences between frames and reconstructions, in pixels and in activations.

        The first column is the mean squared error. Then there is one column per compared convolution, outermost first.
        Such a column is the squared difference of the activations, divided by the mean square of the activations for the frame.
        It is a mean over channels and over the `share` of positions with the largest differences.
        """
        seen = self.layers(prepared)
        rebuilt = torch.sigmoid(self.decode(self._posterior(seen)[0]))
        return self._differences([prepared, *seen], [rebuilt, *self.layers(rebuilt)])

    def _differences(self, seen: list[Tensor], again: list[Tensor]) -> Tensor:
        apart = [(seen[0] - again[0]).square().flatten(1).mean(dim=1)]
        for one, other in list(zip(seen, again, strict=True))[-self.looked_at :]:
            squares = (one - other).square().mean(dim=1).flatten(1)
            largest = squares.topk(max(1, round(self.share * squares.shape[1])), dim=1).values.mean(dim=1)
            apart.append(largest / one.square().flatten(1).mean(dim=1).clamp(min=LEAST_ENERGY))
        return torch.stack(apart, dim=1)

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the map ``mse``, the scores ``bce`` and ``sap``, and the reconstruction.

        ``mse`` is the squared error, a mean over channels, 0 to 1. ``bce`` is in nat per pixel. ``sap`` is 1 for
        typical good parts.
        """
        seen = self.layers(prepared)
        logits = self.decode(self._posterior(seen)[0])
        rebuilt = torch.sigmoid(logits)
        apart = self._differences([prepared, *seen], [rebuilt, *self.layers(rebuilt)])
        scores = {
            "bce": cross_entropy(logits, prepared).flatten(1).mean(dim=1),
            "sap": (apart / self.get_buffer("usual")).mean(dim=1),
        }
        return Evidence({"mse": (prepared - rebuilt).square().mean(dim=1)}, scores, {"reconstruction": rebuilt})


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the elementwise cross-entropy to a target in 0 to 1, in nat; finite for any logits."""
    return nn.functional.softplus(logits) - logits * target


def loss(vae: ConvVAE, batch: Tensor, warmth: float, settings: Settings) -> Tensor:
    """Return reconstruction loss + beta * KL, summed over dimensions, mean over the batch.

    z is drawn at random in training, and is the mean otherwise.
    """
    mean, log_variance = vae.encode(batch)
    latent = drawn(mean, log_variance) if vae.training else mean
    logits = vae.decode(latent)
    with torch.autocast(batch.device.type, enabled=False):
        logits, mean, log_variance = logits.float(), mean.float(), log_variance.float()
        crossed = settings.reconstruction == "bce"
        error = cross_entropy(logits, batch) if crossed else (torch.sigmoid(logits) - batch).square()
        kl = divergence(mean, log_variance, dim=1)
        return (error.flatten(1).sum(dim=1) + settings.beta * warmth * kl).mean()


class _Balancing(PlainFeed):
    """A feed of unchanged good parts. It balances the layers after each epoch, because observers show the scores."""

    def __init__(self, good: TrainingData, device: torch.device) -> None:
        super().__init__(good)
        self._device = device

    def judge(self, scorer: ConvVAE, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Balance the layers. Return no further results."""
        balance(scorer, self._good.validation, self._device, most=GLANCE)
        return {}


def fit(scorer: ConvVAE, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Minimise the loss, with an annealed KL term."""
    if settings.beta < LEAST_BETA:
        logger.warning(
            "--beta %g makes conv_vae a plain autoencoder with noise: the prior has no effect, and no parts can be generated",
            settings.beta,
        )
    scorer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def annealed_loss(vae: ConvVAE, batch: Tensor, warmth: float) -> Tensor:
        return loss(vae, batch.contiguous(memory_format=torch.channels_last), warmth, settings)

    feed = _Balancing(good, context.device) if settings.decides == "sap" else None
    descend(scorer, good, annealed_loss, settings, context, feed=feed, heavy=True)
    scorer.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def finalize(scorer: ConvVAE, good: TrainingData, settings: Settings, device: torch.device) -> None:  # noqa: ARG001 - a Recipe's
    """Balance the layers by the validation set.

    Raises:
        DataError: the validation set is empty.
    """
    balance(scorer, good.validation, device)


def balance(scorer: ConvVAE, part: Part, device: torch.device, *, most: int | None = None) -> None:
    """Divide each layer's difference by its mean over at most `most` good parts that were not trained on.

    Raises:
        DataError: there are no such parts.
    """
    total, seen = torch.zeros_like(scorer.get_buffer("usual")), 0
    with torch.no_grad():
        for batch in part.batches(BATCH):
            total += scorer.differences(batch.to(device)).sum(dim=0)
            seen += len(batch)
            if most is not None and seen >= most:
                break
    if not seen:
        raise DataError(
            "the validation set is empty: expected good parts to balance the layers. Collect more good parts."
        )
    scorer.get_buffer("usual").copy_((total / seen).clamp(min=1e-12))


def sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    """Return new good parts ``[count, C, h, w]`` in 0 to 1, from latent variables drawn from the prior.

    Raises:
        ConfigError: the prior had no effect in training.
    """
    assert isinstance(scorer, ConvVAE)
    if settings.beta < LEAST_BETA:
        raise ConfigError(
            f"--beta {settings.beta:g}: below {LEAST_BETA:g}, conv_vae is a plain autoencoder with noise. Pictures drawn from "
            "its prior do not look like parts. Train with --beta 1 to generate parts."
        )
    with torch.no_grad():
        latent = torch.randn(count, settings.latent, generator=generator).to(scorer.mean.weight.device)
        return torch.sigmoid(scorer.decode(latent))


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise expected_frames("conv_vae")
    check_share(settings)
    size = size_seen(found, settings.size)
    least = 2 ** len(settings.widths) + 1
    if min(size) < least:
        raise ConfigError(
            f"--widths: {len(settings.widths)} widths halve the sides {len(settings.widths)} times, which needs at least "
            f"{least} px, got {size[0]} x {size[1]}. Give a larger --size, or fewer --widths."
        )
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=size)


def _build(settings: Settings, spec: InputSpec) -> ConvVAE:
    if not isinstance(spec, FrameSpec):
        raise expected_frames("conv_vae")
    return ConvVAE(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    if settings.decides == "mse":
        return ScoreRule(map="mse", pool=settings.pool, share=settings.share)
    return ScoreRule(score=settings.decides, pool=settings.pool, share=settings.share)


def _tiny(**other: Any) -> Settings:
    return Settings(
        size=24, widths=(8, 16), hidden=32, latent=4, epochs=6, epoch_parts=0, batch_size=8, learning_rate=1e-2, **other
    )


RECIPE = Recipe(
    name="conv_vae",
    summary="frames: reconstruction error of a convolutional variational autoencoder, in pixels and in encoder activations",
    settings=Settings,
    tiny=_tiny(),
    variants={
        "mse": _tiny(reconstruction="mse", decides="mse", pool="top"),
        "bce": _tiny(beta=1.0, decides="bce"),
    },
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    finalize=finalize,
    score_rule=_score_rule,
    notes=lambda settings: notes_on_beta(settings.beta),
    sample=sample,
)
