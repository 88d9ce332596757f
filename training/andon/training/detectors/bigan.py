"""A bidirectional GAN, scored by the reconstruction error of its generator and the output of its discriminator.

An encoder turns a good picture into a code, and a generator turns codes drawn from a normal distribution into pictures.
A discriminator tries to separate pairs (picture, its code) from pairs (generated picture, drawn code). A cycle term connects
encoder and generator. Without it, the reconstruction of a picture is some other good picture.

Suitable if good parts are small pictures of one kind: digits, clothes, centred parts. It also generates new good parts
(`andon sample`). Not suitable if defects are finer than what a GAN of this size can draw; use `patchcore` then.

The score is ``(1 - w) ||x - G(E(x))|| + w L_D``. L_D is the cross-entropy of D(x, E(x)) to "real". Alternatively it is
the distance between the discriminator's features of (x, E(x)) and of (G(E(x)), E(x)). Each term is divided by its mean
over good validation parts. So w is a share for any size of the pictures. The model file also outputs each term:
``score_error``, ``score_cross_entropy``, ``score_features``.

Two things are added to the paper's distance; both can be switched off. `--blur` smooths the difference a little, so
that a line that is reconstructed slightly out of place does not count as missing. Use 0 if defects are single pixels.
`--brightness` divides by the picture's brightness. Otherwise a thin digit scores less than a thick one, even if the
thick one is good.

The settings were chosen with the digits 2 and 8 and the shirts (6) of Fashion-MNIST, one class at a time. The measure
was the AUROC of held-out good training pictures against training pictures of the other classes, with seed 0 and 8
epochs. No test picture was used. The list shows the AUROC of the distance unchanged, smoothed, and smoothed and
divided by brightness:

* digit 2: .847, .878, .945; without a discriminator (`--adversarial 0`) .853, .895, .964.
* digit 8: .819, .875, .935; without a discriminator .799, .852, .928.
* shirts: without a discriminator .810, .848, .833.

So the discriminator hardly changes how well the reconstruction detects defects. It is needed to generate samples. Its
cross-entropy alone gives .86 and .87 on the digits, and a tenth of it in the score adds .005 and .001. Its features,
with spectral normalisation, are below chance there.

GANs are unstable, so several measures stabilise the training. The discriminator has spectrally normalised weights,
smoothed labels and, at first, noisy pictures. The scorer uses a running mean of the weights. Training has collapsed if
the generator makes one picture only, or if nothing fools the discriminator any more. `fit` then logs a warning and restarts
with the next seed.

Sources: Donahue et al., Adversarial feature learning (2017); Zenati et al., Efficient GAN-based anomaly detection
(2018, arXiv 1802.06222). Spectral normalisation: Miyato et al. (2018). Results: docs/results.md.
"""

import logging
import math
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence
from andon.export.masks import FillIgnored, fill_value
from andon.export.pooling import Smooth
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.fitting.adversarial import BiganNets, BiganTrainer
from andon.training.nets.adversarial import Discriminator, Encoder, GeneratorNet, Shape, initialise
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.small_frames import SIZE, size_seen
from andon.training.recipe.wrong_data import expected_frames

logger = logging.getLogger(__name__)

