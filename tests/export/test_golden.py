"""The sample that a file carries, made of a real part where somebody asks for that."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.toys import FRAMES, Edges, Frames

from andon.calibration.calibrate import Wish
from andon.export.export import export
from andon.export.golden import LARGEST, real
from andon.runtime import Detector
from andon.runtime.schema import Reading
from andon.sources.items import Item, Lost, Ref


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


class Wavy(Frames):
    """Frames that keep their contrast however far they are shrunk."""

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        assert isinstance(item, Item)
        wave = 60 * np.sin(np.linspace(0, 12, self.found.frame_size[1] if self.found.frame_size else 0))
        return Item(ref, np.clip(item.data + wave[:, np.newaxis], 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(16, 2000), (200, 2048)])
def test_a_file_with_a_real_part_of_elongated_frames_verifies(tmp_path: Path, size: tuple[int, int]) -> None:
    made = export(
        Edges(),
        FRAMES,
        Wavy(3, size=size),
        tmp_path / "e.onnx",
        reading=Reading(map="edges"),
        wish=Wish(no_promise=True),
        date="",
        golden_real=True,
    )

    assert made.model.golden is not None
    assert made.model.golden.origin == "real"
    Detector.load(made.path).verify()
