"""Fixtures of hand-made model files, one for frames and one for windows. A ``conftest.py`` imports them for its tests."""

from pathlib import Path

import pytest
from tests.runtime.hand_made import FRAME, model_bytes


@pytest.fixture(scope="session")
def frame_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file of 32 x 48 RGB frames: about 0.01 for a middle grey, 0.5 for level 192, REJECT above 0.25."""
    path = tmp_path_factory.mktemp("model") / "frames.onnx"
    path.write_bytes(model_bytes(FRAME, threshold=0.25))
    return path


@pytest.fixture(scope="session")
def window_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file of windows of 4 rows of pressure and flow, 0.5 s apart, by the mean of squares. REJECT above 4."""
    path = tmp_path_factory.mktemp("model") / "windows.onnx"
    path.write_bytes(model_bytes(threshold=4.0))
    return path
