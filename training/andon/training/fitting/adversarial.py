"""Train a bidirectional GAN, epoch by epoch: its losses, what keeps the nets in balance, and when training has collapsed.

Sources: Donahue et al., Adversarial feature learning (2017); Miyato et al., Spectral normalisation (2018).
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

import torch
from torch import Generator, Tensor, nn

from andon.export.evidence import Scorer
from andon.foundation.errors import DataError, TrainingError
from andon.training.fitting.gradient_descent import (
    LAST_RATE,
    moments,
    random_states,
    restore_moments,
    restore_random_states,
    under,
)
from andon.training.nets.adversarial import Discriminator, Encoder, GeneratorNet, Shape
from andon.training.nets.variational import drawn as drawn_from
from andon.training.recipe.recipe import FitContext, Part, State, TrainingData

COLLAPSED_SPREAD = 0.05
"""Standard deviation of generated pictures over that of good ones, below which the generator gives one picture only."""
UNFOOLED = 0.98
"""Accuracy of the discriminator above which the other nets do not fool it any more."""
COLLAPSED_STEPS = 100
"""Steps before a training counts as collapsed: at first each is out of balance."""
STEPS = 700
"""Of a training, where no epochs are given."""
MOST_LOOKED_AT, MOST_BYTES = 1024, 256_000_000
"""Good pictures, and their bytes, that tell how much good parts differ."""


class BiganSettings(Protocol):
    """Settings that `BiganTrainer` needs."""

    @property
    def batch_size(self) -> int:
        """Pictures a step."""

    @property
    def epochs(self) -> int | None:
        """Passes over the training part; None: as many as make `STEPS`."""

    @property
    def spectral_norm(self) -> bool:
        """Bound the slope of each layer of the discriminator."""

    @property
    def learning_rate(self) -> float:
        """Of encoder and generator, at the start."""

    @property
    def discriminator_rate(self) -> float:
        """Of the discriminator, at the start."""

    @property
    def momentum(self) -> float:
        """Of Adam (beta 1)."""

    @property
    def schedule(self) -> Literal["cosine", "constant"]:
        """Of both rates."""

    @property
    def averaging(self) -> float:
        """How much of the running mean of the weights stays in a step."""

    @property
    def adversarial(self) -> float:
        """Weight of fooling the discriminator; 0: no discriminator is trained."""

    @property
    def cycle(self) -> float:
        """Weight of rebuilding good pictures."""

    @property
    def loss(self) -> Literal["non_saturating", "hinge"]:
        """The adversarial loss."""

    @property
    def smoothed(self) -> float:
        """How far labels of good pictures may lie below 1."""

    @property
    def noise(self) -> float:
        """Of what the discriminator sees at the start, in shares of the grey levels."""

    @property
    def output(self) -> Literal["sigmoid", "tanh"]:
        """Range of the pictures within the nets."""


class BiganNets(Scorer):
    """A scorer of three nets. Its weights are running means of those in training; its buffer ``usual`` is not trained."""

    encoder: Encoder
    generator: GeneratorNet
    discriminator: Discriminator

    def initialise(self) -> None:
        """Draw all weights anew."""
        raise NotImplementedError

    def inner(self, prepared: Tensor) -> Tensor:
        """Pictures in the range of the generator's output."""
        raise NotImplementedError

    def outer(self, inner: Tensor) -> Tensor:
        """Pictures in 0 to 1."""
        raise NotImplementedError

    def differences(self, one: Tensor, other: Tensor) -> Tensor:
        """Of pictures, pixel by pixel."""
        raise NotImplementedError

    def fit_usual(self, part: Part, device: torch.device) -> float:
        """Means of the scores over good parts, which they are divided by; gives the mean difference of pixels."""
        raise NotImplementedError

    def leave_out_discriminator(self) -> None:
        """Take a collapsed discriminator out of the score."""
        raise NotImplementedError


