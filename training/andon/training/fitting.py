"""The loop of detectors that learn by gradients: Adam, a plateau schedule, early stopping on good validation parts.

A fit that was interrupted goes on from the last whole epoch with weights equal, bit for bit, to those of one that was
not (same machine, same number of threads): optimiser, schedule, counters, best weights and all random generators are
part of its state.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from andon.runtime.errors import TrainingError
from andon.training.recipe import Good, Part, Run, State

logger = logging.getLogger(__name__)

Loss = Callable[[Any, Tensor, float], Tensor]
"""``loss(scorer, batch, warmth)``: a scalar, the mean over the batch. Warmth rises from 0 to 1 over the warm-up and
stays there; validation is always judged at 1, so that its losses can be compared between epochs."""


class Plan(Struct, frozen=True, kw_only=True):
    """How to go down. Detectors derive their settings from it, so that these flags are the same everywhere."""

    epochs: Annotated[
        int, Meta(ge=1, description="passes over the training part at most", extra={"unit": "epochs"})
    ] = 40
    batch_size: Annotated[int, Meta(ge=1, description="parts a step", extra={"unit": "parts"})] = 16
    learning_rate: Annotated[float, Meta(gt=0.0, description="of Adam, at the start")] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0.0, description="of Adam")] = 1e-5
    plateau_patience: Annotated[
        int, Meta(ge=0, description="epochs without a better validation loss before the learning rate is halved")
    ] = 5
    patience: Annotated[
        int, Meta(ge=1, description="epochs without a better validation loss before training stops")
    ] = 15
    clip_norm: Annotated[float, Meta(gt=0.0, description="largest norm of the gradient")] = 1.0
    warm_up: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of all steps over which annealed parts of the loss come in")
    ] = 0.0
    mixed_precision: Annotated[bool, Meta(description="half precision where it is safe, on a GPU only")] = True


def descend(scorer: nn.Module, good: Good, loss: Loss, plan: Plan, run: Run) -> None:
    """Fit by gradients; the weights of the best validation loss stay (of the training loss, where there is no such part).

    Raises:
        TrainingError: the loss or its gradient is not finite.
    """
    descent = _Descent(scorer, good, loss, plan, run)
    if run.resumed is not None:
        descent.restore(run.resumed)
    while descent.epoch < plan.epochs and descent.without_gain < plan.patience:
        row = descent.one_epoch()
        run.epoch(scorer, row, descent.state())
        run.progress("training", descent.epoch, plan.epochs)
    if descent.without_gain >= plan.patience:
        logger.info("stopped early after %d epochs: no gain in %d", descent.epoch, plan.patience)
        run.progress("training", plan.epochs, plan.epochs)
    scorer.load_state_dict(descent.best)
    scorer.eval()


class _Descent:
    """A fit between two epochs."""

    def __init__(self, scorer: nn.Module, good: Good, loss: Loss, plan: Plan, run: Run) -> None:
        self.scorer, self.good, self.loss, self.plan, self.device = scorer, good, loss, plan, run.device
        self.optimizer = torch.optim.Adam(scorer.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.5, patience=plan.plateau_patience
        )
        self.half = plan.mixed_precision and run.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(run.device.type, enabled=self.half)
        self.shuffle = torch.Generator().manual_seed(run.seed)
        self.epoch = 0
        self.step = 0
        self.without_gain = 0
        self.best_loss = math.inf
        self.best = _copied(scorer)
        self.warm_steps = plan.warm_up * plan.epochs * math.ceil(len(good.train) / plan.batch_size)

    def one_epoch(self) -> dict[str, float]:
        begun_s = time.perf_counter()
        train, norm = self._learn()
        taken_s = time.perf_counter() - begun_s
        self.epoch += 1
        row = {"epoch": float(self.epoch), "train": train}
        if len(self.good.validation):
            row["validation"] = self._judge(self.good.validation)
        judged = row.get("validation", train)
        self._check(judged, "validation loss")
        row |= {
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "gradient_norm": norm,
            "seconds": time.perf_counter() - begun_s,
            "parts_per_s": len(self.good.train) / max(taken_s, 1e-9),
        }
        self.schedule.step(judged)
        if judged < self.best_loss:
            self.best_loss, self.without_gain, self.best = judged, 0, _copied(self.scorer)
        else:
            self.without_gain += 1
        return row

    def _learn(self) -> tuple[float, float]:
        """Mean loss and mean norm of the gradient over one pass."""
        self.scorer.train()
        total, norms, steps = 0.0, 0.0, 0
        for batch in self.good.train.batches(self.plan.batch_size, shuffle=self.shuffle):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, enabled=self.half):
                loss = self.loss(self.scorer, batch.to(self.device, non_blocking=True), self._warmth())
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.scorer.parameters(), self.plan.clip_norm))
            value = float(loss.detach())
            self._check(value, "loss")
            if not self.half:  # in half precision the scaler skips such a step and lowers its scale
                self._check(norm, "gradient")
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.step += 1
            steps += 1
            total += value * len(batch)
            norms += norm if math.isfinite(norm) else 0.0
        return total / len(self.good.train), norms / steps

    def _judge(self, part: Part) -> float:
        self.scorer.eval()
        total = 0.0
        with torch.no_grad():
            for batch in part.batches(self.plan.batch_size):
                total += float(self.loss(self.scorer, batch.to(self.device), 1.0)) * len(batch)
        return total / len(part)

    def _warmth(self) -> float:
        return min(1.0, self.step / self.warm_steps) if self.warm_steps else 1.0

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            rate = float(self.optimizer.param_groups[0]["lr"])
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}: training diverged. Lower --learning-rate (now "
                f"{rate:g}) tenfold, or --clip-norm (now {self.plan.clip_norm:g})."
            )

    def state(self) -> State:
        moments = self.optimizer.state_dict()["state"]
        tensors = {
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **{f"optimizer.{place}.{name}": value for place, of in moments.items() for name, value in of.items()},
            "rng.torch": torch.get_rng_state(),
            "rng.shuffle": self.shuffle.get_state(),
        }
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
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
                },
                "scaler": self.scaler.state_dict(),
            },
        )

    def restore(self, state: State) -> None:
        tensors, scalars = state.tensors, state.scalars
        self.best = {name: tensor.to(self.device) for name, tensor in _under("best.", tensors).items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            place, _, what = name.partition(".")
            moments.setdefault(int(place), {})[what] = tensor
        whole = self.optimizer.state_dict()
        whole["state"] = moments
        self.optimizer.load_state_dict(whole)
        for group in self.optimizer.param_groups:
            group["lr"] = scalars["learning_rate"]
        self.schedule.load_state_dict(scalars["plateau"])
        self.scaler.load_state_dict(scalars["scaler"])
        self.epoch, self.step = scalars["epoch"], scalars["step"]
        self.without_gain, self.best_loss = scalars["without_gain"], scalars["best_loss"]
        torch.set_rng_state(tensors["rng.torch"])
        self.shuffle.set_state(tensors["rng.shuffle"])
        if "rng.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)


def _copied(scorer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in scorer.state_dict().items()}


def _under(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
