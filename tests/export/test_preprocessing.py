"""Prepared tensors from raw input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.export.toys import WINDOWS

from andon.export.preprocessing import PrepareFrames, PrepareWindows
from andon.export.resize import Resize
from andon.runtime.crop import window
from andon.runtime.schema import FrameSpec, Reason


def _frame(height: int, width: int, seed: int = 0) -> torch.Tensor:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(rows / 19) + 40 * np.cos(columns / 23 + seed)
    return torch.from_numpy(np.repeat(waves[None, :, :, None], 3, axis=3).astype(np.uint8))


def test_the_spec_chooses_between_a_thinned_and_an_exact_resize() -> None:
    spec = FrameSpec(channels=3, size=(32, 32), scale=1.0)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 200, 300, 3), dtype=np.uint8))

    fast, _ = PrepareFrames(spec)(noise)
    exact, _ = PrepareFrames(replace(spec, resize="exact"))(noise)

    assert torch.equal(fast, Resize((32, 32))(noise))
    assert torch.equal(exact, Resize((32, 32), thin=False)(noise))


def test_a_frame_of_the_size_wanted_stays_as_it_is() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8))

    prepared, _ = PrepareFrames(FrameSpec(channels=1, size=(28, 28), scale=1.0))(noise)

    assert torch.allclose(prepared, noise.permute(0, 3, 1, 2).float(), atol=1e-4)


def test_normalisation_is_of_grey_levels() -> None:
    grey = torch.full((1, 20, 20, 1), 200, dtype=torch.uint8)

    prepared, _ = PrepareFrames(FrameSpec(channels=1, size=(8, 8), mean=127.0, scale=128.0))(grey)

    assert torch.allclose(prepared, torch.full((1, 1, 8, 8), (200 - 127) / 128))


@pytest.mark.parametrize(
    ("factor", "black", "white"), [(257, 0.0, 65535.0), (16, 0.0, 4080.0), (9, 28_000.0, 30_295.0)]
)
def test_deep_frames_are_prepared_as_the_same_frames_with_eight_bits(factor: int, black: float, white: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 90, 130, 3), dtype=np.uint8)
    spec = FrameSpec(channels=3, size=(32, 32), mean=120.0, scale=60.0)
    deep = replace(spec, dtype="uint16", black=black, white=white)

    expected, reason = PrepareFrames(spec)(torch.from_numpy(noise))
    got, deep_reason = PrepareFrames(deep)(
        torch.from_numpy((noise.astype(np.uint16) * factor + int(black)).astype(np.uint16))
    )

    assert torch.allclose(got, expected, atol=1e-4)
    assert torch.equal(reason, deep_reason)


def test_levels_beyond_the_scale_become_black_and_white() -> None:
    frame = torch.from_numpy(np.array([[[[100]] * 20] * 10 + [[[9000]] * 20] * 10], np.uint16))
    spec = FrameSpec(channels=1, size=(20, 20), scale=1.0, dtype="uint16", black=1000.0, white=5095.0)

    prepared, _ = PrepareFrames(spec)(frame)

    assert torch.equal(prepared[0, 0, :, 0], torch.tensor([0.0] * 10 + [255.0] * 10))


def test_a_crop_keeps_what_lies_within_its_fractions() -> None:
    frame = torch.zeros((1, 100, 200, 1), dtype=torch.uint8)
    frame[:, 50:, 100:] = 255

    prepared, _ = PrepareFrames(FrameSpec(channels=1, size=(8, 8), crop=(0.5, 0.5, 1.0, 1.0)))(frame)

    assert prepared.min() == pytest.approx(1.0)


@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4))
def test_the_graph_crops_as_pictures_of_its_evidence_are_laid(height: int, width: int, shares: list[float]) -> None:
    left, right = sorted(shares[:2])
    top, bottom = sorted(shares[2:])
    frame = torch.arange(height * width).reshape(1, height, width, 1)
    preparation = PrepareFrames(FrameSpec(channels=1, size=(8, 8), crop=(left, top, right, bottom)))

    rows, columns = window((height, width), (left, top, right, bottom))

    assert torch.equal(preparation.crop(frame), frame[:, rows, columns])


def test_a_black_frame_with_sensor_noise_has_no_contrast() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (1, 90, 120, 3), dtype=np.uint8))

    _, reason = PrepareFrames(FrameSpec(channels=3, size=(32, 32)))(noise)

    assert reason.tolist() == [Reason.NO_CONTRAST]


def test_one_dark_frame_does_not_make_its_neighbour_invalid() -> None:
    batch = torch.cat([_frame(60, 80), torch.zeros((1, 60, 80, 3), dtype=torch.uint8)])

    _, reason = PrepareFrames(FrameSpec(channels=3, size=(32, 32)))(batch)

    assert reason.tolist() == [Reason.NONE, Reason.NO_CONTRAST]


def test_a_window_is_standardised_and_clipped() -> None:
    window = torch.tensor([[230.0, 1.0], [235.0, 1.2]] * 8)[None]
    window[0, 0, 0] = 1e30

    prepared, reason = PrepareWindows(WINDOWS)(window)

    assert prepared[0, 0, 0] == WINDOWS.clip
    assert torch.allclose(prepared[0, 1], torch.tensor([1.0, 1.0]), atol=1e-5)
    assert reason.tolist() == [Reason.NONE]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_window_that_is_not_finite_is_invalid_and_still_gives_finite_tensors(value: float) -> None:
    window = torch.full((2, 16, 2), 1.0)
    window[1, 3, 1] = value

    prepared, reason = PrepareWindows(WINDOWS)(window)

    assert torch.isfinite(prepared).all()
    assert reason.tolist() == [Reason.NONE, Reason.NOT_FINITE]