class BiganTrainer:
    """A fit between two epochs: three nets in training, and the scorer that holds the running means of their weights."""

    def __init__(self, scorer: BiganNets, good: TrainingData, settings: BiganSettings, context: FitContext) -> None:
        self.scorer, self.good, self.settings, self.device = scorer, good, settings, context.device
        self.shuffle = Generator().manual_seed(context.seed)
        self.seed, self.restarts, self.warned = context.seed, 0, False
        some = good.train.take(range(_looked_at(len(good.train), scorer.encoder.shape)))
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
        """Restart with the next seed and new weights."""
        self.restarts += 1
        self.seed += 1
        torch.manual_seed(self.seed)
        self.scorer.initialise()
        self._begin()

    def collapse(self) -> str | None:
        """Return why training has collapsed; None where it has not."""
        if not self.settings.adversarial:
            return None
        if self.alike and self.step >= COLLAPSED_STEPS:
            return f"collapsed in epoch {self.epoch}: the generator makes one picture only"
        if self.unfooled >= COLLAPSED_STEPS:
            return f"collapsed in epoch {self.epoch}: nothing has fooled the discriminator for {self.unfooled} steps"
        return None

    def one_epoch(self) -> dict[str, float]:
        """Train on each good part once; return a row of the history."""
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
        error = self.scorer.fit_usual(held_out, self.device)
        if self.warned:
            self.scorer.leave_out_discriminator()
        if len(self.good.validation):
            row["validation"] = error
        self._check(error, "validation error", self.epoch)
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
        """Whole batches only: the rest differs by epoch, and batch normalisation needs several pictures."""
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
        self._check(sum(values.values()), "loss", self.epoch + 1)
        self._descend(goal, "encoder", "generator")
        self.step += 1
        self._average()
        return values

    def _discriminate(self, picture: Tensor, code: Tensor, made: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """Train the discriminator for a step; the other nets get no gradient."""
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
        """Logits of good and of generated pairs, with the present noise."""
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
        )  # a short memory at first: the first weights are random
        for name, kept in self.scorer.state_dict().items():
            owner, _, last = name.rpartition(".")
            acting: Tensor = getattr(self.nets.get_submodule(owner), last)
            if name != "usual":
                kept.lerp_(acting, 1 - stays) if kept.is_floating_point() else kept.copy_(acting)
        self.nets.discriminator.train()

    def _check(self, value: float, what: str, epoch: int) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} in epoch {epoch}: training diverged. Lower --learning-rate (now "
                f"{self.settings.learning_rate:g}) and --discriminator-rate (now {self.settings.discriminator_rate:g}) tenfold."
            )

    def state(self) -> State:
        """Return all that is needed to continue from here, except the scorer."""
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
        """Continue from such a state."""
        self.nets.load_state_dict(under("nets.", state.tensors))
        for name, optimizer in self.optimizers.items():
            restore_moments(optimizer, under(f"optimizer.{name}.", state.tensors))
        scalars = state.scalars
        self.epoch, self.step, self.unfooled = scalars["epoch"], scalars["step"], scalars["unfooled"]
        self.seed, self.restarts, self.warned = scalars["seed"], scalars["restarts"], scalars["warned"]
        restore_random_states(under("random.", state.tensors), self.shuffle, self.device)


def _looked_at(count: int, shape: Shape) -> int:
    """As many as are asked for and fit into memory, at least two where there are so many."""
    fit = MOST_BYTES // (4 * shape.channels * shape.height * shape.width)
    return min(count, MOST_LOOKED_AT, max(2, fit))


def fooling(good: Tensor, fake: Tensor, loss: str) -> dict[str, Tensor]:
    """Return the losses of encoder and generator: each wants its own pairs taken for the other's."""
    if loss == "hinge":
        return {"generator": -fake.mean(), "encoder": good.mean()}
    return {"generator": nn.functional.softplus(-fake).mean(), "encoder": nn.functional.softplus(good).mean()}
