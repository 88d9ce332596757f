"""Training with windows that are chosen from the log, and what is done to the log before."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.split import split
from andon.cli import main
from andon.foundation.errors import ConfigError, DataError, NotEnoughParts
from andon.runtime.schema import WindowSpec
from andon.sources.opening import open_log
from andon.sources.series.good_rows import good_rows
from andon.sources.series.windows import cut, window_spec
from andon.training.detectors.pca import Settings
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import recipe
from andon.training.runs.export_run import export_run
from andon.training.runs.run_folder import load
from andon.training.runs.window_choice import AUTO, Length, WindowRequest
from andon.training.runs.window_settings import chosen_settings

QUIET: dict[str, Any] = {"picture_epochs": NONE}


def write(path: Path, rows: int, *, faulty: slice = slice(0), period_s: float = 0.5, shuffled: bool = False) -> Path:
    """Write a log of a cycle of 40 rows, with a label column named attack."""
    generator = np.random.default_rng(rows)
    angle = 2 * np.pi * np.arange(rows) / 40
    values = np.stack([np.sin(angle), np.cos(angle)], axis=1) + 0.2 * generator.normal(size=(rows, 2))
    label = np.zeros(rows, int)
    label[faulty] = 1
    values[faulty] += 100
    order = np.arange(rows)
    if shuffled:
        order[[10, 11]] = order[[11, 10]]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time_ms", "speed", "load", "attack"])
        table.writerows([round(1000 * period_s * row), *values[row].tolist(), label[row]] for row in order.tolist())
    return path


def test_auto_takes_the_cycle_of_the_log_and_the_record_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "good.csv", 7000)
    run = train("pca", path, tmp_path / "run", window=WindowRequest(steps=AUTO), **QUIET)
    choice = load(tmp_path / "run").record.window

    assert (run.settings.steps, run.settings.hop) == (40, 5)
    assert isinstance(run.spec, WindowSpec)
    assert (run.spec.steps, run.spec.hop, run.spec.period_s) == (40, 5, 0.5)
    assert choice is not None
    assert choice == run.record.window
    assert any("repeat themselves after 40 rows" in sentence for sentence in choice.why)


def test_a_period_puts_the_rows_onto_a_coarser_grid_and_the_run_exports(tmp_path: Path) -> None:
    path = write(tmp_path / "good.csv", 6000)
    request = WindowRequest(steps=Length(seconds=10.0), period_s=1.0)
    run = train("pca", path, tmp_path / "run", window=request, **QUIET)
    assert isinstance(run.spec, WindowSpec)
    assert (run.spec.steps, run.spec.hop, run.spec.period_s) == (10, 1, 1.0)
    assert run.spec.channels[0].resample == "mean"
    export_run(
        run,
        tmp_path / "model.onnx",
        request=CalibrationRequest(date="2026-11-30", promise=PromiseRequest(no_promise=True)),
    )


def test_rows_that_are_labelled_as_faulty_are_neither_trained_on_nor_calibrated_with_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "log.csv", 3000, faulty=slice(2500, 2600))
    with caplog.at_level(logging.WARNING):
        run = train("pca", path, tmp_path / "run", settings=Settings(steps=10, hop=5), **QUIET)

    assert isinstance(run.spec, WindowSpec)
    assert [channel.name for channel in run.spec.channels] == ["speed", "load"]
    assert max(channel.high or 0 for channel in run.spec.channels) < 5
    texts = [warning.text for warning in run.record.warnings if warning.kind == "log"]
    assert texts == [
        "log: label column 'attack': not a channel. 100 of 3000 rows are labelled as faulty.",
        "log: 100 rows that are labelled as faulty were left out, with the windows that touch them.",
    ]
    assert all(text in caplog.text for text in texts)
    exported = export_run(
        run,
        tmp_path / "model.onnx",
        request=CalibrationRequest(date="2026-11-30", promise=PromiseRequest(false_reject=0.2)),
    )
    calibration = exported.model.card.calibration
    assert calibration is not None
    assert calibration.channel_health[0].high < 5


def test_a_log_out_of_order_is_sorted_on_request_and_the_export_sorts_it_again(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", 3000, shuffled=True)
    with pytest.raises(DataError, match="give --sort"):
        train("pca", path, tmp_path / "run", settings=Settings(steps=10, hop=5), **QUIET)
    run = train("pca", path, tmp_path / "run", settings=Settings(steps=10, hop=5), sort=True, **QUIET)
    assert any("2 rows were out of order" in warning.text for warning in run.record.warnings)
    export_run(run, tmp_path / "model.onnx", request=CalibrationRequest(date="2026-11-30"))


def test_a_refusal_of_the_length_names_one_that_works(tmp_path: Path) -> None:
    path = write(tmp_path / "short.csv", 500)
    with pytest.raises(
        DataError, match=r"Windows of \d+ rows work: --steps (\d+) --hop \d+, or --steps auto\.$"
    ) as refusal:
        train("pca", path, tmp_path / "run", settings=Settings(steps=64, hop=16), **QUIET)
    works = int(str(refusal.value).rpartition("--steps auto")[0].rpartition("--steps ")[2].split()[0])
    train("pca", path, tmp_path / "run", settings=Settings(steps=works, hop=max(1, works // 8)), **QUIET)


def test_few_windows_are_reported_in_training_with_the_rows_that_are_missing(tmp_path: Path) -> None:
    run = train(
        "pca", write(tmp_path / "short.csv", 900), tmp_path / "run", settings=Settings(steps=16, hop=2), **QUIET
    )
    (text,) = [warning.text for warning in run.record.warnings if warning.kind == "few_windows"]
    assert "calibration windows of 16 rows are too few for a promise: it needs at least 50" in text
    assert "more good rows" in text
    assert "--no-promise" in text


def test_the_refusal_of_a_promise_names_the_missing_rows_at_this_tau_and_a_shorter_length(tmp_path: Path) -> None:
    run = train(
        "pca", write(tmp_path / "short.csv", 1500), tmp_path / "run", settings=Settings(steps=16, hop=2), **QUIET
    )
    with pytest.raises(NotEnoughParts) as refusal:
        export_run(
            run,
            tmp_path / "m.onnx",
            request=CalibrationRequest(date="2026-11-30", promise=PromiseRequest(false_reject=0.1)),
        )
    text = str(refusal.value)
    assert "A promise of 10 % at tau = " in text
    assert "more good rows in the log" in text
    assert "--no-promise" in text


def test_frames_have_no_window_to_choose(tmp_path: Path) -> None:
    from andon.training.contract.synthetic_data import SyntheticFrames

    with pytest.raises(ConfigError, match="expected sensor logs for a time or auto, got frames"):
        train("pixel_knn", SyntheticFrames(30), tmp_path / "run", window=WindowRequest(steps=AUTO), **QUIET)


def test_the_command_prints_the_choice_and_resumes_with_the_same_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "pca", "--data", str(write(tmp_path / "good.csv", 7000)), "--out", str(tmp_path / "run")]
    words += ["--steps", "auto", "--picture-epochs", "none"]
    assert main(words) == 0
    assert "window           steps 40 (20 s): 2 channels repeat themselves after 40 rows" in capsys.readouterr().out
    assert main([*words, "--resume", "--explained", "0.95", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["window"]["steps"] == 40


def test_a_text_that_is_no_length_is_refused_by_its_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "pca", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*words, "--steps", "long"]) == 2
    assert "--steps: expected rows (64), a time (2s, 250ms, 5min) or auto, got 'long'" in capsys.readouterr().err
    assert main([*words, "--steps", "-4"]) == 2
    assert "--steps: expected an integer >= 1, got '-4'" in capsys.readouterr().err


def test_a_short_log_gets_shorter_windows_if_nobody_chose_a_length(tmp_path: Path) -> None:
    path = write(tmp_path / "short.csv", 500)
    run = train("pca", path, tmp_path / "run", **QUIET)
    choice = run.record.window

    assert choice is not None
    assert 2 <= choice.steps < Settings().steps
    assert (run.settings.steps, run.settings.hop) == (choice.steps, choice.hop)
    assert choice.why == (
        f"steps {choice.steps} ({choice.steps * 0.5:g} s): the log is too short for windows of 64 rows",
    )
    with pytest.raises(DataError, match=f"Windows of {choice.steps} rows work"):
        train("pca", path, tmp_path / "chosen", settings=Settings(), **QUIET)


@pytest.mark.parametrize("rows", [100, 120, 150])
def test_shortened_windows_leave_enough_of_them_for_validation(tmp_path: Path, rows: int) -> None:
    found = open_log(str(write(tmp_path / "short.csv", rows)))
    known = recipe("window_vae")
    settings, _, choice = chosen_settings(known, known.settings(), WindowRequest(shorten=True), found, share=0.3)
    assert choice is not None
    windows = cut(good_rows(found), window_spec(found.found, settings.steps, settings.hop))
    used = split(windows.refs, seed=0, validation=True, window_s=0.5 * settings.steps, calibration_share=0.3)
    assert len(used.validation) >= 2


def test_a_long_log_keeps_the_windows_of_the_settings(tmp_path: Path) -> None:
    run = train("pca", write(tmp_path / "long.csv", 6000), tmp_path / "run", **QUIET)

    assert run.settings == Settings()
    assert run.record.window is None


def test_the_command_shortens_windows_unless_a_length_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "short.csv", 500)
    words = ["train", "whitening", "--data", str(path)]

    assert main([*words, "--out", str(tmp_path / "given"), "--steps", "64"]) == 2
    assert "or --steps auto" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "the log is too short for windows of 64 rows" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "run"), "--resume"]) == 0
