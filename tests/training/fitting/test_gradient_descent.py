"""The gradient loop: when it stops, which weights it keeps, and that an interruption leaves no trace."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tests.training.flat import train
from tests.training.in_memory import Parts, Remembering
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.foundation.errors import ConfigError, TrainingError
from andon.runtime.schema import ScoreRule
from andon.sources.series.windows import window_spec
from andon.training.comparison.plan import parse_detector
from andon.training.contract.synthetic_data import synthetic_log
from andon.training.fitting.gradient_descent import LAST_RATE, Batch, Loss, PlainFeed, Plan, descend, kept_epoch
from andon.training.fitting.reconstruction import Rebuilding
from andon.training.recipe.recipe import Recipe, State
from andon.training.runs.run_folder import LoadedRun


def squared(net: nn.Module, batch: Tensor, _warmth: float) -> Tensor:
    apart: Tensor = (net(batch) - batch) ** 2
    return apart.mean()


def fitted(plan: Plan, loss: Loss = squared, *, validation: int = 8) -> tuple[nn.Linear, list[dict[str, float]]]:
    torch.manual_seed(0)
    net, run = nn.Linear(4, 4), Remembering()
    descend(net, Parts(torch.randn(40, 4), torch.randn(validation, 4)), loss, plan, run)
    return net, run.rows


def test_the_loss_falls() -> None:
    _, rows = fitted(Plan(epochs=20, learning_rate=0.02))

    assert rows[-1]["validation"] < 0.5 * rows[0]["validation"]


def test_the_history_names_loss_rate_gradient_and_speed() -> None:
    _, rows = fitted(Plan(epochs=1))

    assert set(rows[0]) == {
        "epoch", "train", "validation", "learning_rate", "gradient_norm", "seconds", "parts_per_s",
    }  # fmt: skip


def test_the_weights_of_the_best_epoch_stay() -> None:
    validation_loss = iter([3.0, 1.0, 2.0, 4.0])
    seen: list[Tensor] = []

    def scripted(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        if net.training:
            return squared(net, batch, warmth)
        seen.append(next(net.parameters()).detach().clone())
        return torch.tensor(next(validation_loss))

    net, _ = fitted(Plan(epochs=4, batch_size=40), scripted)

    assert torch.equal(net.weight, seen[1])
    assert not torch.equal(net.weight, seen[3])


def test_it_stops_after_so_many_epochs_without_gain() -> None:
    def stuck(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return squared(net, batch, warmth) if net.training else torch.tensor(1.0)

    _, rows = fitted(Plan(epochs=50, patience=3), stuck)

    assert len(rows) == 1 + 3


def test_the_learning_rate_halves_on_a_plateau() -> None:
    def stuck(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return squared(net, batch, warmth) if net.training else torch.tensor(1.0)

    _, rows = fitted(Plan(epochs=5, patience=9, plateau_patience=1, learning_rate=0.1), stuck)

    assert [row["learning_rate"] for row in rows] == [0.1, 0.1, 0.1, 0.05, 0.05]


def test_without_a_validation_part_the_training_loss_decides() -> None:
    _, rows = fitted(Plan(epochs=3), validation=0)

    assert "validation" not in rows[0]


def test_a_large_gradient_is_clipped_and_the_history_tells_its_norm_before() -> None:
    def steep(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return 1e4 * squared(net, batch, warmth)

    net, rows = fitted(Plan(epochs=1, batch_size=40, clip_norm=1.0), steep)

    assert rows[0]["gradient_norm"] > 100
    left = [float(parameter.grad.norm()) for parameter in net.parameters() if parameter.grad is not None]
    assert sum(norm**2 for norm in left) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("recipe", ["window_vae", "conv_vae", "unet_autoencoder"])
def test_a_clip_norm_of_zero_is_taken_and_below_it_refused(recipe: str) -> None:
    assert parse_detector(f"{recipe} --clip-norm 0").settings.clip_norm == 0.0  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=re.escape("--clip-norm: expected a number >= 0, got ")):
        parse_detector(f"{recipe} --clip-norm -1")


def test_a_clip_norm_of_zero_leaves_the_gradient_as_it_is() -> None:
    def steep(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return 1e4 * squared(net, batch, warmth)

    net, rows = fitted(Plan(epochs=1, batch_size=40, clip_norm=0.0), steep)

    left = [float(parameter.grad.norm()) for parameter in net.parameters() if parameter.grad is not None]
    assert sum(norm**2 for norm in left) ** 0.5 == pytest.approx(rows[0]["gradient_norm"], rel=1e-3)
    assert rows[0]["gradient_norm"] > 100


def test_warmth_rises_over_its_share_of_the_steps_and_is_full_in_validation() -> None:
    warmths: dict[bool, list[float]] = {True: [], False: []}

    def watched(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        warmths[net.training].append(warmth)
        return squared(net, batch, warmth)

    fitted(Plan(epochs=4, batch_size=20, warm_up=0.5), watched)

    assert warmths[True] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    assert set(warmths[False]) == {1.0}


def test_a_diverged_training_says_which_setting_to_lower() -> None:
    def broken(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return squared(net, batch, warmth) * float("nan")

    with pytest.raises(TrainingError, match=r"nan in epoch 1.*--learning-rate \(now 0\.001\)"):
        fitted(Plan(), broken)


def test_a_validation_that_diverged_is_told_with_its_own_epoch() -> None:
    def broken_unseen(net: nn.Module, batch: Tensor, warmth: float) -> Tensor:
        return squared(net, batch, warmth) * (1.0 if net.training else float("nan"))

    with pytest.raises(TrainingError, match=r"the validation loss became nan in epoch 1: "):
        fitted(Plan(), broken_unseen)


class Settings(Plan, frozen=True, kw_only=True):
    """Settings of a network whose result depends on dropout, running means, noise and a schedule."""


class Fragile(nn.Module):
    """A network with four kinds of dependence on randomness and order."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 16)
        )

    def forward(self, prepared: Tensor) -> Evidence:
        rebuilt = self.net(prepared).reshape(prepared.shape)
        return Evidence({"error": (rebuilt - prepared) ** 2}, {})