BATCH = 256


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `bigan`."""

    size: Annotated[Annotated[int, Meta(ge=8, le=512)] | None, SIZE] = None
    latent: Annotated[int, Meta(ge=1, description="length of a code")] = 12
    depth: Annotated[
        Annotated[int, Meta(ge=1, le=7)] | None,
        Meta(description="halvings of the picture in each net; none: log2 of its shorter side minus 2, from 2 to 5"),
    ] = None
    maps: Annotated[
        int,
        Meta(
            ge=1,
            description="feature maps after the first halving in encoder and generator, doubled by each further halving",
        ),
    ] = 16
    discriminator_maps: Annotated[
        int, Meta(ge=1, description="feature maps after the first halving in the discriminator")
    ] = 16
    features: Annotated[
        int, Meta(ge=1, description="width of the discriminator's layers that see picture and code")
    ] = 128
    dropout: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="share of the discriminator's maps that are dropped in training")
    ] = 0.2
    reparameterised: Annotated[
        bool, Meta(description="draw codes around the encoder's mean in training; scores always use the mean")
    ] = False
    output: Annotated[
        Literal["sigmoid", "tanh"],
        Meta(
            description="activation at the generator's output; with tanh, pictures are scaled to -1 to 1 within the nets"
        ),
    ] = "sigmoid"
    initialisation: Annotated[
        Literal["he", "normal"],
        Meta(
            description=(
                "initial weights: 'he' (He et al.) keeps the size of signals, 'normal' has a standard deviation of .02, as "
                "in early GANs"
            )
        ),
    ] = "he"
    spectral_norm: Annotated[bool, Meta(description="bound the slope of each layer of the discriminator")] = True
    loss: Annotated[Literal["non_saturating", "hinge"], Meta(description="adversarial loss")] = "non_saturating"
    smoothing: Annotated[
        Annotated[float, Meta(ge=0.0, lt=0.5)] | None,
        Meta(
            description="labels of good pictures are drawn from the range 1 minus this to 1; none: .1, or 0 with hinge"
        ),
    ] = None
    noise: Annotated[
        float,
        Meta(
            ge=0.0,
            description=(
                "initial standard deviation of noise on the discriminator's input, as a share of the range of grey "
                "levels; it falls to 0 over the epochs"
            ),
        ),
    ] = 0.1
    adversarial: Annotated[
        float,
        Meta(ge=0.0, description="weight of the adversarial loss; 0: an autoencoder that cannot generate parts"),
    ] = 1.0
    cycle: Annotated[
        float,
        Meta(ge=0.0, description="weight of the reconstruction loss, the mean difference of pixels of good pictures"),
    ] = 50.0
    distance: Annotated[
        Literal["l1", "l2"],
        Meta(description="distance of pictures and of features: absolute (l1) or squared (l2) differences"),
    ] = "l2"
    blur: Annotated[
        float,
        Meta(
            ge=0.0,
            description=(
                "standard deviation of the Gaussian that smooths a picture's difference before it is measured, so "
                "that a line slightly out of place counts less; 0: no smoothing"
            ),
            extra={"unit": "px"},
        ),
    ] = 0.7
    brightness: Annotated[
        float,
        Meta(
            ge=0.0,
            le=2.0,
            description=(
                "the map is divided by this power of the picture's root mean square, because brighter pictures have "
                "larger errors; 0: not divided"
            ),
        ),
    ] = 1.0
    discriminator_score: Annotated[
        Literal["features", "cross_entropy"], Meta(description="the discriminator's term of the score")
    ] = "cross_entropy"
    weight: Annotated[
        float,
        Meta(
            ge=0.0, le=1.0, description="weight of the discriminator's term in the score; 0: reconstruction error only"
        ),
    ] = 0.1
    epochs: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="passes over the training set; none: enough for 700 steps",
            extra={"unit": "epochs"},
        ),
    ] = None
    batch_size: Annotated[int, Meta(ge=2, description="pictures per step", extra={"unit": "pictures"})] = 64
    learning_rate: Annotated[
        float, Meta(gt=0.0, description="initial learning rate of Adam for encoder and generator")
    ] = 1e-3
    discriminator_rate: Annotated[
        float, Meta(gt=0.0, description="initial learning rate of Adam for the discriminator")
    ] = 2e-4
    momentum: Annotated[float, Meta(ge=0.0, lt=1.0, description="beta 1 of Adam")] = 0.5
    schedule: Annotated[
        Literal["cosine", "constant"], Meta(description="cosine: learning rates fall to a hundredth over all epochs")
    ] = "cosine"
    averaging: Annotated[
        float,
        Meta(
            ge=0.0,
            lt=1.0,
            description=(
                "decay per step of the exponential moving average of the weights; scores use the averaged weights"
            ),
        ),
    ] = 0.999
    restarts: Annotated[
        int, Meta(ge=0, description="largest number of restarts, each with the next seed, after a collapse")
    ] = 2

    @property
    def smoothed(self) -> float:
        """Largest amount by which labels of good pictures are below 1."""
        return (0.1 if self.loss == "non_saturating" else 0.0) if self.smoothing is None else self.smoothing


class BiGAN(BiganNets):
    """A scorer from ``[N, C, h, w]`` in 0 to 1 to the map ``error`` and the nets' scores. Weights are running means."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        self.settings = settings
        shape = Shape(spec.channels, *spec.size, depth_of(settings, spec))
        last: nn.Module = nn.Tanh() if settings.output == "tanh" else nn.Sigmoid()
        self.encoder = Encoder(shape, settings.maps, settings.latent, spread=settings.reparameterised)
        self.generator = GeneratorNet(shape, settings.maps, settings.latent, last)
        value = fill_value(spec)
        self.generator.fill = FillIgnored(spec, 2 * value - 1 if settings.output == "tanh" else value)
        self.discriminator = Discriminator(
            shape, settings.discriminator_maps, settings.latent, features=settings.features, dropout=settings.dropout
        )
        self.smooth = Smooth(settings.blur) if settings.blur else nn.Identity()
        # means over good parts
        self.register_buffer("usual", torch.ones(3))
        self.initialise()

    def initialise(self) -> None:
        """Initialise all weights again with new random values."""
        for module in self.modules():
            initialise(module, self.settings.initialisation)
        self.get_buffer("usual").fill_(1.0)

    def inner(self, prepared: Tensor) -> Tensor:
        """Return pictures in the range of the generator's output."""
        return 2 * prepared - 1 if self.settings.output == "tanh" else prepared

    def outer(self, inner: Tensor) -> Tensor:
        """Return pictures in the range 0 to 1."""
        return (inner + 1) / 2 if self.settings.output == "tanh" else inner

    def differences(self, one: Tensor, other: Tensor) -> Tensor:
        """Return absolute or squared differences, as the settings define."""
        return (one - other).abs() if self.settings.distance == "l1" else (one - other) ** 2

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the map ``error``, the scores, and the reconstruction.

        ``error`` is the smoothed difference to the reconstruction, a mean over channels, divided by the picture's
        brightness. The score ``anomaly`` is 1 for a typical good part. The other scores are in their own units.
        """
        error, rebuilt, parts = self._judge(prepared)
        usual = parts / self.get_buffer("usual")
        judged = usual[:, 1 if self.settings.discriminator_score == "cross_entropy" else 2]
        weight = self.settings.weight
        both = (1 - weight) * usual[:, 0] + weight * judged
        scores = {
            # the mean is infinite after `leave_out_discriminator`
            "anomaly": torch.where(self.get_buffer("usual")[1].isinf(), usual[:, 0], both),
            "cross_entropy": parts[:, 1],
            "features": parts[:, 2],
        }
        return Evidence({"error": error}, scores, {"reconstruction": rebuilt})

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return map, reconstruction, and ``[N, 3]``: distance of pictures, cross-entropy, distance of features."""
        picture = self.inner(prepared)
        code, _ = self.encoder(picture)
        generated = self.generator(code)
        features, logit = self.discriminator(picture, code)
        generated_features, _ = self.discriminator(generated, code)
        rebuilt = self.outer(generated)
        error = self.error(prepared, rebuilt)
        distances = [error.mean(dim=(1, 2)), self.differences(features, generated_features).mean(dim=1)]
        if (
            self.settings.distance == "l2"
        ):  # the norm, not its square; nothing is trained here, so gradients do not matter
            distances = [distance.sqrt() for distance in distances]
        parts = torch.stack([distances[0], nn.functional.softplus(-logit), distances[1]], dim=1)
        return error, rebuilt, parts

    def error(self, prepared: Tensor, rebuilt: Tensor) -> Tensor:
        """Return the map ``[N, h, w]`` of the errors of reconstructed pictures."""
        planes = self.smooth((prepared - rebuilt).flatten(0, 1)).view(-1, *prepared.shape[1:])
        error = self.differences(planes, planes.new_zeros(())).mean(dim=1)
        brightness = prepared.square().mean(dim=(1, 2, 3)).clamp_min(1e-6).sqrt() ** self.settings.brightness
        return error / brightness.view(-1, 1, 1)

    @torch.no_grad()
    def fit_usual(self, part: Part, device: torch.device) -> float:
        """Set the means of the scores over good parts. Scores are divided by these means.

        Returns:
            Mean difference of pixels.
        """
        self.eval()
        total, parts, seen = 0.0, torch.zeros(3, device=device), 0
        for batch in part.batches(BATCH):
            _, rebuilt, scores = self._judge(batch.to(device))
            total += float(self.differences(batch.to(device), rebuilt).mean()) * len(batch)
            parts += scores.sum(dim=0)
            seen += len(batch)
        self.get_buffer("usual").copy_((parts / seen).clamp_min(1e-6))
        return total / seen

    def leave_out_discriminator(self) -> None:
        """Remove the term of a collapsed discriminator from ``anomaly``. It has no information but would dominate the score."""
        self.get_buffer("usual")[1:] = math.inf


