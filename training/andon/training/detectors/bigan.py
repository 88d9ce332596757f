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
smoothed, and smoothed and by brightness: digit 2 .847, .878, .945; digit 8 .819, .875, .935. Without the game
(`--adversarial 0`) .853, .895, .964; .799, .852, .928; shirts .810, .848, .833: the game neither helps nor spoils the
rebuilding much, and is what makes the samples. The discriminator's cross-entropy alone has .86 and .87 on the digits, a
tenth of it in the score adds .005 and .001; its features, of a spectrally normalised net, are below chance there.

GANs fall over. So: the discriminator's weights are spectrally normalised, its labels smoothed, its pictures noisy at first;
what scores is a running mean of the weights; and a generator that makes one picture only, or a discriminator that nothing
fools, is a collapse: it is said, and training begins again with the next seed.

Sources: Donahue et al., Adversarial feature learning (2017); Zenati et al., Efficient GAN-based anomaly detection (2018,
arXiv 1802.06222); Miyato et al., Spectral normalisation (2018). Figures: docs/results.md.
"""

import copy
import logging
import math
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from msgspec import Meta, Struct, structs
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.export.pooling import Smooth
from andon.runtime.errors import ConfigError, DataError, TrainingError
from andon.runtime.schema import FrameSpec, InputSpec, Reading
from andon.sources.items import Found, FoundFrames
from andon.training.fitting import LAST_RATE, moments, random_states, restore_moments, restore_random_states, under
from andon.training.recipe import Good, Part, Recipe, Run, State
from andon.training.small_frames import SIZE, size_seen
from andon.training.variational import drawn as drawn_from

logger = logging.getLogger(__name__)

SLOPE = 0.2
"""Of LeakyReLU, below zero."""
COLLAPSED_SPREAD = 0.05
"""Standard deviation of made pictures over that of good ones, below which the generator makes one picture only."""
UNFOOLED = 0.98
"""Share of pairs that a discriminator tells apart when nothing fools it any more."""
COLLAPSED_STEPS = 100
"""For so long a game may be lopsided: at first each is."""
STEPS = 700
"""Of a training, where no epochs are given."""
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


class Shape(NamedTuple):
    """Of what the nets see: pictures `height` x `width`, halved `depth` times on the way to a code."""

    channels: int
    height: int
    width: int
    depth: int

    @property
    def start(self) -> tuple[int, int]:
        """Height and width of the coarsest maps: whatever the size, doubling them `depth` times covers it."""
        return -(-self.height // 2**self.depth), -(-self.width // 2**self.depth)

    @property
    def cells(self) -> int:
        """Of a coarsest map."""
        return math.prod(self.start)

    def padding(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom: from the picture to what halves without a rest."""
        down, across = (start * 2**self.depth for start in self.start)
        top, left = (down - self.height) // 2, (across - self.width) // 2
        return left, across - self.width - left, top, down - self.height - top


