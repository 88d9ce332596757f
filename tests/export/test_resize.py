"""The resize against PyTorch's antialiased one, which is the reference."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from andon.export.resize import THINNED, Resize

sides = st.integers(1, 90)
wanted = st.integers(8, 40)  # as `FrameSpec` allows; PyTorch is wrong for a width of 1


def reference(frame: Tensor, size: tuple[int, int]) -> Tensor:
    planes = frame.permute(0, 3, 1, 2).contiguous().float()
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def waves(height: int, width: int) -> Tensor:
    rows, columns = np.mgrid[0:height, 0:width]
    grey = 128 + 60 * np.sin(rows / 19) + 40 * np.cos(columns / 23)
    return torch.from_numpy(np.repeat(grey[None, :, :, None], 3, axis=3).astype(np.uint8))


@given(sides, sides, wanted, wanted, st.sampled_from([1, 3]))
def test_without_thinning_any_frame_is_resized_as_by_pytorch(
    height: int, width: int, rows: int, columns: int, channels: int
) -> None:
    frame = noise(2, height, width, channels)

    resized = Resize((rows, columns), thin=False)(frame)

    assert resized.shape == (2, channels, rows, columns)
    assert torch.allclose(resized, reference(frame, (rows, columns)), atol=0.01)


@given(wanted, wanted, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_a_frame_of_at_most_twice_the_size_is_resized_as_by_pytorch(
    rows: int, columns: int, part_of_rows: float, part_of_columns: float
) -> None:
    height, width = (
        max(1, round(THINNED * side * part)) for side, part in ((rows, part_of_rows), (columns, part_of_columns))
    )
    frame = noise(1, height, width, 3)

    assert torch.allclose(Resize((rows, columns))(frame), reference(frame, (rows, columns)), atol=0.01)


@given(sides, sides, wanted, wanted)
def test_each_output_lies_between_the_darkest_and_the_brightest_pixel(
    height: int, width: int, rows: int, columns: int
) -> None:
    frame = noise(1, height, width, 1)

    resized = Resize((rows, columns))(frame)

    assert frame.min() - 1e-3 <= resized.min()
    assert resized.max() <= frame.max() + 1e-3


@pytest.mark.parametrize("size", [(300, 500), (1080, 1920), (97, 1600), (1600, 97), (40, 30)])
def test_a_smooth_frame_stays_near_the_exact_one(size: tuple[int, int]) -> None:
    frame = waves(*size)

    assert (
        Resize((64, 64))(frame) - reference(frame, (64, 64))
    ).abs().mean() < 1.2  # grey levels; measured: 0.0 to 1.1


def test_a_large_frame_is_not_moved() -> None:
    """Check the centre of a disc: the columns that are read alternate, and a one-sided choice would shift the picture."""
    rows, columns = np.mgrid[0:1080, 0:1920]
    disc = ((rows - 500) ** 2 + (columns - 900) ** 2 < 200**2).astype(np.uint8) * 200
    frame = torch.from_numpy(disc[None, :, :, None])

    found, expected = (
        (grey := resize(frame)[0, 0].double()) / grey.sum() for resize in (Resize((96, 96)), reference_96)
    )

    places = torch.arange(96, dtype=torch.float64)
    for axis in (0, 1):
        moved = (found.sum(dim=axis) * places).sum() - (expected.sum(dim=axis) * places).sum()
        assert abs(moved) < 0.02  # pixels of the small picture


def reference_96(frame: Tensor) -> Tensor:
    return reference(frame, (96, 96))


def test_no_vertical_line_of_three_pixels_disappears_between_the_columns_that_are_read() -> None:
    faintest = 255.0
    for column in range(900, 921):
        frame = torch.full((1, 1080, 1920, 1), 200, dtype=torch.uint8)
        frame[:, :, column : column + 3] = 80
        faintest = min(faintest, float(200 - Resize((224, 224))(frame).min()))

    assert faintest > 15  # the exact resize gives 23 to 41
