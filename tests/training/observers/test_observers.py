"""A failing observer never stops a training, and is reported only once."""

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tests.training.animation.made_up import RECIPE, TINY
from tests.training.flat import train
from tests.training.in_memory import Parts
from torch import nn

from andon.runtime.schema import FrameSpec
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.observers.epochs import NONE, each
from andon.training.observers.observers import Observed, Observers
from andon.training.observers.options import ObserveOptions, Watched
from andon.training.recipe.recipe import Recipe
from andon.training.runs.run_folder import load

SPEC = FrameSpec(channels=3, size=(12, 16))


def observers(
    folder: Path, options: ObserveOptions, *, of: Recipe = RECIPE, watched: Watched | None = None
) -> Observers:
    good = Parts(torch.rand(8, 3, 12, 16), torch.rand(4, 3, 12, 16))
    observed = Observed(
        folder=folder, recipe=of, settings=TINY, good=good, spec=SPEC, seed=0, device=torch.device("cpu")
    )
    return Observers(observed, options, watched=watched)


def scorer() -> nn.Module:
    built: nn.Module = RECIPE.build(TINY, SPEC)
    return built


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_an_observer_that_cannot_write_is_told_of_once_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    observing = observers(tmp_path, ObserveOptions(picture_epochs=NONE, checkpoint_epochs=each(1)))
    for epoch in (1, 2, 3):
        observing.after_epoch(scorer(), epoch)

    (message,) = warnings(caplog)
    assert message.startswith("epoch 1: ")
    assert "cannot be written" in message
    assert message.endswith("Training continues without it.")
    assert sorted(path.name for path in (tmp_path / "reel").glob("epoch_*")) == [
        f"epoch_000{epoch}.safetensors" for epoch in (1, 2, 3)
    ]


def test_a_bug_in_an_observer_does_not_stop_a_training_either(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def sample(*_: Any) -> torch.Tensor:
        raise RuntimeError("a bug")

    run = train(
        msgspec.structs.replace(RECIPE, sample=sample), SyntheticFrames(30), tmp_path, settings=TINY, device="cpu"
    )

    assert load(run.path, of=RECIPE).record.finished
    assert len(run.record.history) == TINY.epochs
    assert warnings(caplog)[-2:] == [  # the first ones are about few and small frames
        "epoch 1: RuntimeError: a bug. Training continues without it.",
        "RuntimeError: a bug. The run itself has finished.",
    ]


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path: Path) -> None:
    observing = observers(tmp_path, ObserveOptions(picture_epochs=NONE, animation_epochs=NONE))
    for epoch in (1, 2):
        observing.after_epoch(scorer(), epoch)
    observing.after_training(scorer(), [])

    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_curves_and_never_another_error(tmp_path: Path) -> None:
    history = [{"epoch": 1.0, "train": 0.5}, {"epoch": 2.0, "train": 0.4}]
    observers(tmp_path / "run", ObserveOptions()).after_interruption(history)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "pictures").write_text("a file where a folder should be")
    observers(tmp_path / "full", ObserveOptions()).after_interruption(history)

    assert (tmp_path / "run" / "pictures" / "curves.png").exists()


def test_what_a_run_watched_before_is_kept_where_its_parts_are_gone(tmp_path: Path) -> None:
    before = Watched(path="labelled/", parts={"good": 3, "dent": 2}, every=2)
    observing = observers(tmp_path, ObserveOptions(), watched=before)
    observing.continue_after([{"train": 1.0}], [{"epoch": 1.0, "auroc": 0.75}])

    assert observing.watched == msgspec.structs.replace(before, rows=({"epoch": 1.0, "auroc": 0.75},))
