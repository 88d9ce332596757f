"""The training loop of gradient-based detectors: Adam, learning-rate schedules, early stopping on good validation parts.

An interrupted fit resumes after its last complete epoch. Its weights are then equal, bit for bit, to the weights of a fit
without interruption, on the same machine with the same number of threads. The saved state therefore contains the
optimiser, the schedule, the counters, the best weights and all random generators.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from andon.foundation.errors import TrainingError
from andon.training.fitting.device import random_state, set_random_state
from andon.training.recipe.recipe import FitContext, State, TrainingData

logger = logging.getLogger(__name__)

Loss = Callable[[Any, Any, float], Tensor]
"""``loss(scorer, batch, warmth)``: a scalar, the mean over the batch.

Warmth rises from 0 to 1 during the warm-up and then stays at 1. Validation always uses 1, so that its losses are
comparable between epochs.
"""
LAST_RATE = 0.01
"""Final learning rate of a cosine schedule, as a share of the initial one."""


class Batch(NamedTuple):
    """The input of one training step."""

    parts: int
    tensors: Any
    """The batch argument of the loss, on the CPU: a tensor, or a named tuple of tensors."""


class Feed(Protocol):
    """A source of batches of good parts.

    Random draws depend only on (seed, epoch, place). Therefore, a resumed fit gets the same batches.
    """

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """Yield the parts at these places of the training set, `size` at a time; epochs count from 0."""
        ...

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield the whole validation set, identical in each call."""
        ...

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
        """Return further results of an epoch for the history, such as an AUROC over synthetic defects.

        Training never depends on them.
        """
        ...


class PlainFeed:
    """The feed of detectors that are trained on unchanged good parts."""

    def __init__(self, good: TrainingData) -> None:
        self._good = good

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:  # noqa: ARG002 - a Feed
        """Yield prepared tensors."""
        for some in torch.split(places, size):
            yield Batch(len(some), self._good.train.take(some.tolist()))

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield prepared tensors."""
        yield from (Batch(len(tensor), tensor) for tensor in self._good.validation.batches(size))

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Return no further results."""
        return {}


ClipNorm = Annotated[
    float, Meta(ge=0.0, description="largest norm of the gradient. Longer gradients are shortened to it. 0: no limit")
]


class Plan(Struct, frozen=True, kw_only=True):
    """Settings of gradient descent. Detectors derive their settings from it, so that these flags are the same everywhere."""

    epochs: Annotated[
        int, Meta(ge=1, description="largest number of passes over the training set", extra={"unit": "epochs"})
    ] = 40
    batch_size: Annotated[int, Meta(ge=1, description="parts per step", extra={"unit": "parts"})] = 16
    learning_rate: Annotated[float, Meta(gt=0.0, description="initial learning rate of Adam")] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="weight decay of Adam")] = 1e-5
    epoch_parts: Annotated[
        int,
        Meta(ge=0, description="parts that count as one epoch; 0: the whole training set", extra={"unit": "parts"}),
    ] = 0
    schedule: Annotated[
        Literal["auto", "plateau", "cosine"],
        Meta(
            description=(
                "plateau: halve the learning rate when the validation loss stops falling, and keep the best epoch. "
                "cosine: lower the rate to a hundredth over all epochs, and keep the last epoch. auto: the schedule "
                "that suits the detector"
            )
        ),
    ] = "auto"
    plateau_patience: Annotated[
        int, Meta(ge=0, description="epochs without a better validation loss before the learning rate is halved")
    ] = 5
    patience: Annotated[
        int, Meta(ge=1, description="epochs without a better validation loss before a plateau schedule stops")
    ] = 15
    clip_norm: ClipNorm = 1.0
    warm_up: Annotated[
        float,
        Meta(
            ge=0.0, le=1.0, description="share of all steps over which the weights of annealed loss terms rise from 0"
        ),
    ] = 0.0
    mixed_precision: Annotated[
        bool,
        Meta(
            description=(
                "use half precision where it is safe: on CUDA, and for convolutions on a CPU that computes in "
                "bfloat16; never on mps"
            )
        ),
    ] = True

    @property
    def by_cosine(self) -> bool:
        """True for a cosine schedule, which keeps the weights of the last epoch. A plateau schedule keeps the best epoch."""
        return self.schedule == "cosine"


