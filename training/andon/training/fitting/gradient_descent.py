"""The loop of detectors that learn by gradients: Adam, a plateau schedule, early stopping on good validation parts.

A fit that was interrupted goes on from the last whole epoch with weights equal, bit for bit, to those of one that was
not (same machine, same number of threads): optimiser, schedule, counters, best weights and all random generators are
part of its state.
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
"""``loss(scorer, batch, warmth)``: a scalar, the mean over the batch. Warmth rises from 0 to 1 over the warm-up and
stays there; validation is always judged at 1, so that its losses can be compared between epochs."""
LAST_RATE = 0.01
"""Of the first learning rate: what a cosine schedule ends with."""


class Batch(NamedTuple):
    """What a step learns from."""

    parts: int
    tensors: Any
    """A tensor, or a named tuple of tensors: what the loss is given, on the CPU."""


class Feed(Protocol):
    """Makes batches of good parts. Draws from (seed, epoch, place) alone, so that a resumed fit sees the same."""

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """The parts at these places of the training part, `size` at a time; epochs count from 0."""
        ...

    def validation(self, size: int) -> Iterator[Batch]:
        """The whole validation part, the same each time."""
        ...

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
        """Further figures of an epoch for the history, such as an AUROC over synthetic defects; never steered by."""
        ...


class PlainFeed:
    """The feed of detectors that learn from good parts as they are."""

    def __init__(self, good: TrainingData) -> None:
        self._good = good

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:  # noqa: ARG002 - a Feed
        """Prepared tensors."""
        for some in torch.split(places, size):
            yield Batch(len(some), self._good.train.take(some.tolist()))

    def validation(self, size: int) -> Iterator[Batch]:
        """Prepared tensors."""
        yield from (Batch(len(tensor), tensor) for tensor in self._good.validation.batches(size))

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Nothing beyond the loss."""
        return {}


ClipNorm = Annotated[
    float, Meta(ge=0.0, description="largest norm of the gradient, beyond which it is shortened; 0: it is not")
]


