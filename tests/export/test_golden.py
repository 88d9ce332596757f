"""The golden sample of a file: synthetic, or made of a real part on request."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.toys import FRAMES, Edges, Frames

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.export import Exported, export
from andon.export.golden import LARGEST, real
from andon.export.graph import Pipeline
from andon.runtime import DataError, Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import ScoreRule


@given(height=st.integers(16, 5000), width=st.integers(16, 5000))
def test_a_frame_of_any_shape_becomes_one_that_is_small_and_that_a_graph_takes(height: int, width: int) -> None:
    frame = np.broadcast_to(np.uint8(0), (height, width, 1))

    assert all(16 <= side <= LARGEST for side in real(frame).shape[:2])


def test_the_whole_part_stays_in_view() -> None:
    frame = np.zeros((200, 2048, 3), np.uint8)
    frame[-2:, -16:] = 255

    assert real(frame)[-1, -1].tolist() == [255, 255, 255]
    assert real(frame).shape == (100, 128, 3)


def test_a_window_is_kept_as_it_is() -> None:
    window = np.ones((500, 2), np.float32)

    assert real(window) is window


def exported(frames: Frames, path: Path) -> Exported:
    promise, reading = PromiseRequest(no_promise=True), ScoreRule(map="edges")
    return export(
        Pipeline(Edges(), FRAMES, reading),
        frames,
        path,
        request=CalibrationRequest(promise=promise, date=""),
        golden_real=True,
    )


class Wavy(Frames):
    """Frames that keep their contrast at any reduction."""

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        assert isinstance(item, Item)
        wave = 60 * np.sin(np.linspace(0, 12, self.found.frame_size[1] if self.found.frame_size else 0))
        return Item(ref, np.clip(item.data + wave[:, np.newaxis], 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(16, 2000), pytest.param((200, 2048), marks=pytest.mark.slow)])
def test_a_file_with_a_real_part_of_elongated_frames_verifies(tmp_path: Path, size: tuple[int, int]) -> None:
    made = exported(Wavy(3, size=size), tmp_path / "e.onnx")

    assert made.model.golden is not None
    assert made.model.golden.origin == "real"
    Detector.load(made.path).verify()


def test_a_part_that_the_file_calls_invalid_is_no_sample(tmp_path: Path) -> None:
    frames = Frames(30, dark=[0])
    golden = exported(frames, tmp_path / "e.onnx").model.golden
    second = frames.read(frames.refs[1])

    assert golden is not None
    assert isinstance(second, Item)
    assert np.array_equal(golden.input.array(), second.data)


def test_parts_that_cannot_be_judged_are_refused_as_samples_with_the_way_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none among the first 5. Use --golden synthetic"):
        exported(Frames(30, dark=range(5)), tmp_path / "e.onnx")
