"""A package is imported in a child process: it cannot end the doctor, print into its answer, or keep it waiting."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from andon.doctor.facts import import_in_child, installed_packages
from andon.doctor.probe import ONE_NODE


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the module `andon_stub`, which a child process can import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "andon_stub.py"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "signal 4"),
        ("import sys; print('broken', file=sys.stderr); import os; os._exit(3)", "exit code 3: broken"),
        ("raise OSError('libGL.so.1: cannot open')", "OSError: libGL.so.1: cannot open"),
    ],
)
def test_a_module_that_fails_gives_the_reason(stub: Path, text: str, error: str) -> None:
    stub.write_text(text, encoding="utf-8")

    assert error in import_in_child("andon_stub").error


def test_a_module_that_prints_does_not_disturb_the_answer(stub: Path) -> None:
    stub.write_text("import os; print('[]'); os.write(1, b'noise'); __version__ = '7'", encoding="utf-8")

    result = import_in_child("andon_stub")

    assert (result.version, result.error) == ("7", "")


def test_a_module_that_does_not_return_is_given_up(stub: Path) -> None:
    stub.write_text("import time; time.sleep(60)", encoding="utf-8")

    assert import_in_child("andon_stub", limit_s=1.0).error == "no answer within 1 s"


def test_the_model_with_one_node_is_valid_and_opens_on_the_cpu() -> None:
    onnx.checker.check_model(onnx.load_from_string(ONE_NODE))

    result = import_in_child("onnxruntime")

    assert {one.provider: one.runs_on for one in result.opened}["CPUExecutionProvider"] == "CPUExecutionProvider"


def test_names_of_packages_are_normalised() -> None:
    packages = installed_packages()

    assert packages["andon"]
    assert "pytest-xdist" in packages


def test_the_doctor_imports_no_package_that_could_end_it() -> None:
    script = (
        "import sys, andon.cli.doctor, andon.doctor.examination; "
        "print([name for name in ('onnxruntime', 'cv2', 'torch', 'ray') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
