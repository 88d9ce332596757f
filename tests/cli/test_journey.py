"""Train, export, inspect, bench from the command line: the sensor way of the README, small."""

import json
from pathlib import Path

import pytest

from andon.cli import EXIT_DONE, EXIT_USER, main

pytestmark = pytest.mark.slow

LEARN = ["train", "window_vae", "--data", "power_converter:runs=100,rows=16", "--steps", "16", "--hop", "16"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journey") / "run"
    assert main([*LEARN, "--epochs", "1", "--out", str(folder)]) == EXIT_DONE
    return folder


def test_train_tells_what_it_learnt_as_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LEARN, "--epochs", "1", "--out", str(tmp_path / "run"), "--seed", "5", "--json"]) == EXIT_DONE

    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == ""
    assert list(told)[:14] == [
        "run", "detector", "train", "validation", "calibration", "lost", "copies", "epochs", "seconds", "seed", "threads",
        "device", "input", "parameters",
    ]  # fmt: skip
    assert (told["train"], told["validation"], told["calibration"]) == (60, 10, 30)
    assert (told["epochs"], told["seed"], told["lost"]) == (1, 5, 0)
    assert (told["input"], told["parameters"] > 0) == ("16 rows x 3 channels", True)


def test_train_watches_labelled_parts_and_draws_the_epochs_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    watch = ["--watch", "power_converter:seed=2,rows=8000,faults=3", "--watch-every", "2"]
    code = main([*LEARN, "--epochs", "4", "--out", str(folder), *watch, "--picture-epochs", "2,3", "--json"])

    assert code == EXIT_DONE
    assert 0.5 < json.loads(capsys.readouterr().out)["watched_auroc"] <= 1.0
    assert [row["epoch"] for row in json.loads((folder / "run.json").read_text())["watched"]["rows"]] == [1, 2, 4]
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == [
        "curves.png", "epoch_0002.png", "epoch_0003.png", "kept.png", "latent.png", "scores.png",
    ]  # fmt: skip


def test_an_epoch_that_was_kept_is_exported_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main([*LEARN, "--epochs", "4", "--out", str(folder), "--checkpoint-epochs", "every=2"]) == EXIT_DONE
    assert main(["export", str(folder), "-o", str(tmp_path / "a.onnx"), "--epoch", "2", "--json"]) == EXIT_DONE
    assert main(["export", str(folder), "-o", str(tmp_path / "b.onnx"), "--epoch", "3"]) == EXIT_USER

    assert "no checkpoint of epoch 3. Kept epochs: 2, 4." in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()


def test_no_picture_epochs_leave_the_curves_alone(tmp_path: Path) -> None:
    assert main([*LEARN, "--epochs", "1", "--out", str(tmp_path / "run"), "--picture-epochs", "none"]) == EXIT_DONE

    assert [path.name for path in (tmp_path / "run" / "pictures").iterdir()] == ["curves.png"]


def test_a_folder_that_holds_a_run_is_refused_with_the_way_on(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LEARN, "--out", str(run_folder)]) == EXIT_USER

    assert "--resume" in capsys.readouterr().err


def test_a_setting_out_of_bounds_is_named_by_its_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LEARN, "--epochs", "-3", "--out", str(tmp_path / "run")]) == EXIT_USER

    assert capsys.readouterr().err.startswith("andon: --epochs: expected an integer >= 1, got ")


def test_export_prints_what_inspect_prints_and_parity(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "converter.onnx"
    capsys.readouterr()

    assert main(["export", str(run_folder), "-o", str(model), "--json"]) == EXIT_DONE

    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == ""
    assert main(["inspect", str(model), "--json"]) == EXIT_DONE
    inspected = json.loads(capsys.readouterr().out)
    added = ("parity", "outlying_parts", "warnings", "suspects", "window")
    assert told == inspected | {name: told[name] for name in added} | {"file": str(model)}
    assert told["parity"]["worst_relative"] < 1e-4
    assert (told["calibration"]["alpha"], told["calibration"]["n"]) == (0.1, 30)


def test_a_promise_that_the_run_cannot_carry_is_one_line_and_leaves_the_old_file(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "converter.onnx"
    model.write_bytes(b"old")
    capsys.readouterr()

    assert main(["export", str(run_folder), "-o", str(model), "--false-reject", "0.01"]) == EXIT_USER

    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "needs 299" in err
    assert model.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["converter.onnx"]
