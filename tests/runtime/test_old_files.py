"""Files that andon wrote before schema 1.1 load and give the same verdicts.

The three files were exported by andon at schema 1.0 and are never renewed: `grey` and its review band by hand (`hand_made`),
`edges` and `squares` from the scorers in `tests/export/toys.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from andon.runtime import Detector
from andon.runtime.model_file.format import read
from andon.runtime.schema import WindowSpec

OLD = Path(__file__).parent / "golden" / "schema_1_0"
NAMES = ("grey", "edges", "squares")


def items(detector: Detector) -> list[NDArray[Any]]:
    """Return inputs from integer arithmetic, which are the same on every machine and with every version of numpy."""
    spec = detector.card.input
    if isinstance(spec, WindowSpec):
        shape = (spec.steps, len(spec.channels))
        center = np.array([channel.center for channel in spec.channels])
        scale = np.array([channel.scale for channel in spec.channels])
        noise = [_noise(shape, seed) / 128.0 - 1.0 for seed in range(6)]
        windows = [
            (center + scale * spread * one).astype(np.float32) for spread, one in zip(_SPREADS, noise, strict=True)
        ]
        return [*windows, np.full(shape, np.nan, np.float32)]
    height, width = spec.frame_size or (60, 80)
    frame = (height, width, spec.channels)
    levels = ((0, 1), (64, 2), (128, 4), (166, 8), (190, 8), (7, 256))
    return [(low + _noise(frame, seed) // part).astype(np.uint8) for seed, (low, part) in enumerate(levels)]


def verdicts(detector: Detector) -> list[dict[str, Any]]:
    """Return the values of each verdict that a program reads."""
    judged = [detector(item) for item in items(detector)]
    return [
        {
            "status": str(verdict.status),
            "reason": verdict.reason.code,
            "score": None if np.isnan(verdict.score) else verdict.score,
            "p_value": None if np.isnan(verdict.p_value) else verdict.p_value,
            "level": None if np.isnan(verdict.level) else verdict.level,
            "evidence": sorted(verdict.evidence),
        }
        for verdict in judged
    ]


_SPREADS = (0.1, 0.5, 1.0, 2.0, 3.0, 20.0)


def _noise(shape: tuple[int, ...], seed: int) -> NDArray[np.int64]:
    """Integers from 0 to 255 without visible order: a linear congruential generator, taken at its high bits."""
    numbers = np.arange(1 + seed * 100_000, 1 + seed * 100_000 + int(np.prod(shape)), dtype=np.uint64)
    for _ in range(3):
        numbers = (numbers * np.uint64(1_664_525) + np.uint64(1_013_904_223)) & np.uint64(0xFFFF_FFFF)
        numbers ^= numbers >> np.uint64(15)
    return ((numbers >> np.uint64(12)) & np.uint64(0xFF)).astype(np.int64).reshape(shape)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_schema_1_0_gives_the_verdicts_that_it_gave_then(name: str) -> None:
    expected = json.loads((OLD / "verdicts.json").read_text(encoding="utf-8"))[name]
    detector = Detector.load(OLD / f"{name}.onnx")

    assert detector.card.schema == (1, 0)
    assert detector.threshold == expected["threshold"]
    for got, then in zip(verdicts(detector), expected["verdicts"], strict=True):
        for number in ("score", "p_value", "level"):
            assert _number(got.pop(number)) == pytest.approx(_number(then.pop(number)), rel=1e-6, nan_ok=True)
        assert got == then


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_schema_1_0_keeps_its_digests_and_its_statement(name: str) -> None:
    expected = json.loads((OLD / "verdicts.json").read_text(encoding="utf-8"))[name]
    model = read(OLD / f"{name}.onnx")

    assert (model.digest, model.graph_sha256) == (expected["digest"], expected["graph_sha256"])
    assert model.card.calibration is not None
    assert model.card.calibration.sentence == expected["promise"]


@pytest.mark.parametrize("name", ["grey", "squares"])
def test_the_golden_sample_of_a_file_of_schema_1_0_passes(name: str) -> None:
    Detector.load(OLD / f"{name}.onnx").verify()
