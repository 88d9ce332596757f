"""The examples of programs that embed the monitor: they are short, and they run."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.monitor.conftest import SIDE

cv2 = pytest.importorskip("cv2")

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("inspection.py", "inspection_asyncio.py", "own_source.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.monitor.conftest import exported

    return exported(tmp_path_factory, middle=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(1)
    for number in range(6):
        low, high = (0, 255) if number in (3, 4) else (90, 160)
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(low, high, (SIDE, SIDE), dtype=np.uint8))
    return folder


def run(name: str, *words: object) -> str:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_inspection_software_gets_rejects_and_alarms_in_callbacks(model: Path, folder: Path) -> None:
    lines = run("inspection.py", model, folder).splitlines()

    assert lines[0].startswith("3.png: reject, level ")
    assert lines[1].startswith("4.png: reject, level ") or lines[1].startswith("alarm rejects: raised")
    assert any(line.startswith("alarm rejects: raised. At least 2 of the last 3 items were REJECT.") for line in lines)
    assert "grabbed=6, judged=6" in lines[-1]


def test_an_asyncio_program_gets_outcomes_in_its_loop(model: Path, folder: Path) -> None:
    lines = run("inspection_asyncio.py", model, folder).splitlines()

    assert lines == [*(f"{number}.png {'REJECT' if number in (3, 4) else 'OK'}" for number in range(6)), "6 judged"]


def test_a_generator_of_frames_is_a_source(model: Path) -> None:
    lines = run("own_source.py", model).splitlines()

    assert len(lines) == 10
    assert lines[3].startswith("iterator#3 INVALID")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_at_most_40_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 40
    assert "main" in runpy.run_path(str(EXAMPLES / name))
