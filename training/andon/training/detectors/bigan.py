"""A bidirectional GAN: what its generator cannot rebuild from the encoder's code, or its discriminator does not believe.

An encoder turns a good picture into a code, a generator turns codes drawn from a normal distribution into pictures, and a
discriminator tries to tell the pairs (picture, its code) and (made picture, drawn code) apart; a cycle term ties the two
nets, without which a picture comes back as another good one. Works where good parts are small pictures of one kind: digits,
clothes, centred parts. It makes new good parts too (`andon sample`). Does not where the defect is finer than what a GAN of
this size can draw: see `patchcore`.

The score is ``(1 - w) ||x - G(E(x))|| + w L_D``; L_D is either the cross-entropy of D(x, E(x)) to "real", or the distance of
the discriminator's features of (x, E(x)) and (G(E(x)), E(x)). Each part is divided by its mean over good validation parts,
so that w is a share, whatever the size of the pictures. All parts leave the file: ``score_error``, ``score_cross_entropy``,
``score_features``. Two things are added to the paper's distance, and can be switched off: the difference is smoothed a little
(`--blur`: a line that is rebuilt beside its place is not missing; 0 where defects are single pixels), and it is divided by
the picture's brightness (`--brightness`: otherwise a thin digit scores less than a thick one, whichever it is).

Chosen with the digits 2 and 8 and the shirts (6) of Fashion-MNIST, one at a time: AUROC of held-out good training pictures
against training pictures of the other classes, seed 0, 8 epochs; no test picture was looked at. The distance as it is,
smoothed, and smoothed and by brightness: digit 2 .847, .878, .945; digit 8 .819, .875, .935. Without a discriminator
(`--adversarial 0`) .853, .895, .964; .799, .852, .928; shirts .810, .848, .833: the discriminator neither helps nor spoils the
rebuilding much, and is what makes the samples. The discriminator's cross-entropy alone has .86 and .87 on the digits, a
tenth of it in the score adds .005 and .001; its features, of a spectrally normalised net, are below chance there.

GANs fall over. So: the discriminator's weights are spectrally normalised, its labels smoothed, its pictures noisy at first;
what scores is a running mean of the weights; and a generator that makes one picture only, or a discriminator that nothing
fools, is a collapse: it is said, and training begins again with the next seed.

Sources: Donahue et al., Adversarial feature learning (2017); Zenati et al., Efficient GAN-based anomaly detection (2018,
arXiv 1802.06222); Miyato et al., Spectral normalisation (2018). Figures: docs/results.md.
"""

import logging
import math
from typing import Annotated, Literal

import torch
from msgspec import Meta, Struct, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence
from andon.export.pooling import Smooth
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule
from andon.sources.collection import Found, FoundFrames
from andon.training.fitting.adversarial import BiganNets, BiganTrainer
from andon.training.nets.adversarial import Discriminator, Encoder, GeneratorNet, Shape, initialise
from andon.training.recipe.recipe import FitContext, Part, Recipe, TrainingData
from andon.training.recipe.small_frames import SIZE, size_seen

logger = logging.getLogger(__name__)

BATCH = 256