class Interrupted(Exception):
    """An exception that stands for a killed process."""


def fragile(interrupt_at_step: int | None = None) -> Recipe:
    """Return a recipe that can be interrupted in the middle of an epoch."""
    steps = 0

    def loss(net: Fragile, batch: Tensor, warmth: float) -> Tensor:
        nonlocal steps
        steps += net.training
        if steps == interrupt_at_step:
            raise KeyboardInterrupt
        noisy = batch + 0.1 * torch.randn_like(batch) if net.training else batch
        error: Tensor = net(noisy).maps["error"].mean()
        return error + warmth * 1e-3 * torch.stack([p.square().sum() for p in net.parameters()]).sum()

    return Recipe(
        name="fragile",
        summary="",
        settings=Settings,
        tiny=Settings(
            epochs=12, batch_size=16, plateau_patience=0, patience=6, learning_rate=0.05, weight_decay=1e-4, warm_up=0.5
        ),
        gives="window",
        input=lambda _settings, _found: window_spec(synthetic_log(2).found, 8, 8),
        build=lambda _settings, _spec: Fragile(),
        fit=lambda scorer, good, settings, run: descend(scorer, good, loss, settings, run),
        score_rule=lambda _settings, _spec: ScoreRule(map="error"),
    )


def trained(recipe: Recipe, folder: Path, **arguments: Any) -> LoadedRun:
    return train(recipe, synthetic_log(800), folder, settings=recipe.tiny, seed=5, device="cpu", **arguments)


def same_weights(one: LoadedRun, other: LoadedRun) -> bool:
    first, second = one.scorer.state_dict(), other.scorer.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def without_times(run: LoadedRun) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "parts_per_s")}
        for row in run.record.history
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return trained(fragile(), tmp_path_factory.mktemp("fitting") / "run")


def test_the_runs_below_go_on_until_the_learning_rate_has_dropped(uninterrupted: LoadedRun) -> None:
    rates = [row["learning_rate"] for row in uninterrupted.record.history]

    assert rates[-1] < rates[0]


@pytest.mark.parametrize("epochs", [1, *(pytest.param(epochs, marks=pytest.mark.slow) for epochs in (2, 5, 9))])
def test_a_run_killed_after_an_epoch_resumes_to_the_same_weights(
    epochs: int, uninterrupted: LoadedRun, tmp_path: Path
) -> None:
    def kill(what: str, done: int, _total: int | None) -> None:
        if what == "training" and done == epochs:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(fragile(), tmp_path, progress=kill)
    resumed = trained(fragile(), tmp_path, resume=True)

    assert same_weights(uninterrupted, resumed)
    assert without_times(uninterrupted) == without_times(resumed)