class Plan(Struct, frozen=True, kw_only=True):
    """How to go down. Detectors derive their settings from it, so that these flags are the same everywhere."""

    epochs: Annotated[
        int, Meta(ge=1, description="passes over the training part at most", extra={"unit": "epochs"})
    ] = 40
    batch_size: Annotated[int, Meta(ge=1, description="parts a step", extra={"unit": "parts"})] = 16
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam, at the start")] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="of Adam")] = 1e-5
    epoch_parts: Annotated[
        int, Meta(ge=0, description="parts that count as an epoch; 0: the whole training part", extra={"unit": "parts"})
    ] = 0
    schedule: Annotated[
        Literal["auto", "plateau", "cosine"],
        Meta(
            description="plateau: the learning rate is halved where the validation loss stands still, and the best epoch stays; "
            "cosine: it falls to a hundredth over all epochs, and the last one stays; auto: what suits the detector"
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
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which annealed parts of the loss come in")
    ] = 0.0
    mixed_precision: Annotated[
        bool,
        Meta(
            description="half precision where it is safe: on CUDA; convolutions on a CPU that computes in bfloat16; never on mps"
        ),
    ] = True

    @property
    def by_cosine(self) -> bool:
        """Whether the learning rate falls by a cosine, and the last epoch stays; else by plateaus, and the best one stays."""
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
    """Fit by gradients. Of a plateau schedule the best epoch's weights stay (by the validation loss, or by the training
    loss where there is no such part), of a cosine schedule the last one's.

    Args:
        scorer: changed in place.
        good: to learn from.
        loss: to go down.
        plan: how.
        context: where.
        feed: makes the batches; None: parts as they are.
        heavy: most of the work is wide convolutions, which a CPU with instructions for bfloat16 does three times as fast.

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    descent = _Descent(scorer, good, loss, plan, context, feed=feed or PlainFeed(good), heavy=heavy)
    if context.resumed is not None:
        descent.restore(context.resumed)
    while descent.epoch < plan.epochs and not descent.stands_still:
        row = descent.one_epoch()
        context.epoch(scorer, row, descent.state())
        context.progress("training", descent.epoch, plan.epochs)
    if descent.stands_still:
        logger.info("stopped early after %d epochs: no gain in %d", descent.epoch, plan.patience)
        context.progress("training", plan.epochs, plan.epochs)
    scorer.load_state_dict(descent.best)
    scorer.eval()


def kept_epoch(history: Sequence[Mapping[str, float]], settings: object) -> int | None:
    """Return the epoch whose weights `descend` keeps; None for settings that are no `Plan`: their fit may keep others."""
    if not isinstance(settings, Plan) or not history:
        return None
    if settings.by_cosine:
        return len(history)
    judged = [row.get("validation", row.get("train")) for row in history]
    losses = [(loss, epoch) for epoch, loss in enumerate(judged, 1) if loss is not None]
    return min(losses)[1] if losses else None


class _Descent:
    """A fit between two epochs."""

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
        self.best = _copied(scorer)
        self.epoch_parts = plan.epoch_parts or len(good.train)
        self.all_steps = plan.epochs * math.ceil(self.epoch_parts / plan.batch_size)
        self.warm_steps = plan.warm_up * self.all_steps

    @property
    def stands_still(self) -> bool:
        """Whether nothing was gained for so long that a plateau schedule gives up."""
        return not self.plan.by_cosine and self.without_gain >= self.plan.patience

    def one_epoch(self) -> dict[str, float]:
        begun_s = time.perf_counter()
        train, norm = self._learn()
        taken_s = time.perf_counter() - begun_s
        row = {"epoch": float(self.epoch + 1), "train": train}
        if len(self.good.validation):
            row["validation"] = self._validation()
        judged = row.get("validation", train)
        self._check(judged, "validation loss" if len(self.good.validation) else "training loss")
        self.epoch += 1
        row |= {
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "gradient_norm": norm,
            "seconds": time.perf_counter() - begun_s,
            "parts_per_s": self.epoch_parts / max(taken_s, 1e-9),
        }
        self.scorer.eval()
        row |= self.feed.judge(self.scorer, self.epoch)
        if not self.plan.by_cosine:
            self.schedule.step(judged)
        if judged < self.best_loss or self.plan.by_cosine:
            self.best_loss, self.without_gain, self.best = judged, 0, _copied(self.scorer)
        else:
            self.without_gain += 1
        return row

    def _order(self) -> Tensor:
        """Places of an epoch's parts, ``[epoch_parts]``: each as often as the others, but for one."""
        count = len(self.good.train)
        rounds = math.ceil(self.epoch_parts / count)
        orders = [torch.randperm(count, generator=self.shuffle) for _ in range(rounds)]
        return torch.cat(orders)[: self.epoch_parts]

    def _steer(self) -> None:
        if self.plan.by_cosine:
            falls = 0.5 * (1 + math.cos(math.pi * self.step / self.all_steps))
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.learning_rate * (LAST_RATE + (1 - LAST_RATE) * falls)

    def _learn(self) -> tuple[float, float]:
        """Mean loss and mean norm of the gradient over one pass."""
        self.scorer.train()
        total, norms, steps, seen = 0.0, 0.0, 0, 0
        for parts, batch in self.feed.train(self._order(), self.plan.batch_size, self.epoch):
            self._steer()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, enabled=self.half):
                loss = self.loss(self.scorer, _moved(batch, self.device), self._warmth())
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.scorer.parameters(), self.plan.clip_norm or math.inf))
            value = float(loss.detach())
            self._check(value, "loss")
            if not self.scaler.is_enabled():  # the scaler skips such a step and lowers its scale
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
                total += float(self.loss(self.scorer, _moved(batch, self.device), 1.0)) * parts
                seen += parts
        return total / seen

    def _warmth(self) -> float:
        return min(1.0, self.step / self.warm_steps) if self.warm_steps else 1.0

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            rate = float(self.optimizer.param_groups[0]["lr"])
            clipping = f"now {self.plan.clip_norm:g}" if self.plan.clip_norm else "now 0, none"
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}: training diverged. Lower --learning-rate (now "
                f"{rate:g}) tenfold, or {'lower' if self.plan.clip_norm else 'set'} --clip-norm ({clipping})."
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
                # the rest of its state is infinities and what the plan says
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


def _moved(batch: Any, device: torch.device) -> Any:
    """A tensor, or a named tuple of tensors, on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it; others emulate it, slower than float32."""
    able: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _copied(scorer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in scorer.state_dict().items()}


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, by place and name: for a `State`."""
    state = optimizer.state_dict()["state"]
    return {f"{place}.{name}": value for place, of in state.items() for name, value in of.items()}


def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Let an optimiser remember what `moments` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        place, _, what = name.partition(".")
        state.setdefault(int(place), {})[what] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def random_states(shuffle: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """States of PyTorch's global generators and of the one that shuffles: for a `State`."""
    return random_state(device) | {"shuffle": shuffle.get_state()}


def restore_random_states(states: Mapping[str, Tensor], shuffle: torch.Generator, device: torch.device) -> None:
    """Let the generators go on from what `random_states` gave."""
    set_random_state(states, device)
    shuffle.set_state(states["shuffle"])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
