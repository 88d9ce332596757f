"""A model file for frames and one for windows, with pictures and a log that they judge."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.hand_made import frame
from tests.runtime.hand_made_files import frame_model, window_model  # noqa: F401 - fixtures of the tests here


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 20 good pictures, 10 bright ones that are rejected, and one that is not a picture."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(20):
        write_picture(root / f"good/{number}.png", frame(number))
    for number in range(10):
        write_picture(root / f"bright/{number}.png", frame(100 + number, level=220))
    (root / "bright/broken.png").write_bytes(b"not a picture")
    return root


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of 400 rows with three holes of different length, a slow start and a fault."""
    path = tmp_path_factory.mktemp("log") / "pump.csv"
    generator = np.random.default_rng(7)
    lines = ["time,pressure,flow"]
    for row in range(400):
        if row in range(50, 71) or row in range(200, 203) or row in range(301, 330):
            continue
        pressure, flow = generator.uniform(-1, 1, 2) + (5 if 350 <= row < 360 else 0)
        lines.append(f"2026-11-01T00:{row // 2 // 60:02}:{row * 0.5 % 60:06.3f}Z,{pressure:.4f},{flow:.4f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_picture(path: Path, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