@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 20])
def test_a_run_interrupted_within_an_epoch_resumes_to_the_same_weights(
    step: int, uninterrupted: LoadedRun, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(fragile(interrupt_at_step=step), tmp_path)
    resumed = trained(fragile(), tmp_path, resume=True)

    assert same_weights(uninterrupted, resumed)
    assert without_times(uninterrupted) == without_times(resumed)


def test_a_run_killed_twice_resumes_to_the_same_weights(uninterrupted: LoadedRun, tmp_path: Path) -> None:
    for epochs in (3, 6):

        def kill(what: str, done: int, _total: int | None, last: int = epochs) -> None:
            if what == "training" and done == last:
                raise Interrupted

        with pytest.raises(Interrupted):
            trained(fragile(), tmp_path, progress=kill, resume=True)

    assert same_weights(uninterrupted, trained(fragile(), tmp_path, resume=True))


def test_another_seed_gives_other_weights(uninterrupted: LoadedRun, tmp_path: Path) -> None:
    recipe = fragile()
    other = train(recipe, synthetic_log(800), tmp_path, settings=recipe.tiny, seed=6, device="cpu")

    assert not same_weights(uninterrupted, other)


def test_settings_of_the_plan_are_settings_of_the_detector() -> None:
    assert {field.name for field in msgspec.structs.fields(Plan)} <= {
        field.name for field in msgspec.structs.fields(Settings)
    }


def test_a_cosine_falls_to_a_hundredth_keeps_the_last_weights_and_does_not_stop_early() -> None:
    torch.manual_seed(0)
    net, run = nn.Linear(4, 4), Remembering()
    plan = Plan(epochs=12, learning_rate=0.02, schedule="cosine", patience=1)
    weights: list[Tensor] = []

    def epoch(scorer: nn.Module, losses: Mapping[str, float], state: State | None = None) -> None:
        run.rows.append(dict(losses))
        weights.append(scorer.state_dict()["weight"].clone())

    run.epoch = epoch  # type: ignore[method-assign]
    descend(net, Parts(torch.randn(40, 4), torch.randn(8, 4)), squared, plan, run)
    rates = [row["learning_rate"] for row in run.rows]

    assert len(rates) == 12
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.02 * LAST_RATE, rel=0.5)
    assert torch.equal(net.weight, weights[-1])


@pytest.mark.parametrize("wanted", [7, 40, 100])
def test_an_epoch_takes_as_many_parts_as_asked_each_as_often_as_the_others(wanted: int) -> None:
    seen: list[int] = []

    class Counting(PlainFeed):
        def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
            seen.extend(places.tolist())
            yield from super().train(places, size, epoch)

    torch.manual_seed(0)
    good = Parts(torch.randn(40, 4), torch.randn(8, 4))
    descend(nn.Linear(4, 4), good, squared, Plan(epochs=1, epoch_parts=wanted), Remembering(), feed=Counting(good))
    counts = [seen.count(place) for place in range(40)]

    assert len(seen) == wanted
    assert max(counts) - min(counts) <= 1


def test_what_a_feed_judges_becomes_part_of_the_history_and_steers_nothing() -> None:
    class Judging(PlainFeed):
        def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
            return {"watched_auroc": 1.0 / epoch}

    histories = []
    for feed in (PlainFeed, Judging):
        torch.manual_seed(0)
        good, run = Parts(torch.randn(40, 4), torch.randn(8, 4)), Remembering()
        descend(nn.Linear(4, 4), good, squared, Plan(epochs=3), run, feed=feed(good))
        histories.append(run.rows)

    assert [row.pop("watched_auroc") for row in histories[1]] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert [row["validation"] for row in histories[0]] == [row["validation"] for row in histories[1]]


def test_the_kept_epoch_is_the_last_where_repair_goes_by_a_cosine_and_the_best_else() -> None:
    history = [{"validation": loss} for loss in (1.0, 0.5, 0.7)]

    assert kept_epoch(history, Rebuilding(repair=True)) == 3
    assert kept_epoch(history, Rebuilding()) == 2
