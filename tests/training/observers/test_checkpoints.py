"""Checkpoints can be exported as if the training had ended at their epoch. Keeping them does not change the training."""

from pathlib import Path

import pytest
import torch
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.cli.inspect import render
from andon.foundation.errors import TrainingError
from andon.runtime import Detector
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.fitting.gradient_descent import kept_epoch
from andon.training.observers.epochs import NONE, each, just
from andon.training.recipe.recipe import detectors, recipe
from andon.training.runs.export_run import export_run
from andon.training.runs.paths import kept_epochs
from andon.training.runs.run_folder import LoadedRun, load

BY_EPOCHS = [name for name in detectors() if "epochs" in recipe(name).settings.__struct_fields__]
LIKE_ANOTHER = ("autoencoder", "conv_vae", "memory_vae")
"""Detectors trained by the same loop as unet_autoencoder."""
WINDOWS = "power_converter:runs=60,rows=32"


def trained(name: str, out: Path, **arguments: object) -> LoadedRun:
    known = recipe(name)
    data = SyntheticFrames(40) if known.gives == "frame" else WINDOWS
    return train(known, data, out, settings=known.tiny, device="cpu", threads=1, picture_epochs=NONE, **arguments)  # type: ignore[arg-type]


def differing(one: LoadedRun, other: LoadedRun) -> list[str]:
    expected, got = one.scorer.state_dict(), other.scorer.state_dict()
    assert expected.keys() == got.keys()
    return [key for key in expected if not torch.equal(expected[key], got[key])]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LIKE_ANOTHER else []) for name in BY_EPOCHS]
)
def test_the_checkpoint_of_the_kept_epoch_is_what_a_training_without_checkpoints_leaves(
    name: str, tmp_path: Path
) -> None:
    alone, run = trained(name, tmp_path / "alone"), trained(name, tmp_path / "run", checkpoint_epochs=each(1))
    epochs = [int(row["epoch"]) for row in run.record.history]
    stayed = kept_epoch(run.record.history, run.settings) or epochs[-1]

    assert kept_epochs(run.path) == epochs
    assert kept_epochs(alone.path) == []
    assert differing(alone, run) == []
    assert differing(alone, load(run.path, epoch=stayed)) == []
    assert load(run.path, epoch=stayed).epoch == stayed
    assert load(run.path).epoch is None


def test_a_run_that_was_cut_short_is_exported_from_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("window_vae", tmp_path / "run", checkpoint_epochs=each(2), progress=stop)
    promise = PromiseRequest(no_promise=True)
    early = load(tmp_path / "run", epoch=2)
    exported = export_run(
        early, tmp_path / "early.onnx", request=CalibrationRequest(promise=promise, date="2026-01-02")
    )

    assert Detector.load(exported.path).model.card.checkpoint_epoch == 2
    assert "weights of the checkpoint of epoch 2" in render(exported.model)
    resumed = trained("window_vae", tmp_path / "run", resume=True)
    assert kept_epochs(resumed.path) == [2, 4]
    assert differing(load(resumed.path, epoch=2), early) == []
    with pytest.raises(TrainingError, match=r"no checkpoint of epoch 3\. Kept epochs: 2, 4\."):
        load(resumed.path, epoch=3)


def test_listed_epochs_are_kept(tmp_path: Path) -> None:
    assert kept_epochs(trained("window_vae", tmp_path / "run", checkpoint_epochs=just(3, 1, 99)).path) == [1, 3]


def test_a_run_without_checkpoints_says_how_to_get_them(tmp_path: Path) -> None:
    run = trained("window_vae", tmp_path / "run")

    with pytest.raises(TrainingError, match=r"Kept epochs: none\. Train with --checkpoint-epochs"):
        load(run.path, epoch=1)


def test_a_detector_that_learns_in_one_go_says_that_it_keeps_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained("pca", tmp_path / "run", checkpoint_epochs=each(1))

    assert "pca does not train in epochs" in caplog.text
    assert kept_epochs(run.path) == []
