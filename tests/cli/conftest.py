"""A model file for frames, one for windows, and what they judge: pictures in a tree, a labelled log."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.hand_made import frame
from tests.runtime.hand_made_files import frame_model, window_model  # noqa: F401 - fixtures of the tests here

FAULTY_ROWS = range(40, 52)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree with six good and six stained parts, and correct masks."""
    root = tmp_path_factory.mktemp("parts")
    for number in range(6):
        write_picture(root / f"train/good/{number}.png", frame(number))
        write_picture(root / f"test/good/{number}.png", frame(100 + number))
        stained = frame(200 + number)
        stained[8:28, 12:40] = 250
        write_picture(root / f"test/stain/{number}.png", stained)
        mask = np.zeros((32, 48), np.uint8)
        mask[8:28, 12:40] = 255
        write_picture(root / f"ground_truth/stain/{number}_mask.png", mask)
    return root


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of 80 rows of two channels within 1, except a fault of twelve rows at 5."""
    path = tmp_path_factory.mktemp("log") / "pump.csv"
    generator = np.random.default_rng(0)
    rows = ["time,pressure,flow,anomaly"]
    for row in range(80):
        faulty = row in FAULTY_ROWS
        pressure, flow = generator.uniform(-1, 1, 2) + (5 if faulty else 0)
        rows.append(f"{row * 0.5},{pressure:.4f},{flow:.4f},{int(faulty)}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_picture(path: Path, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
