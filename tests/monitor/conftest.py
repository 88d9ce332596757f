"""A real model file, small enough to be made in the session, and the sizes it was made for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from andon.runtime.detector import Detector
from andon.runtime.items import Item, Ref
from andon.sources.collection import FoundFrames

SIDE = 24


class _NoiseParts:
    """Good parts: frames ``[24, 24, 1]`` of weak noise around a middle grey."""

    found = FoundFrames(channels=1, frame_size=(SIDE, SIDE), largest=(SIDE, SIDE))

    @property
    def refs(self) -> Sequence[Ref]:
        return [Ref(key=f"{number:03}.png") for number in range(70)]

    def read(self, ref: Ref) -> Item:
        rng = np.random.default_rng(int(ref.key[:3]))
        return Item(ref, rng.integers(90, 160, (SIDE, SIDE, 1), dtype=np.uint8))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores how far grey levels are from the middle; 24 x 24 grey frames of noise between 90 and 160 are good."""
    return exported(tmp_path_factory, middle=0.5)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file for the same frames with another digest."""
    return exported(tmp_path_factory, middle=0.49)


def exported(tmp_path_factory: pytest.TempPathFactory, *, middle: float) -> Path:
    """Export a model file whose score is the distance of grey levels from a middle."""
    import torch
    from torch import Tensor, nn

    from andon.calibration.request import CalibrationRequest
    from andon.export.evidence import Evidence
    from andon.export.export import export
    from andon.export.graph import Pipeline
    from andon.runtime.schema import FrameSpec, ScoreRule

    class Far(nn.Module):
        def forward(self, frames: Tensor) -> Evidence:
            return Evidence({"far": (frames - middle).abs().mean(1)}, {})

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    spec = FrameSpec(channels=1, size=(SIDE, SIDE))
    export(
        Pipeline(Far(), spec, ScoreRule(map="far")), _NoiseParts(), path, request=CalibrationRequest(date="2026-11-22")
    )
    return path


@pytest.fixture(scope="session")
def detector(tiny_model: Path) -> Detector:
    """Return the loaded model file."""
    return Detector.load(tiny_model)