class Settings(Struct, frozen=True, kw_only=True):
    """Of `bigan`."""

    size: Annotated[Annotated[int, Meta(ge=8, le=512)] | None, SIZE] = None
    latent: Annotated[int, Meta(ge=1, description="numbers of a code")] = 12
    depth: Annotated[
        Annotated[int, Meta(ge=1, le=7)] | None,
        Meta(
            description="halvings of the picture in each net; where not given log2 of its shorter side less 2, 2 to 5"
        ),
    ] = None
    maps: Annotated[
        int,
        Meta(
            ge=1,
            description="feature maps after the first halving in encoder and generator; doubled by each further one",
        ),
    ] = 16
    discriminator_maps: Annotated[int, Meta(ge=1, description="the same in the discriminator")] = 16
    features: Annotated[
        int, Meta(ge=1, description="width of the discriminator's layers that see picture and code")
    ] = 128
    dropout: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="share of the discriminator's maps left out in training")
    ] = 0.2
    reparameterised: Annotated[
        bool, Meta(description="draw codes around the encoder's mean in training; when judging it is always the mean")
    ] = False
    output: Annotated[
        Literal["sigmoid", "tanh"],
        Meta(description="the generator's last step; for tanh pictures are scaled to -1 to 1 within the nets"),
    ] = "sigmoid"
    initialisation: Annotated[
        Literal["he", "normal"],
        Meta(
            description="of weights; he: so that signals keep their size; normal: standard deviation .02, as GANs used to"
        ),
    ] = "he"
    spectral_norm: Annotated[bool, Meta(description="bound the slope of each layer of the discriminator")] = True
    loss: Annotated[Literal["non_saturating", "hinge"], Meta(description="what the nets play for")] = "non_saturating"
    smoothing: Annotated[
        Annotated[float, Meta(ge=0.0, lt=0.5)] | None,
        Meta(
            description="labels of good pictures are drawn from 1 less this to 1; where not given .1, with hinge none"
        ),
    ] = None
    noise: Annotated[
        float,
        Meta(
            ge=0.0,
            description="standard deviation of noise on what the discriminator sees at the start, in shares of the grey "
            "levels; falls to 0 over the epochs",
        ),
    ] = 0.1
    adversarial: Annotated[
        float,
        Meta(ge=0.0, description="weight of fooling the discriminator; 0 leaves an autoencoder that makes nothing"),
    ] = 1.0
    cycle: Annotated[
        float, Meta(ge=0.0, description="weight of rebuilding good pictures: of the mean difference of pixels")
    ] = 50.0
    distance: Annotated[
        Literal["l1", "l2"], Meta(description="of pictures, and of features: absolute or squared differences")
    ] = "l2"
    blur: Annotated[
        float,
        Meta(
            ge=0.0,
            description="standard deviation of the Gaussian that smooths a picture's difference before it is measured: a "
            "line rebuilt a little aside counts less; 0: as it is",
            extra={"unit": "px"},
        ),
    ] = 0.7
    brightness: Annotated[
        float,
        Meta(
            ge=0.0,
            le=2.0,
            description="the map is divided by the root mean square of the picture to this power: where there is more to "
            "see, more is rebuilt wrongly; 0: not divided",
        ),
    ] = 1.0
    discriminator_score: Annotated[
        Literal["features", "cross_entropy"], Meta(description="the discriminator's part of the score")
    ] = "cross_entropy"
    weight: Annotated[
        float, Meta(ge=0.0, le=1.0, description="of that part in the score; 0: only what cannot be rebuilt")
    ] = 0.1
    epochs: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="passes over the training part; where not given as many as make 700 steps",
            extra={"unit": "epochs"},
        ),
    ] = None
    batch_size: Annotated[int, Meta(ge=2, description="pictures a step", extra={"unit": "pictures"})] = 64
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam for encoder and generator, at the start")] = 1e-3
    discriminator_rate: Annotated[float, Meta(gt=0.0, description="of Adam for the discriminator, at the start")] = 2e-4
    momentum: Annotated[float, Meta(ge=0.0, lt=1.0, description="of Adam (beta 1)")] = 0.5
    schedule: Annotated[
        Literal["cosine", "constant"], Meta(description="cosine: learning rates fall to a hundredth over all epochs")
    ] = "cosine"
    averaging: Annotated[
        float,
        Meta(
            ge=0.0, lt=1.0, description="what scores is a running mean of the weights: how much of it stays in a step"
        ),
    ] = 0.999
    restarts: Annotated[
        int, Meta(ge=0, description="how often training may begin again, with the next seed, when it has collapsed")
    ] = 2

    @property
    def smoothed(self) -> float:
        """How far labels of good pictures may lie below 1."""
        return (0.1 if self.loss == "non_saturating" else 0.0) if self.smoothing is None else self.smoothing


