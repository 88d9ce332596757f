"""Train a bidirectional GAN epoch by epoch: losses, measures that keep the nets in balance, and detection of a collapse.

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
"""Collapse limit: ratio of the standard deviations of generated and good pictures.

Below it the generator makes one picture only.
"""
UNFOOLED = 0.98
"""Discriminator accuracy above which the other nets no longer fool it."""
COLLAPSED_STEPS = 100
"""A training counts as collapsed only after this number of steps, because every training is out of balance at first."""
STEPS = 700
"""Number of training steps if the number of epochs is not set."""
MOST_LOOKED_AT, MOST_BYTES = 1024, 256_000_000
"""Largest number and total size in bytes of the good pictures from which the spread of good parts is estimated."""


class BiganSettings(Protocol):
    """Settings that `BiganTrainer` needs."""

    @property
    def batch_size(self) -> int:
        """Pictures per step."""

    @property
    def epochs(self) -> int | None:
        """Passes over the training set; None: enough for `STEPS` steps."""

    @property
    def spectral_norm(self) -> bool:
        """True to bound the slope of each discriminator layer."""

    @property
    def learning_rate(self) -> float:
        """Initial learning rate of encoder and generator."""

    @property
    def discriminator_rate(self) -> float:
        """Initial learning rate of the discriminator."""

    @property
    def momentum(self) -> float:
        """Beta 1 of Adam."""

    @property
    def schedule(self) -> Literal["cosine", "constant"]:
        """Schedule of both learning rates."""

    @property
    def averaging(self) -> float:
        """Decay per step of the exponential moving average of the weights."""

    @property
    def adversarial(self) -> float:
        """Weight of the adversarial loss; 0: the discriminator is not trained."""

    @property
    def cycle(self) -> float:
        """Weight of the reconstruction loss on good pictures."""

    @property
    def loss(self) -> Literal["non_saturating", "hinge"]:
        """Adversarial loss."""

    @property
    def smoothed(self) -> float:
        """Largest amount by which labels of good pictures are below 1."""

    @property
    def noise(self) -> float:
        """Initial noise on the discriminator's input, as a share of the range of grey levels."""

    @property
    def output(self) -> Literal["sigmoid", "tanh"]:
        """Activation at the generator's output. It sets the range of the pictures within the nets."""


