"""From a run folder to an animation, on the command line."""

import json
import re
from pathlib import Path

import pytest
from tests.cli.running import andon

from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.foundation.extras import remedy

LEARN = ["train", "window_vae", "--data", "power_converter:runs=60,rows=16", "--steps", "16", "--hop", "16"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("animate") / "run"
    assert main([*LEARN, "--epochs", "3", "--out", str(folder), "--picture-epochs", "none"]) == EXIT_DONE
    return folder


@pytest.mark.slow
def test_what_was_made_is_told_as_one_object(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.mp4"
    code = main(["animate", str(run_folder), "-o", str(out), "--fps", "8", "--size", "300", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == EXIT_DONE
    assert list(told) == ["file", "pictures", "panels", "width", "height", "fps", "bytes", "epochs"]
    assert (told["pictures"], told["width"], told["fps"], told["bytes"]) == (4, 300, 8.0, out.stat().st_size)
    assert told["epochs"][:3] == [1, 2, 3]


@pytest.mark.slow
def test_what_was_made_is_told_in_a_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.gif"

    assert main(["animate", str(run_folder), "-o", str(out), "--panels", "reconstructions"]) == EXIT_DONE
    line = capsys.readouterr().out
    assert re.match(rf"{re.escape(str(out))}: 4 pictures \(epochs 1 to 3\) of \d+ x 1000 px \(height x width\), ", line)
    assert line.endswith(" bytes, panels reconstructions\n")
    assert out.read_bytes().startswith(b"GIF89a")


@pytest.mark.slow
def test_a_misspelt_panel_is_answered_with_the_nearest(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["animate", str(run_folder), "-o", str(tmp_path / "a.gif"), "--panels", "originels"]) == EXIT_USER

    assert "unknown panel 'originels' (did you mean 'originals'?)" in capsys.readouterr().err


def test_help_loads_no_torch() -> None:
    told = andon("animate", "--help", hidden=["torch", "PIL"])

    assert told.returncode == EXIT_DONE
    assert "--panels" in told.stdout


def test_without_torch_the_extra_is_named() -> None:
    told = andon("animate", "run", "-o", "a.gif", hidden=["torch"])

    assert told.returncode == EXIT_USER
    assert told.stderr == f"andon: animating needs torch: {remedy('train')}\n"
