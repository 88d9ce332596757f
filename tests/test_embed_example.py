"""`examples/embed.py`, the example for programs that embed the runtime."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import write_picture
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.runtime import Detector
from andon.runtime.heat_map import overlay
from andon.sources.pictures.decode import decode_file

EXAMPLE = Path(__file__).parents[1] / "examples" / "embed.py"
_WITHOUT = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cv2", "PIL", "torch", "scipy", "sklearn", "matplotlib", "onnx"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "frames.onnx").write_bytes(model_bytes(FRAME, threshold=0.25))
    np.save(tmp_path / "good.npy", frame(1))
    np.save(tmp_path / "bad.npy", frame(2, level=220))
    write_picture(tmp_path / "bad.png", frame(2, level=220))
    return tmp_path


def _run(folder: Path, *words: str, base_install: bool = True) -> "subprocess.CompletedProcess[str]":
    command = ["-c", _WITHOUT, str(EXAMPLE)] if base_install else [str(EXAMPLE)]
    return subprocess.run(
        [sys.executable, *command, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_example_runs_on_the_base_install(folder: Path) -> None:
    good = _run(folder, "frames.onnx", "good.npy")
    bad = _run(folder, "frames.onnx", "bad.npy")

    assert (good.returncode, good.stderr, good.stdout.split()[0]) == (0, "", "OK")
    assert (bad.returncode, bad.stderr, bad.stdout.split()[0]) == (0, "", "REJECT")
    assert "for a frame (32, 48), drawn in reject.png" in bad.stdout

    detector = Detector.load(folder / "frames.onnx")
    judged = frame(2, level=220)
    calibration = detector.card.calibration
    assert calibration is not None
    assert calibration.map_scale is not None
    drawn = overlay(judged, detector(judged).evidence["anomaly_map"], calibration.map_scale)
    assert np.array_equal(decode_file(folder / "reject.png"), drawn)


def test_a_picture_needs_the_camera_extra_and_the_example_says_so(folder: Path) -> None:
    without = _run(folder, "frames.onnx", "bad.png")
    with_cv2 = _run(folder, "frames.onnx", "bad.png", base_install=False)

    assert without.returncode == 1
    assert without.stderr.count("\n") == 1
    assert "[camera]" in without.stderr
    assert (with_cv2.returncode, with_cv2.stdout.split()[0]) == (0, "REJECT")


def test_the_wrong_number_of_words_is_answered_with_the_usage(folder: Path) -> None:
    ended = _run(folder, "frames.onnx", base_install=False)

    assert ended.returncode == 1
    assert ended.stderr.startswith("usage: python embed.py FILE.onnx FRAME")
