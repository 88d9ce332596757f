"""Export a run folder to one file, and print a summary."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import write_picture

from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.runtime.model_file.format import read


@pytest.fixture(scope="module")
def elongated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was trained on good parts of 16 x 600 pixels, with some parts for calibration."""
    folder = tmp_path_factory.mktemp("elongated")
    generator = np.random.default_rng(0)
    wave = 128 + 60 * np.sin(np.linspace(0, 12, 600))
    for number in range(20):
        pixels = wave + generator.integers(-20, 20, (16, 600))
        write_picture(folder / f"train/good/{number}.png", pixels.astype(np.uint8))
    learn = ["train", "pixel_knn", "--data", str(folder), "--out", str(folder / "run")]
    assert main([*learn, "--picture-epochs", "none"]) == EXIT_DONE
    return folder / "run"


def test_a_real_golden_sample_can_be_had_of_elongated_frames(
    elongated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(elongated), "-o", str(tmp_path / "long.onnx"), "--no-promise", "--golden", "real"]
    assert main(words) == EXIT_DONE

    golden = read(tmp_path / "long.onnx").golden
    assert golden is not None
    assert (golden.origin, golden.input.shape) == ("real", (16, 120, 1))
    assert "status not compared for 0 items very near the threshold" in capsys.readouterr().out


def test_parity_is_told_in_numbers(elongated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(elongated), "-o", str(tmp_path / "a.onnx"), "--no-promise", "--json"]) == EXIT_DONE

    parity = json.loads(capsys.readouterr().out)["parity"]
    assert parity.keys() == {"compared", "worst_relative", "near_threshold"}
    assert parity["worst_relative"] < 1e-4


def test_further_promises_are_flags_and_their_sentences_are_printed(
    elongated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(elongated), "-o", str(tmp_path / "a.onnx"), "--confidence", "0.8"]
    assert main([*words, "--shift-parts", "100", "--shift-rejects", "50", "--review", "0.4"]) == EXIT_DONE

    printed = capsys.readouterr().out
    assert "shift       with 80 % confidence at most 50 of the next 100 good parts are rejected" in printed
    assert "review      with " in printed
    assert "at most 40 % of good parts do not pass (review or reject)" in printed
    model = read(tmp_path / "a.onnx")
    assert model.review < model.threshold
    assert f"pass limit  {model.review:.9g}" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shift-parts", "100"], "expected --shift-parts and --shift-rejects together"),
        (["--shift-rejects", "1"], "expected --shift-parts and --shift-rejects together"),
        (["--every-shift", "0.9"], "--every-shift: expected --shift-parts and --shift-rejects with it"),
        (["--shift-parts", "10", "--shift-rejects", "10"], "rejects of a shift: expected an integer from 0 to 9"),
    ],
)
def test_incomplete_flags_of_a_shift_are_refused(
    elongated: Path, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(elongated), "-o", str(tmp_path / "a.onnx"), *flags]) == EXIT_USER

    assert message in capsys.readouterr().err