def fit(scorer: BiGAN, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Train the nets. The running mean of their weights is the scorer.

    Raises:
        TrainingError: a loss is not finite.
        DataError: fewer than two pictures, or pictures that are all the same.
    """
    if len(good.train) < 2:
        raise DataError(f"bigan needs at least 2 good parts to train on, got {len(good.train)}. Collect more.")
    trainer = BiganTrainer(scorer, good, settings, context)
    if context.resumed is not None:
        trainer.restore(context.resumed)
    while trainer.epoch < trainer.epochs:
        row = trainer.one_epoch()
        reason = trainer.collapse()
        restart = reason is not None and trainer.restarts < settings.restarts
        if restart:
            logger.warning("%s. Restarting with seed %d", reason, trainer.seed + 1)
            trainer.begin_again()
        elif reason is not None and not trainer.warned:
            logger.warning(
                "%s, after %d restarts. The scores use the reconstruction error alone", reason, trainer.restarts
            )
            trainer.warned = True
            scorer.leave_out_discriminator()
        context.epoch(scorer, row, trainer.state())
        context.progress("training", trainer.epoch, trainer.epochs)
    scorer.eval()


def sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    """Return new good parts ``[count, C, h, w]``, 0 to 1.

    Raises:
        ConfigError: the generator was not trained to generate.
    """
    if not settings.adversarial:
        raise ConfigError(
            "bigan with --adversarial 0 only reconstructs and cannot generate parts. Train with --adversarial above 0."
        )
    assert isinstance(scorer, BiGAN)
    device = scorer.get_buffer("usual").device
    codes = torch.randn(count, settings.latent, generator=generator, device=generator.device).to(device)
    with torch.no_grad():
        return torch.cat([scorer.outer(scorer.generator(some)) for some in torch.split(codes, BATCH)])


def depth_of(settings: Settings, spec: FrameSpec) -> int:
    """Return the number of halvings from the settings, or else from the shorter side.

    Raises:
        ConfigError: the picture is too small for this number of halvings.
    """
    shorter = min(spec.size)
    if settings.depth is not None and 2**settings.depth > shorter:
        raise ConfigError(
            f"--depth: expected at most {int(math.log2(shorter))} for pictures of {spec.size[0]} x {spec.size[1]}, got "
            f"{settings.depth}."
        )
    return settings.depth or min(max(int(math.log2(shorter)) - 2, 2), 5)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise expected_frames("bigan")
    if settings.loss == "hinge" and settings.smoothing:
        raise ConfigError("--smoothing needs --loss non_saturating. The hinge loss has no labels.")
    if not settings.adversarial and not settings.cycle:
        raise ConfigError("--adversarial 0 and --cycle 0 leave no loss to train with. Set one of them above 0.")
    if not settings.adversarial and settings.weight:
        raise ConfigError("--adversarial 0 does not train the discriminator, so it needs --weight 0.")
    size = size_seen(found, settings.size)
    spec = FrameSpec(channels=1 if found.channels == 1 else 3, size=size)
    depth_of(settings, spec)
    return spec


def _build(settings: Settings, spec: InputSpec) -> BiGAN:
    if not isinstance(spec, FrameSpec):
        raise expected_frames("bigan")
    if (spec.mean, spec.scale) != (0.0, 255.0):
        raise ConfigError(f"bigan: expected pictures in 0 to 1, got (grey level - {spec.mean:g}) / {spec.scale:g}.")
    return BiGAN(settings, spec)


def _score_rule(settings: Settings, _spec: InputSpec) -> ScoreRule:
    return ScoreRule(score="anomaly") if settings.weight else ScoreRule(map="error", pool="mean")


TINY = Settings(
    size=16, latent=8, maps=6, discriminator_maps=4, features=16, epochs=10, batch_size=8, learning_rate=0.01
)

RECIPE = Recipe(
    name="bigan",
    summary="small frames: reconstruction error of a bidirectional GAN, and its discriminator; generates new good parts",
    settings=Settings,
    tiny=TINY,
    variants={
        "reference": structs.replace(
            TINY, size=20, depth=2, reparameterised=True, output="tanh", initialisation="normal", spectral_norm=False,
            distance="l1", blur=0.0, brightness=0.0, schedule="constant", weight=0.2,
        ),
        "hinge": structs.replace(
            TINY, loss="hinge", dropout=0.0, noise=0.0, discriminator_score="features", weight=0.05,
        ),
        "autoencoder": structs.replace(TINY, adversarial=0.0, weight=0.0),
    },
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    score_rule=_score_rule,
    sample=sample,
)  # fmt: skip