class Encoder(nn.Module):
    """Pictures ``[N, C, h, w]`` to codes: mean and log-variance, each ``[N, latent]``; without the latter if not asked for."""

    def __init__(self, shape: Shape, maps: int, latent: int, *, spread: bool) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, maps)
        self.down = _halvings(widths, normalised=True)
        self.last = nn.Linear(widths[-1] * shape.cells, latent * (2 if spread else 1))
        self.latent = latent

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Both; the log-variance within bounds."""
        code = self.last(self.down(nn.functional.pad(picture, self.shape.padding())).flatten(1))
        if code.shape[1] == self.latent:
            return code, None
        return code[:, : self.latent], code[:, self.latent :].clamp(-10.0, 4.0)


class Made(nn.Module):
    """The generator: codes ``[N, latent]`` to pictures ``[N, C, h, w]``, exactly of the size asked for."""

    def __init__(self, shape: Shape, maps: int, latent: int, last: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, maps)[::-1]
        self.first = nn.Sequential(
            nn.Linear(latent, widths[0] * shape.cells, bias=False),
            nn.BatchNorm1d(widths[0] * shape.cells),
            nn.LeakyReLU(SLOPE),
        )
        steps: list[nn.Module] = []
        for wide, narrow in pairwise(widths[:-1]):
            steps += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.LeakyReLU(SLOPE),
            ]
        self.up = nn.Sequential(*steps, nn.ConvTranspose2d(widths[-2], widths[-1], 4, 2, 1), last)

    def forward(self, code: Tensor) -> Tensor:
        """The middle of what the doublings give."""
        whole: Tensor = self.up(self.first(code).unflatten(1, (-1, *self.shape.start)))
        left, _, top, _ = self.shape.padding()
        return whole[:, :, top : top + self.shape.height, left : left + self.shape.width]


class Discriminator(nn.Module):
    """Pictures and codes to features ``[N, features]`` and the logit ``[N]`` of the pair being a good picture's."""

    def __init__(self, shape: Shape, settings: Settings) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, settings.discriminator_maps)
        features, dropped = settings.features, nn.Dropout(settings.dropout)
        # no batch normalisation: pairs must not tell each other apart by the company they keep
        self.picture = _halvings(widths, normalised=False, dropout=settings.dropout)
        self.code = nn.Sequential(
            nn.Linear(settings.latent, features), nn.LeakyReLU(SLOPE), dropped,
            nn.Linear(features, features), nn.LeakyReLU(SLOPE), dropped,
        )  # fmt: skip
        self.joint = nn.Sequential(nn.Linear(widths[-1] * shape.cells + features, features), nn.LeakyReLU(SLOPE))
        self.last = nn.Linear(features, 1)
        self.dropped = dropped

    def forward(self, picture: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        seen = self.picture(nn.functional.pad(picture, self.shape.padding())).flatten(1)
        features = self.joint(torch.cat([seen, self.code(code)], dim=1))
        return features, self.last(self.dropped(features)).squeeze(1)


class BiGAN(Scorer):
    """``[N, C, h, w]`` in 0 to 1 to the map ``error`` and the scores of both nets; weights are running means."""

    def __init__(self, settings: Settings, spec: FrameSpec) -> None:
        super().__init__()
        self.settings = settings
        shape = Shape(spec.channels, *spec.size, depth_of(settings, spec))
        last: nn.Module = nn.Tanh() if settings.output == "tanh" else nn.Sigmoid()
        self.encoder = Encoder(shape, settings.maps, settings.latent, spread=settings.reparameterised)
        self.generator = Made(shape, settings.maps, settings.latent, last)
        self.discriminator = Discriminator(shape, settings)
        self.smooth = Smooth(settings.blur) if settings.blur else nn.Identity()
        # means over good parts
        self.register_buffer("usual", torch.ones(3))
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            _initialise(module, self.settings.initialisation)
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
        scores = {
            "anomaly": (1 - weight) * usual[:, 0] + weight * judged,
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
    def learn_usual(self, part: Part, device: torch.device) -> float:
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
        """One that has collapsed has no say in ``anomaly``: it would outshout what is rebuilt, and know nothing."""
        self.get_buffer("usual")[1:] = math.inf


def fit(scorer: BiGAN, good: Good, settings: Settings, run: Run) -> None:
    """Let the nets play; the running mean of their weights is the scorer.

    Raises:
        TrainingError: a loss is not finite.
        DataError: not even two pictures to learn from, or all the same.
    """
    if len(good.train) < 2:
        raise DataError(f"bigan needs at least 2 good parts to learn from, got {len(good.train)}.")
    game = Game(scorer, good, settings, run)
    if run.resumed is not None:
        game.restore(run.resumed)
    while game.epoch < game.epochs:
        row = game.one_epoch()
        why = game.collapse()
        again = why is not None and game.restarts < settings.restarts
        if again:
            logger.warning("%s: beginning again with seed %d", why, game.seed + 1)
            game.begin_again()
        elif why is not None and not game.warned:
            logger.warning("%s, and %d restarts are used up: the scores rest on rebuilding alone", why, game.restarts)
            game.warned = True
            scorer.leave_out_discriminator()
        run.epoch(scorer, row, game.state())
        run.progress("training", game.epoch, game.epochs)
    scorer.eval()


class Game:
    """A fit between two epochs: three nets that play, and the scorer that holds the running means of their weights."""

    def __init__(self, scorer: BiGAN, good: Good, settings: Settings, run: Run) -> None:
        self.scorer, self.good, self.settings, self.device = scorer, good, settings, run.device
        self.shuffle = Generator().manual_seed(run.seed)
        self.seed, self.restarts, self.warned = run.seed, 0, False
        some = good.train.take(range(min(len(good.train), 1024)))
        self.good_spread = float(some.std(dim=0).mean())
        if not self.good_spread:
            raise DataError(
                f"the {len(some)} good pictures looked at are all the same, pixel by pixel: bigan learns how good parts differ. "
                "Give pictures of different parts."
            )
        self.steps_an_epoch = max(1, len(good.train) // settings.batch_size)
        self.epochs = settings.epochs or math.ceil(STEPS / self.steps_an_epoch)
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self.nets = copy.deepcopy(self.scorer)
        if settings.spectral_norm:  # after the weights were drawn
            for module in list(self.nets.discriminator.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.utils.parametrizations.spectral_norm(module)
        self.optimizers = {
            name: torch.optim.Adam(net.parameters(), lr=rate, betas=(settings.momentum, 0.999), fused=True)
            for name, net, rate in (
                ("encoder", self.nets.encoder, settings.learning_rate),
                ("generator", self.nets.generator, settings.learning_rate),
                ("discriminator", self.nets.discriminator, settings.discriminator_rate),
            )
        }
        self.epoch, self.step = 0, 0
        self.unfooled, self.alike = 0, False

    def begin_again(self) -> None:
        """With the next seed, and nothing learnt."""
        self.restarts += 1
        self.seed += 1
        torch.manual_seed(self.seed)
        self.scorer.initialise()
        self._begin()

    def collapse(self) -> str | None:
        """Why the game has ended before its time, if it has."""
        if not self.settings.adversarial:
            return None
        if self.alike and self.step >= COLLAPSED_STEPS:
            return f"collapsed in epoch {self.epoch}: the generator makes one picture only"
        if self.unfooled >= COLLAPSED_STEPS:
            return f"collapsed in epoch {self.epoch}: nothing has fooled the discriminator for {self.unfooled} steps"
        return None

    def one_epoch(self) -> dict[str, float]:
        """Play through the training part once: a row of the history."""
        begun_s = time.perf_counter()
        self.nets.train()
        sums: dict[str, float] = {}
        seen = 0
        for batch in self._batches():
            picture = batch.to(self.device)
            for name, value in self._one_step(picture).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch)
            seen += len(batch)
        taken_s = time.perf_counter() - begun_s
        self.epoch += 1
        means = {name: total / seen for name, total in sums.items()}
        self.alike = means["spread"] < COLLAPSED_SPREAD
        self.unfooled = self.unfooled + self.steps_an_epoch if means["accuracy"] > UNFOOLED else 0
        row = {"epoch": float(self.epoch), "train": means["error"]}
        held_out = self.good.validation if len(self.good.validation) else self.good.train
        error = self.scorer.learn_usual(held_out, self.device)
        if self.warned:
            self.scorer.leave_out_discriminator()
        if len(self.good.validation):
            row["validation"] = error
        self._check(error, "validation error")
        if self.settings.adversarial:
            row |= {f"{name}_loss": means[name] for name in ("discriminator", "generator", "encoder")}
            row |= {"discriminator_accuracy": means["accuracy"], "generated_spread": means["spread"]}
        if self.restarts:
            row["restarts"] = float(self.restarts)
        return row | {
            "learning_rate": float(self.optimizers["generator"].param_groups[0]["lr"]),
            "seconds": time.perf_counter() - begun_s,
            "parts_per_s": seen / max(taken_s, 1e-9),
        }

    def _batches(self) -> Iterator[Tensor]:
        """Whole ones: what is left over after the last differs by epoch, and batch normalisation wants company."""
        order = torch.randperm(len(self.good.train), generator=self.shuffle)
        size = min(self.settings.batch_size, len(order))
        for places in torch.split(order[: len(order) // size * size], size):
            yield self.good.train.take(places.tolist())

    def _one_step(self, prepared: Tensor) -> Mapping[str, float]:
        nets, settings = self.nets, self.settings
        self._steer()
        picture = nets.inner(prepared)
        mean, log_variance = nets.encoder(picture)
        code = mean if log_variance is None else drawn_from(mean, log_variance)
        drawn = torch.randn_like(mean)
        if settings.adversarial:
            # in one batch: batch normalisation must see both kinds of codes alike, in training and when judging
            again, made = nets.generator(torch.cat([code, drawn])).chunk(2)
        else:
            again = made = nets.generator(code)
        error = nets.differences(prepared, nets.outer(again)).mean()
        told = {"error": error, "spread": nets.outer(made.detach()).std(dim=0).mean() / self.good_spread}
        goal = settings.cycle * error
        if settings.adversarial:
            told |= self._discriminate(picture, code.detach(), made.detach(), drawn)
            nets.discriminator.requires_grad_(False)
            good, fake = self._logits(picture, code, made, drawn)
            nets.discriminator.requires_grad_(True)
            told |= fooling(good, fake, settings.loss)
            goal = goal + settings.adversarial * (told["generator"] + told["encoder"])
        else:
            told["accuracy"] = torch.zeros(())
        values = {name: float(value.detach()) for name, value in told.items()}
        self._check(sum(values.values()), "loss")
        self._descend(goal, "encoder", "generator")
        self.step += 1
        self._average()
        return values

    def _discriminate(self, picture: Tensor, code: Tensor, made: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """A step of the discriminator; the other nets learn nothing of it."""
        good, fake = self._logits(picture, code, made, drawn)
        if self.settings.loss == "hinge":
            loss = nn.functional.relu(1 - good).mean() + nn.functional.relu(1 + fake).mean()
        else:
            label = 1 - self.settings.smoothed * torch.rand_like(good)
            loss = nn.functional.binary_cross_entropy_with_logits(good, label) + nn.functional.softplus(fake).mean()
        self._descend(loss, "discriminator")
        right = (good > 0).float().mean() + (fake < 0).float().mean()
        return {"discriminator": loss, "accuracy": right / 2}

    def _logits(self, picture: Tensor, code: Tensor, made: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Of good pairs and of made ones, through the noise of the hour."""
        pictures = torch.cat([picture, made])
        share = self.settings.noise * max(0.0, 1 - self.step / (self.epochs * self.steps_an_epoch))
        if share:
            span = 2.0 if self.settings.output == "tanh" else 1.0
            pictures = pictures + span * share * torch.randn_like(pictures)
        _, logits = self.nets.discriminator(pictures, torch.cat([code, drawn]))
        return logits[: len(picture)], logits[len(picture) :]

    def _descend(self, loss: Tensor, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for name in names:
            self.optimizers[name].step()

    def _steer(self) -> None:
        if self.settings.schedule == "constant":
            return
        falls = 0.5 * (1 + math.cos(math.pi * self.step / (self.epochs * self.steps_an_epoch)))
        for name, optimizer in self.optimizers.items():
            whole = self.settings.discriminator_rate if name == "discriminator" else self.settings.learning_rate
            for group in optimizer.param_groups:
                group["lr"] = whole * (LAST_RATE + (1 - LAST_RATE) * falls)

    @torch.no_grad()
    def _average(self) -> None:
        """The scorer's weights go a little of the way to those of the nets, as these act: spectrally normalised."""
        self.nets.discriminator.eval()  # else reading a normalised weight would change its estimate
        stays = min(
            self.settings.averaging, self.step / (self.step + 9)
        )  # a short past at first: it was drawn at random
        for name, kept in self.scorer.state_dict().items():
            owner, _, last = name.rpartition(".")
            acting: Tensor = getattr(self.nets.get_submodule(owner), last)
            if name != "usual":
                kept.lerp_(acting, 1 - stays) if kept.is_floating_point() else kept.copy_(acting)
        self.nets.discriminator.train()

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}: training diverged. Lower --learning-rate (now "
                f"{self.settings.learning_rate:g}) and --discriminator-rate (now {self.settings.discriminator_rate:g}) tenfold."
            )

    def state(self) -> State:
        """All that is needed to go on from here, beside the scorer."""
        tensors = {f"nets.{name}": tensor for name, tensor in self.nets.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            tensors |= {f"optimizer.{name}.{key}": tensor for key, tensor in moments(optimizer).items()}
        tensors |= {f"random.{name}": tensor for name, tensor in random_states(self.shuffle, self.device).items()}
        return State(
            tensors=tensors,
            scalars={
                "epoch": self.epoch,
                "step": self.step,
                "seed": self.seed,
                "restarts": self.restarts,
                "warned": self.warned,
                "unfooled": self.unfooled,
            },
        )

    def restore(self, state: State) -> None:
        """Go on from there."""
        self.nets.load_state_dict(under("nets.", state.tensors))
        for name, optimizer in self.optimizers.items():
            restore_moments(optimizer, under(f"optimizer.{name}.", state.tensors))
        scalars = state.scalars
        self.epoch, self.step, self.unfooled = scalars["epoch"], scalars["step"], scalars["unfooled"]
        self.seed, self.restarts, self.warned = scalars["seed"], scalars["restarts"], scalars["warned"]
        restore_random_states(under("random.", state.tensors), self.shuffle, self.device)


def fooling(good: Tensor, fake: Tensor, loss: str) -> dict[str, Tensor]:
    """What encoder and generator play for: each wants its own pairs taken for the other's."""
    if loss == "hinge":
        return {"generator": -fake.mean(), "encoder": good.mean()}
    return {"generator": nn.functional.softplus(-fake).mean(), "encoder": nn.functional.softplus(good).mean()}


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


def _widths(shape: Shape, maps: int) -> list[int]:
    """Channels from the picture to the coarsest maps."""
    return [shape.channels, *(maps * 2**halving for halving in range(shape.depth))]


def _halvings(widths: list[int], *, normalised: bool, dropout: float = 0.0) -> nn.Sequential:
    steps: list[nn.Module] = []
    for place, (narrow, wide) in enumerate(pairwise(widths)):
        norm = normalised and place > 0  # the first layer must see how bright a picture is
        steps.append(nn.Conv2d(narrow, wide, 4, 2, 1, bias=not norm))
        steps += [nn.BatchNorm2d(wide)] if norm else []
        steps.append(nn.LeakyReLU(SLOPE))
        steps += [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(*steps)


def _initialise(module: nn.Module, how: str) -> None:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.reset_parameters()
        if how == "normal":
            nn.init.normal_(module.weight, 1.0, 0.02)
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return
    if isinstance(module, nn.Linear):
        seen = float(module.in_features)
    else:
        seen = float(module.in_channels * math.prod(module.kernel_size))
        if isinstance(module, nn.ConvTranspose2d):  # each value of the picture is reached by a part of the kernel
            seen /= math.prod(module.stride)
    nn.init.normal_(module.weight, 0.0, 0.02 if how == "normal" else math.sqrt(2 / (1 + SLOPE**2) / seen))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


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


def _reading(settings: Settings) -> Reading:
    return Reading(score="anomaly") if settings.weight else Reading(map="error", pool="mean")


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
    reading=_reading,
    sample=sample,
)  # fmt: skip