class BiganNets(Scorer):
    """A scorer of three nets. Its weights are running means of the trained weights; its buffer ``usual`` is not trained."""

    encoder: Encoder
    generator: GeneratorNet
    discriminator: Discriminator

    def initialise(self) -> None:
        """Draw all weights again."""
        raise NotImplementedError

    def inner(self, prepared: Tensor) -> Tensor:
        """Return pictures in the range of the generator's output."""
        raise NotImplementedError

    def outer(self, inner: Tensor) -> Tensor:
        """Return pictures in the range 0 to 1."""
        raise NotImplementedError

    def differences(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the differences of two batches of pictures, pixel by pixel."""
        raise NotImplementedError

    def fit_usual(self, part: Part, device: torch.device) -> float:
        """Set the means over good parts that scores are divided by. Return the mean difference of pixels."""
        raise NotImplementedError

    def leave_out_discriminator(self) -> None:
        """Remove a collapsed discriminator from the score."""
        raise NotImplementedError


class BiganTrainer:
    """The state of a fit between two epochs: three nets in training, and the scorer with the running means of their weights."""

    def __init__(self, scorer: BiganNets, good: TrainingData, settings: BiganSettings, context: FitContext) -> None:
        self.scorer, self.good, self.settings, self.device = scorer, good, settings, context.device
        self.shuffle = Generator().manual_seed(context.seed)
        self.seed, self.restarts, self.warned = context.seed, 0, False
        some = good.train.take(range(_spread_count(len(good.train), scorer.encoder.shape)))
        self.good_spread = float(some.std(dim=0).mean())
        if not self.good_spread:
            raise DataError(
                f"bigan: expected good pictures that differ, got {len(some)} that are all the same, pixel by pixel. "
                "Give pictures of different parts."
            )
        self.steps_an_epoch = max(1, len(good.train) // settings.batch_size)
        self.epochs = settings.epochs or math.ceil(STEPS / self.steps_an_epoch)
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self.nets = copy.deepcopy(self.scorer)
        if settings.spectral_norm:  # only after the weights are drawn
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
        """Return the reason for a collapse; None if training has not collapsed."""
        if not self.settings.adversarial:
            return None
        if self.alike and self.step >= COLLAPSED_STEPS:
            return f"training collapsed in epoch {self.epoch}: the generator makes one picture only"
        if self.unfooled >= COLLAPSED_STEPS:
            return f"training collapsed in epoch {self.epoch}: nothing has fooled the discriminator for {self.unfooled} steps"
        return None

    def one_epoch(self) -> dict[str, float]:
        """Train on each good part once. Return a row of the history."""
        started_s = time.perf_counter()
        self.nets.train()
        sums: dict[str, float] = {}
        seen = 0
        for batch in self._batches():
            picture = batch.to(self.device)
            for name, value in self._one_step(picture).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch)
            seen += len(batch)
        training_s = time.perf_counter() - started_s
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
            "seconds": time.perf_counter() - started_s,
            "parts_per_s": seen / max(training_s, 1e-9),
        }

    def _batches(self) -> Iterator[Tensor]:
        """Yield full batches only.

        The last, incomplete batch is skipped, because batch normalisation needs more than one picture. Each epoch shuffles, so
        other pictures are skipped each time.
        """
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
            # In one batch: batch normalisation must use the same statistics for both kinds of codes.
            rebuilt, generated = nets.generator(torch.cat([code, drawn])).chunk(2)
        else:
            rebuilt = generated = nets.generator(code)
        error = nets.differences(prepared, nets.outer(rebuilt)).mean()
        values = {"error": error, "spread": nets.outer(generated.detach()).std(dim=0).mean() / self.good_spread}
        goal = settings.cycle * error
        if settings.adversarial:
            values |= self._discriminate(picture, code.detach(), generated.detach(), drawn)
            nets.discriminator.requires_grad_(False)
            good, fake = self._logits(picture, code, generated, drawn)
            nets.discriminator.requires_grad_(True)
            values |= fooling(good, fake, settings.loss)
            goal = goal + settings.adversarial * (values["generator"] + values["encoder"])
        else:
            values["accuracy"] = torch.zeros(())
        numbers = {name: float(value.detach()) for name, value in values.items()}
        self._check(sum(numbers.values()), "loss", self.epoch + 1)
        self._descend(goal, "encoder", "generator")
        self.step += 1
        self._average()
        return numbers

    def _discriminate(self, picture: Tensor, code: Tensor, generated: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """Train the discriminator for one step. The other nets get no gradient."""
        good, fake = self._logits(picture, code, generated, drawn)
        if self.settings.loss == "hinge":
            loss = nn.functional.relu(1 - good).mean() + nn.functional.relu(1 + fake).mean()
        else:
            label = 1 - self.settings.smoothed * torch.rand_like(good)
            loss = nn.functional.binary_cross_entropy_with_logits(good, label) + nn.functional.softplus(fake).mean()
        self._descend(loss, "discriminator")
        accuracy = (good > 0).float().mean() + (fake < 0).float().mean()
        return {"discriminator": loss, "accuracy": accuracy / 2}

    def _logits(self, picture: Tensor, code: Tensor, generated: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of good pairs and of generated pairs, with the current noise."""
        pictures = torch.cat([picture, generated])
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
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / (self.epochs * self.steps_an_epoch)))
        for name, optimizer in self.optimizers.items():
            initial = self.settings.discriminator_rate if name == "discriminator" else self.settings.learning_rate
            for group in optimizer.param_groups:
                group["lr"] = initial * (LAST_RATE + (1 - LAST_RATE) * cosine)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the scorer's weights a little towards the nets' effective weights, which are spectrally normalised."""
        self.nets.discriminator.eval()  # in train mode, reading a normalised weight changes its estimate
        # average over fewer steps at first: the first weights are random
        share_kept = min(self.settings.averaging, self.step / (self.step + 9))
        for name, kept in self.scorer.state_dict().items():
            owner, _, last = name.rpartition(".")
            effective: Tensor = getattr(self.nets.get_submodule(owner), last)
            if name != "usual":
                kept.lerp_(effective, 1 - share_kept) if kept.is_floating_point() else kept.copy_(effective)
        self.nets.discriminator.train()

    def _check(self, value: float, what: str, epoch: int) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} in epoch {epoch}: training diverged. Divide by 10: --learning-rate (now "
                f"{self.settings.learning_rate:g}) and --discriminator-rate (now {self.settings.discriminator_rate:g})."
            )

    def state(self) -> State:
        """Return everything that is needed to continue from here, except the scorer."""
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
        """Continue from a state that `state` returned."""
        self.nets.load_state_dict(under("nets.", state.tensors))
        for name, optimizer in self.optimizers.items():
            restore_moments(optimizer, under(f"optimizer.{name}.", state.tensors))
        scalars = state.scalars
        self.epoch, self.step, self.unfooled = scalars["epoch"], scalars["step"], scalars["unfooled"]
        self.seed, self.restarts, self.warned = scalars["seed"], scalars["restarts"], scalars["warned"]
        restore_random_states(under("random.", state.tensors), self.shuffle, self.device)


def _spread_count(count: int, shape: Shape) -> int:
    """Return the number of good pictures to estimate the spread from: all that the limits allow, but at least two."""
    fit = MOST_BYTES // (4 * shape.channels * shape.height * shape.width)
    return min(count, MOST_LOOKED_AT, max(2, fit))


def fooling(good: Tensor, fake: Tensor, loss: str) -> dict[str, Tensor]:
    """Return the losses of encoder and generator. Each net tries to make its pairs look like the pairs of the other."""
    if loss == "hinge":
        return {"generator": -fake.mean(), "encoder": good.mean()}
    return {"generator": nn.functional.softplus(-fake).mean(), "encoder": nn.functional.softplus(good).mean()}
