"""Export a run folder to one file, and print a summary."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import write_picture

from andon.cli import EXIT_DONE, main
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
