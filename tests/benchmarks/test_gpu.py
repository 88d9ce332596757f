"""The script for a GPU states clearly that there is none, and its code runs on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.gpu import no_cuda
from tests.runtime.hand_made import FRAME, model_bytes

ROOT = Path(__file__).parents[2]


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes(FRAME, threshold=0.3))
    return file


def test_without_a_gpu_the_reason_is_printed(model: Path) -> None:
    if not no_cuda():
        pytest.skip("this machine has a GPU")

    done = run(model)

    assert done.returncode == 3
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["at_hand"] is False
    assert json.loads(line)["why"]


def test_the_same_code_runs_on_the_cpu(model: Path) -> None:
    done = run(model, "--device", "cpu", "--cameras", 2, "--seconds", 0.4)

    # frames can be late on a busy machine
    assert done.returncode in (0, 1), done.stderr
    parity, cost, cameras = map(json.loads, done.stdout.splitlines())
    assert (parity["device"], parity["other_decisions"], parity["kept"]) == ("cpu", 0, True)
    assert list(cost["ms"]) == ["1", "2", "4", "8", "16", "32"]
    assert cameras["frames"] == 20


@pytest.mark.gpu(by="onnxruntime")
@pytest.mark.slow
def test_a_gpu_keeps_all_bars(model: Path) -> None:
    done = run(model, "--seconds", 20)

    assert done.returncode == 0, done.stdout + done.stderr