class BiGAN(BiganNets):
    """``[N, C, h, w]`` in 0 to 1 to the map ``error`` and the scores of both nets; weights are running means."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        self.settings = settings
        shape = Shape(spec.channels, *spec.size, depth_of(settings, spec))
        last: nn.Module = nn.Tanh() if settings.output == "tanh" else nn.Sigmoid()
        self.encoder = Encoder(shape, settings.maps, settings.latent, spread=settings.reparameterised)
        self.generator = GeneratorNet(shape, settings.maps, settings.latent, last)
        self.discriminator = Discriminator(
            shape, settings.discriminator_maps, settings.latent, features=settings.features, dropout=settings.dropout
        )
        self.smooth = Smooth(settings.blur) if settings.blur else nn.Identity()
        # means over good parts
        self.register_buffer("usual", torch.ones(3))
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            initialise(module, self.settings.initialisation)
        self.get_buffer("usual").fill_(1.0)

    def inner(self, prepared: Tensor) -> Tensor:
        """Pictures in the range of the generator's output."""
        return 2 * prepared - 1 if self.settings.output == "tanh" else prepared

    def outer(self, inner: Tensor) -> Tensor:
        """Pictures in 0 to 1."""
        return (inner + 1) / 2 if self.settings.output == "tanh" else inner

    def differences(self, one: Tensor, other: Tensor) -> Tensor:
        """Absolute or squared, as the settings say."""
        return (one - other).abs() if self.settings.distance == "l1" else (one - other) ** 2

    def forward(self, prepared: Tensor) -> Evidence:
        """``error``: differences to what is rebuilt, smoothed, mean over channels, by the picture's brightness; each of the
        scores in its own unit, but for ``anomaly``, of which a usual good part has 1."""
        error, rebuilt, parts = self._judge(prepared)
        usual = parts / self.get_buffer("usual")
        judged = usual[:, 1 if self.settings.discriminator_score == "cross_entropy" else 2]
        weight = self.settings.weight
        both = (1 - weight) * usual[:, 0] + weight * judged
        scores = {
            # a discriminator that was left out has an infinite mean
            "anomaly": torch.where(self.get_buffer("usual")[1].isinf(), usual[:, 0], both),
            "cross_entropy": parts[:, 1],
            "features": parts[:, 2],
        }
        return Evidence({"error": error}, scores, {"reconstruction": rebuilt})

    def _judge(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The map, what is rebuilt, and ``[N, 3]``: distance of pictures, cross-entropy, distance of features."""
        picture = self.inner(prepared)
        code, _ = self.encoder(picture)
        again = self.generator(code)
        features, logit = self.discriminator(picture, code)
        features_again, _ = self.discriminator(again, code)
        rebuilt = self.outer(again)
        error = self.error(prepared, rebuilt)
        distances = [error.mean(dim=(1, 2)), self.differences(features, features_again).mean(dim=1)]
        if self.settings.distance == "l2":  # the norm, not its square; differentiable nowhere, but nothing learns here
            distances = [distance.sqrt() for distance in distances]
        parts = torch.stack([distances[0], nn.functional.softplus(-logit), distances[1]], dim=1)
        return error, rebuilt, parts

    def error(self, prepared: Tensor, rebuilt: Tensor) -> Tensor:
        """The map ``[N, h, w]`` of pictures and what is rebuilt of them."""
        planes = self.smooth((prepared - rebuilt).flatten(0, 1)).view(-1, *prepared.shape[1:])
        error = self.differences(planes, planes.new_zeros(())).mean(dim=1)
        brightness = prepared.square().mean(dim=(1, 2, 3)).clamp_min(1e-6).sqrt() ** self.settings.brightness
        return error / brightness.view(-1, 1, 1)

    @torch.no_grad()
    def fit_usual(self, part: Part, device: torch.device) -> float:
        """Means of the scores over good parts, which they are divided by.

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
        """Take a collapsed discriminator out of ``anomaly``: it would outweigh what is rebuilt, and knows nothing."""
        self.get_buffer("usual")[1:] = math.inf


def fit(scorer: BiGAN, good: TrainingData, settings: Settings, context: FitContext) -> None:
    """Train the nets; the running mean of their weights is the scorer.

    Raises:
        TrainingError: a loss is not finite.
        DataError: not even two pictures to learn from, or all the same.
    """
    if len(good.train) < 2:
        raise DataError(f"bigan needs at least 2 good parts to learn from, got {len(good.train)}.")
    trainer = BiganTrainer(scorer, good, settings, context)
    if context.resumed is not None:
        trainer.restore(context.resumed)
    while trainer.epoch < trainer.epochs:
        row = trainer.one_epoch()
        why = trainer.collapse()
        again = why is not None and trainer.restarts < settings.restarts
        if again:
            logger.warning("%s: beginning again with seed %d", why, trainer.seed + 1)
            trainer.begin_again()
        elif why is not None and not trainer.warned:
            logger.warning(
                "%s, and %d restarts are used up: the scores rest on rebuilding alone", why, trainer.restarts
            )
            trainer.warned = True
            scorer.leave_out_discriminator()
        context.epoch(scorer, row, trainer.state())
        context.progress("training", trainer.epoch, trainer.epochs)
    scorer.eval()


def sample(scorer: nn.Module, settings: Settings, count: int, generator: Generator) -> Tensor:
    """New good parts ``[count, C, h, w]``, 0 to 1.

    Raises:
        ConfigError: the generator never had to make any.
    """
    if not settings.adversarial:
        raise ConfigError(
            "with --adversarial 0 the generator only learnt to rebuild: there is nothing to draw codes from."
        )
    assert isinstance(scorer, BiGAN)
    device = scorer.get_buffer("usual").device
    codes = torch.randn(count, settings.latent, generator=generator, device=generator.device).to(device)
    with torch.no_grad():
        return torch.cat([scorer.outer(scorer.generator(some)) for some in torch.split(codes, BATCH)])


def depth_of(settings: Settings, spec: FrameSpec) -> int:
    """Halvings: as the settings say, else by the shorter side.

    Raises:
        ConfigError: more than the picture has.
    """
    shorter = min(spec.size)
    if settings.depth is not None and 2**settings.depth > shorter:
        raise ConfigError(
            f"--depth {settings.depth} halves pictures of {spec.size[0]} x {spec.size[1]} to nothing: at most "
            f"{int(math.log2(shorter))}."
        )
    return settings.depth or min(max(int(math.log2(shorter)) - 2, 2), 5)


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("bigan judges frames.")
    if settings.loss == "hinge" and settings.smoothing:
        raise ConfigError("--smoothing needs --loss non_saturating: with hinge there are no labels.")
    if not settings.adversarial and not settings.cycle:
        raise ConfigError("--adversarial 0 and --cycle 0 leave nothing to learn: give one of them.")
    if not settings.adversarial and settings.weight:
        raise ConfigError("--adversarial 0 teaches the discriminator nothing: it needs --weight 0.")
    size = size_seen(found, settings.size)
    spec = FrameSpec(channels=1 if found.channels == 1 else 3, size=size)
    depth_of(settings, spec)
    return spec


def _build(settings: Settings, spec: InputSpec) -> BiGAN:
    if not isinstance(spec, FrameSpec):
        raise DataError("bigan judges frames.")
    if (spec.mean, spec.scale) != (0.0, 255.0):
        raise ConfigError(f"bigan wants pictures in 0 to 1, got (grey level - {spec.mean:g}) / {spec.scale:g}.")
    return BiGAN(settings, spec)


def _score_rule(settings: Settings) -> ScoreRule:
    return ScoreRule(score="anomaly") if settings.weight else ScoreRule(map="error", pool="mean")


TINY = Settings(
    size=16, latent=8, maps=6, discriminator_maps=4, features=16, epochs=10, batch_size=8, learning_rate=0.01
)

RECIPE = Recipe(
    name="bigan",
    summary="small frames, by what a bidirectional GAN cannot rebuild or does not believe; makes new good ones",
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
