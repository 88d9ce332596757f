"""`andon doctor` in real and in broken environments, which are folders with stub packages."""

import json
from pathlib import Path

import pytest
from tests.doctor.stub_packages import base_without_onnxruntime, onnxruntime, run, wheel
from tests.runtime.hand_made import model_bytes

from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE, main

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder with the base install without ONNX Runtime."""
    return base_without_onnxruntime(tmp_path / "base")


def test_this_environment_has_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor"])

    out = capsys.readouterr().out
    assert "provider CPU: ok: a session opens" in out
    assert code == EXIT_DONE, out


def test_a_model_file_reproduces_its_golden_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes())

    assert main(["doctor", str(file), "--json"]) == EXIT_DONE

    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {tuple(finding) for finding in findings} == {("subject", "ok", "text", "remedy", "warning")}
    assert findings[-1]["subject"] == "model"
    assert "reproduces its golden sample on cpu" in findings[-1]["text"]


def test_a_damaged_model_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes()[:-100])

    assert main(["doctor", str(file)]) == EXIT_CHECK_FAILED

    assert f"model: FAILED: {file}: " in capsys.readouterr().out


def test_the_empty_module_that_an_uninstall_leaves_is_found_by_the_doctor_and_by_the_loader(
    base: Path, tmp_path: Path
) -> None:
    stub, file = tmp_path / "stub", tmp_path / "model.onnx"
    file.write_bytes(model_bytes())
    # the files that only the wheel for GPUs has remain
    wheel(stub, "onnxruntime-gpu", "1.31.1", {"onnxruntime/capi/libonnxruntime_providers_cuda.so": "left over"})
    line = "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1"

    doctor = run("doctor", str(file), path=(stub, base))
    loader = run("bench", str(file), path=(stub, base))

    assert (doctor.returncode, doctor.stderr) == (1, "")
    assert "onnxruntime: FAILED: the module onnxruntime is an empty folder" in doctor.stdout
    assert f"\n  {line}\n" in doctor.stdout
    assert "not loaded, because ONNX Runtime does not work" in doctor.stdout
    assert loader.returncode == 2
    assert line in loader.stderr
    assert "Traceback" not in loader.stderr


def test_a_missing_onnx_runtime_is_found_by_the_doctor_and_by_the_loader(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model_bytes())

    doctor, loader = run("doctor", path=(base,)), run("bench", str(file), path=(base,))

    assert doctor.returncode == 1
    assert "onnxruntime: FAILED: the module onnxruntime is not installed\n  pip install onnxruntime\n" in doctor.stdout
    assert loader.returncode == 2
    assert "Run: pip install onnxruntime" in loader.stderr


@pytest.mark.parametrize(("in_place", "result"), [("onnxruntime", "FAILED"), ("onnxruntime-gpu", "WARNING")])
def test_two_wheels_are_judged_by_the_one_in_place(base: Path, tmp_path: Path, in_place: str, result: str) -> None:
    stub = tmp_path / "stub"
    listed = (CPU,) if in_place == "onnxruntime" else (CUDA, CPU)
    wheel(stub, "onnxruntime", "1.31.1")
    files = onnxruntime(package=in_place, version="1.31.1", listed=listed, opens=listed)
    wheel(stub, "onnxruntime-gpu", "1.31.1", files)

    done = run("doctor", path=(stub, base))

    assert f"onnxruntime: {result}: onnxruntime 1.31.1 and onnxruntime-gpu 1.31.1 are installed" in done.stdout
    assert "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu" in done.stdout
    assert done.returncode == (1 if result == "FAILED" else 0)


def test_a_listed_cuda_that_falls_back_is_found_by_the_doctor_and_by_the_loader(base: Path, tmp_path: Path) -> None:
    stub, file = tmp_path / "stub", tmp_path / "model.onnx"
    file.write_bytes(model_bytes())
    printed = "Failed to load libcublasLt.so.13: cannot open shared object file"
    files = onnxruntime(package="onnxruntime-gpu", version="1.31.1", listed=(CUDA, CPU), opens=(CPU,), printed=printed)
    wheel(stub, "onnxruntime-gpu", "1.31.1", files)

    doctor = run("doctor", path=(stub, base))
    loader = run("bench", str(file), "--device", "cuda", path=(stub, base))

    assert "provider CUDA: FAILED" in doctor.stdout
    for text in (doctor.stdout, loader.stderr):
        assert "libcublasLt.so.13" in text
        assert "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'" in text
    assert (doctor.returncode, loader.returncode) == (1, 2)


def test_a_runtime_that_ends_the_process_does_not_end_the_doctor(base: Path, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    crash = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    wheel(stub, "onnxruntime", "1.31.1", {"onnxruntime/__init__.py": crash})

    done = run("doctor", path=(stub, base))

    assert done.returncode == 1
    assert "onnxruntime: FAILED: cannot be imported: the process ended with signal 4" in done.stdout


def test_doubled_wheels_of_opencv_are_a_warning(base: Path, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    wheel(stub, "opencv-python", "4.12.0.88", {"cv2/__init__.py": "__version__ = '4.12.0'"})
    wheel(stub, "opencv-python-headless", "5.0.0.93")

    done = run("doctor", path=(stub, base))

    assert "opencv: WARNING: opencv-python-headless 5.0.0.93 and opencv-python 4.12.0.88 are installed" in done.stdout


def test_a_user_without_a_home_folder_gets_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(_number: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ANDON_CACHE", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)  # a container that runs with any user number

    assert main(["doctor"]) == EXIT_CHECK_FAILED

    out = capsys.readouterr().out
    assert "folder of the cache: FAILED: ~: this user has no home folder\n  export ANDON_CACHE=" in out


def test_a_name_of_a_folder_that_cannot_exist_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDON_CACHE", "/tmp/" + "x" * 300)

    assert main(["doctor"]) == EXIT_CHECK_FAILED
    assert "File name too long" in capsys.readouterr().out
