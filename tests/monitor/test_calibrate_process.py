"""The child process that calibrates: limits of time and size, no secrets, and refusals with their reason."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from andon.demo.example_line import MODEL, example
from andon.foundation.errors import ConfigError
from andon.monitor.calibrate_process import calibrate, environment, limited


def run(folder: Path, code: str, **limits: float) -> tuple[int, str, str]:
    return limited(
        [sys.executable, "-c", code],
        folder=folder,
        stop=threading.Event(),
        most_file_bytes=int(limits.pop("most_file_bytes", 1 << 20)),
        **limits,
    )


def test_the_outputs_and_the_exit_code_are_returned(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"

    assert run(tmp_path, code) == (7, "out\n", "err\n")


def test_a_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    began_s = time.monotonic()

    with pytest.raises(ConfigError, match=r"expected an end within 0\.3 s, got none"):
        run(tmp_path, "import time; time.sleep(60)", longest_s=0.3)

    assert time.monotonic() - began_s < 10


def test_c27_the_end_of_the_monitor_ends_the_child(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began_s = time.monotonic()

    with pytest.raises(ConfigError, match="the monitor stops"):
        limited(
            [sys.executable, "-c", "import time; time.sleep(60)"], folder=tmp_path, stop=stop, most_file_bytes=1 << 20
        )

    assert time.monotonic() - began_s < 10


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process exist on Linux only")
def test_a_child_cannot_fill_the_disk_or_the_memory(tmp_path: Path) -> None:
    # the pause gives the parent time to set the limits
    code, _, _ = run(tmp_path, "import time; time.sleep(0.3); open('big', 'wb').write(bytes(1 << 22))")
    assert code != 0
    assert (tmp_path / "big").stat().st_size <= 1 << 20
    code, _, errors = run(tmp_path, "import time; time.sleep(0.3); bytearray(16 << 30)")
    assert code != 0
    assert "MemoryError" in errors


def test_the_child_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_TEST_ACT", "secret-of-the-monitor")

    _, output, _ = run(tmp_path, "import os; print(dict(os.environ))")

    assert "secret-of-the-monitor" not in output
    assert environment({"PATH": "/bin", "ACT": "x"}) == {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
    }


@pytest.mark.skipif(os.name != "posix", reason="paths of this test")
def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="andon calibrate cannot be started: No such file"):
        limited(["/nonexistent"], folder=tmp_path, stop=threading.Event(), most_file_bytes=1)


def test_a_refusal_of_the_command_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_bytes(b"no model")
    (tmp_path / "s.jsonl").write_text("{}")

    with pytest.raises(ConfigError, match=r"old\.onnx: not an ONNX file: expected a model file"):
        calibrate(
            tmp_path / "old.onnx", tmp_path / "s.jsonl", tmp_path / "new.onnx", reason="x", stop=threading.Event()
        )

    assert not (tmp_path / "new.onnx").exists()


def test_without_the_extra_for_calibration_the_reason_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "absent" / "scipy"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError('absent', name='scipy')")
    monkeypatch.setenv("PYTHONPATH", str(absent.parent))
    (tmp_path / MODEL).write_bytes(example(MODEL))
    (tmp_path / "s.jsonl").write_text("{}")

    with pytest.raises(ConfigError, match=r"calibrating needs scipy: pip install .*\[calibrate\]"):
        calibrate(tmp_path / MODEL, tmp_path / "s.jsonl", tmp_path / "new.onnx", reason="x", stop=threading.Event())