def descend(
    scorer: nn.Module,
    good: TrainingData,
    loss: Loss,
    plan: Plan,
    context: FitContext,
    *,
    feed: Feed | None = None,
    heavy: bool = False,
) -> None:
    """Fit by gradient descent.

    A plateau schedule keeps the weights of the best epoch. The best epoch has the lowest validation loss, or the lowest
    training loss if there is no validation set. A cosine schedule keeps the weights of the last epoch.

    Args:
        scorer: the scorer, changed in place.
        good: good parts to train on.
        loss: loss to minimise.
        plan: settings of the descent.
        context: seed, device, hooks and the state to resume from.
        feed: source of the batches, or None for unchanged parts.
        heavy: whether most of the work is wide convolutions. CPUs with bfloat16 instructions compute such convolutions three
            times as fast in bfloat16.

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    descent = _Descent(scorer, good, loss, plan, context, feed=feed or PlainFeed(good), heavy=heavy)
    if context.resumed is not None:
        descent.restore(context.resumed)
    while descent.epoch < plan.epochs and not descent.is_finished:
        row = descent.one_epoch()
        context.epoch(scorer, row, descent.state())
        context.progress("training", descent.epoch, plan.epochs)
    if descent.is_finished:
        logger.info("stopped early after %d epochs: no better loss in the last %d", descent.epoch, plan.patience)
        context.progress("training", plan.epochs, plan.epochs)
    scorer.load_state_dict(descent.best)
    scorer.eval()


def kept_epoch(history: Sequence[Mapping[str, float]], settings: object) -> int | None:
    """Return the epoch whose weights `descend` keeps; None if the settings are not a `Plan` (for another kind of fit)."""
    if not isinstance(settings, Plan) or not history:
        return None
    if settings.by_cosine:
        return len(history)
    judged = [row.get("validation", row.get("train")) for row in history]
    losses = [(loss, epoch) for epoch, loss in enumerate(judged, 1) if loss is not None]
    return min(losses)[1] if losses else None


class _Descent:
    """The state of a fit between two epochs."""

    def __init__(
        self,
        scorer: nn.Module,
        good: TrainingData,
        loss: Loss,
        plan: Plan,
        context: FitContext,
        *,
        feed: Feed,
        heavy: bool,
    ) -> None:
        self.scorer, self.good, self.loss, self.plan, self.device = scorer, good, loss, plan, context.device
        self.feed = feed
        self.optimizer = torch.optim.Adam(scorer.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=plan.plateau_patience
        )
        cuda, cpu = context.device.type == "cuda", context.device.type == "cpu"
        self.half = plan.mixed_precision and (cuda or (cpu and heavy and _computes_in_bfloat16()))
        self.scaler = torch.amp.GradScaler(context.device.type, enabled=self.half and cuda)
        self.shuffle = torch.Generator().manual_seed(context.seed)
        self.epoch = 0
        self.step = 0
        self.without_gain = 0
        self.best_loss = math.inf
        self.best = _copy_of_weights(scorer)
        self.epoch_parts = plan.epoch_parts or len(good.train)
        self.all_steps = plan.epochs * math.ceil(self.epoch_parts / plan.batch_size)
        self.warm_steps = plan.warm_up * self.all_steps

    @property
    def is_finished(self) -> bool:
        """True if the plateau schedule ends the training because the loss has not improved for `patience` epochs."""
        return not self.plan.by_cosine and self.without_gain >= self.plan.patience

    def one_epoch(self) -> dict[str, float]:
        started_s = time.perf_counter()
        train, norm = self._train()
        training_s = time.perf_counter() - started_s
        row = {"epoch": float(self.epoch + 1), "train": train}
        if len(self.good.validation):
            row["validation"] = self._validation()
        judged = row.get("validation", train)
        self._check(judged, "validation loss" if len(self.good.validation) else "training loss")
        self.epoch += 1
        row |= {
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "gradient_norm": norm,
            "seconds": time.perf_counter() - started_s,
            "parts_per_s": self.epoch_parts / max(training_s, 1e-9),
        }
        self.scorer.eval()
        row |= self.feed.judge(self.scorer, self.epoch)
        if not self.plan.by_cosine:
            self.schedule.step(judged)
        if judged < self.best_loss or self.plan.by_cosine:
            self.best_loss, self.without_gain, self.best = judged, 0, _copy_of_weights(self.scorer)
        else:
            self.without_gain += 1
        return row

    def _order(self) -> Tensor:
        """Return the places of an epoch's parts in random order, ``[epoch_parts]``.

        The numbers of uses of two parts differ by at most one.
        """
        count = len(self.good.train)
        rounds = math.ceil(self.epoch_parts / count)
        orders = [torch.randperm(count, generator=self.shuffle) for _ in range(rounds)]
        return torch.cat(orders)[: self.epoch_parts]

    def _steer(self) -> None:
        if self.plan.by_cosine:
            cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.all_steps))
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.learning_rate * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def _train(self) -> tuple[float, float]:
        """Return the mean loss and the mean norm of the gradient over one pass."""
        self.scorer.train()
        total, norms, steps, seen = 0.0, 0.0, 0, 0
        for parts, batch in self.feed.train(self._order(), self.plan.batch_size, self.epoch):
            self._steer()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, enabled=self.half):
                loss = self.loss(self.scorer, _to_device(batch, self.device), self._warmth())
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.scorer.parameters(), self.plan.clip_norm or math.inf))
            value = float(loss.detach())
            self._check(value, "loss")
            if not self.scaler.is_enabled():  # an enabled scaler skips such a step and lowers its scale
                self._check(norm, "gradient")
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.step += 1
            steps += 1
            total += value * parts
            seen += parts
            norms += norm if math.isfinite(norm) else 0.0
        return total / seen, norms / steps

    def _validation(self) -> float:
        self.scorer.eval()
        total, seen = 0.0, 0
        with torch.no_grad(), torch.autocast(self.device.type, enabled=self.half):
            for parts, batch in self.feed.validation(self.plan.batch_size):
                total += float(self.loss(self.scorer, _to_device(batch, self.device), 1.0)) * parts
                seen += parts
        return total / seen

    def _warmth(self) -> float:
        return min(1.0, self.step / self.warm_steps) if self.warm_steps else 1.0

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            rate = float(self.optimizer.param_groups[0]["lr"])
            clipping = f"now {self.plan.clip_norm:g}" if self.plan.clip_norm else "now 0, no limit"
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}: training diverged. Lower --learning-rate (now "
                f"{rate:g}) to a tenth, or {'lower' if self.plan.clip_norm else 'set'} --clip-norm ({clipping})."
            )

    def state(self) -> State:
        tensors = {
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"optimizer.{name}": tensor for name, tensor in moments(self.optimizer).items()},
            **{f"rng.{name}": tensor for name, tensor in random_states(self.shuffle, self.device).items()},
        }
        plateau = self.schedule.state_dict()
        return State(
            tensors=tensors,
            scalars={
                "epoch": self.epoch,
                "step": self.step,
                "without_gain": self.without_gain,
                "best_loss": self.best_loss,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                # the rest of its state is infinities and values of the plan
                "plateau": {
                    name: plateau[name] for name in ("best", "num_bad_epochs", "last_epoch", "cooldown_counter")
                }
                if not self.plan.by_cosine
                else {},
                "scaler": self.scaler.state_dict(),
            },
        )

    def restore(self, state: State) -> None:
        tensors, scalars = state.tensors, state.scalars
        self.best = {name: tensor.to(self.device) for name, tensor in under("best.", tensors).items()}
        restore_moments(self.optimizer, under("optimizer.", tensors))
        for group in self.optimizer.param_groups:
            group["lr"] = scalars["learning_rate"]
        self.schedule.load_state_dict(scalars["plateau"])
        self.scaler.load_state_dict(scalars["scaler"])
        self.epoch, self.step = scalars["epoch"], scalars["step"]
        self.without_gain, self.best_loss = scalars["without_gain"], scalars["best_loss"]
        restore_random_states(under("rng.", tensors), self.shuffle, self.device)


def _to_device(batch: Any, device: torch.device) -> Any:
    """Return a tensor, or a named tuple of tensors, on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _computes_in_bfloat16() -> bool:
    """Return whether this CPU has bfloat16 instructions. Other CPUs emulate them, which is slower than float32."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _copy_of_weights(scorer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in scorer.state_dict().items()}


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments by place and name, for a `State`."""
    state = optimizer.state_dict()["state"]
    return {f"{place}.{name}": value for place, of in state.items() for name, value in of.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore an optimiser's moments that `moments` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        place, _, what = name.partition(".")
        state.setdefault(int(place), {})[what] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def random_states(shuffle: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's global generators and of the shuffling generator, for a `State`."""
    return random_state(device) | {"shuffle": shuffle.get_state()}


def restore_random_states(states: Mapping[str, Tensor], shuffle: torch.Generator, device: torch.device) -> None:
    """Restore the generator states that `random_states` returned."""
    set_random_state(states, device)
    shuffle.set_state(states["shuffle"])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with this prefix, without the prefix in their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
