"""Resize raw frames in the graph with gathers and matrix products only, so that all runtimes compute the same pixels.

The weights are those of antialiased bilinear interpolation. ONNX has an operator for it, ``Resize`` with ``antialias``, but
OpenVINO computes other pixels with it, and TensorRT does not support it.

A large frame is first thinned, while its pixels are still integers: per axis, at most twice as many pixels as wanted are read.
This halves the cost of a 1080p frame. All positions are computed with integers, because runtimes round floats differently.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

THINNED = 2
"""Pixels per output pixel that are read along each axis. If a frame has fewer, all are read, and the result is exact."""
LARGEST_BLOCK = 16
"""Largest number of neighbouring outputs that share one matrix product. Larger products have more weights that are 0."""
PHASES = (-3, -1, 1, 3)
"""Shift of the columns that are read in a row, in eighths of their distance, for four rows that follow each other.

Without it, all rows would skip the same columns. A vertical line in a column that is skipped would disappear.
"""


class Resize(nn.Module):
    """A module that resizes uint8 or uint16 frames ``[N, H, W, C]`` of any size to float32 levels ``[N, C, h, w]``.

    With `thin` the cost hardly depends on the frame size. Without it, the result is exact for all sizes, but a large frame
    costs many times more.
    """

    def __init__(self, size: tuple[int, int], *, thin: bool = True) -> None:
        super().__init__()
        self.size = size
        self.thin = thin

    def forward(self, frame: Tensor) -> Tensor:
        """Resize a batch: first the rows, then the columns."""
        height, width = frame.shape[1], frame.shape[2]
        if self.thin:
            return read(frame, self.reading(height, width))
        for_rows = _weights(torch.arange(height)[None], height, self.size[0], self.size[0])
        for_columns = _weights(torch.arange(width)[None], width, self.size[1], self.size[1])
        pixels = frame.reshape(-1, 1, height, width * frame.shape[3])
        return _product(pixels, for_rows.to(frame.device), for_columns.to(frame.device), frame.shape[3])

    def reading(self, height: int, width: int) -> "Reading":
        """Return which pixels of frames of this size are read, and their weights.

        The columns that are read alternate between neighbouring rows. So rows of one phase are gathered together, and the
        weights of rows get the same order.
        """
        rows, kept_rows, for_rows = _taps(height, self.size[0])
        columns, kept_columns, for_columns = _taps(width, self.size[1])
        middles = (2 * rows + 1) * height // (2 * kept_rows)
        # in quarters: no shift if each row is used by itself or if no column is skipped, all of it from a ratio of two
        ratios = ((kept_rows - self.size[0]) * 4 // self.size[0], (width - kept_columns) * 4 // kept_columns)
        spread: int = torch.sym_max(torch.sym_min(torch.sym_min(*ratios), 4), 0)  # type: ignore[no-untyped-call]
        read = [(32 * columns + 16 + shift * spread) * width // (32 * kept_columns) for shift in PHASES]
        phases = range(len(PHASES))
        ordered = [for_rows[:, :, phase :: len(PHASES)] for phase in phases]
        return Reading(
            [middles[:, phase :: len(PHASES)] for phase in phases], read, torch.cat(ordered, dim=2), for_columns
        )


class Reading(NamedTuple):
    """Pixels that `Resize` reads from frames of one size, and their weights. `PHASES` shift the columns of some rows."""

    rows: list[Tensor]
    """Rows of the frame by phase, ``[blocks, taps]``."""
    columns: list[Tensor]
    """Columns of the frame by phase, ``[blocks, taps]``."""
    for_rows: Tensor
    """Weights of the rows, ``[blocks, outputs per block, taps]``, in the order of the phases."""
    for_columns: Tensor
    """Weights of the columns, ``[blocks, outputs per block, taps]``."""

    def part(self, rows: slice, columns: slice) -> "Reading":
        """Return the reading of a rectangle of the resized frame. It has the same values there as in the whole resized frame.

        Args:
            rows: blocks of output rows. A block has at most `LARGEST_BLOCK` outputs, the most that divide the side.
            columns: blocks of output columns.
        """
        return Reading(
            [places[rows] for places in self.rows],
            [places[columns] for places in self.columns],
            self.for_rows[rows],
            self.for_columns[columns],
        )


def read(frame: Tensor, reading: Reading) -> Tensor:
    """Return the levels ``[N, C, h, w]`` of frames ``[N, H, W, C]`` by a reading."""
    pixels = []
    for rows, columns in zip(reading.rows, reading.columns, strict=True):
        one = frame.index_select(1, rows.flatten().to(frame.device))
        one = one.index_select(2, columns.flatten().to(frame.device))
        pixels.append(one.reshape(-1, *rows.shape, columns.numel() * frame.shape[3]))
    weights = (reading.for_rows.to(frame.device), reading.for_columns.to(frame.device))
    return _product(torch.cat(pixels, dim=2), *weights, frame.shape[3])


def _product(pixels: Tensor, for_rows: Tensor, for_columns: Tensor, channels: int) -> Tensor:
    """Return the levels ``[N, C, h, w]`` of pixels ``[N, blocks, taps, columns * C]`` by their weights."""
    height = for_rows.shape[0] * for_rows.shape[1]
    width = for_columns.shape[0] * for_columns.shape[1]
    blocks, taps = for_columns.shape[0], for_columns.shape[2]
    rows = (for_rows @ pixels.float()).reshape(-1, height, blocks * taps * channels)
    columns = for_columns @ rows.transpose(1, 2).reshape(-1, blocks, taps, channels * height)
    return columns.reshape(-1, width, channels, height).permute(0, 2, 3, 1)


def _taps(length: int, side: int) -> tuple[Tensor, int, Tensor]:
    """Return for each block of outputs the thinned pixels that it needs, and their weights.

    Args:
        length: pixels of the frame along this axis.
        side: pixels wanted.

    Returns:
        Places of thinned pixels, ``[blocks, taps]``, their number, and weights, ``[blocks, outputs per block, taps]``.
    """
    block = max(outputs for outputs in range(1, LARGEST_BLOCK + 1) if side % outputs == 0)
    kept: int = torch.sym_max(torch.sym_min(length, THINNED * side), 1)  # type: ignore[no-untyped-call]
    wide: int = torch.sym_max(kept, side)  # type: ignore[no-untyped-call]
    first = torch.arange(0, side, block)
    # the first pixel inside the triangle of a block's first output; the added number keeps the dividend positive
    start = ((2 * first + 1) * kept - 2 * wide + side + 2 * side * THINNED) // (2 * side) - THINNED
    places = start[:, None] + torch.arange((block + 1) * THINNED)
    return places.clamp(0, kept - 1), kept, _weights(places, kept, side, block)


def _weights(places: Tensor, kept: int, side: int, block: int) -> Tensor:
    """Return the weights of pixels for each output, ``[blocks, outputs per block, taps]``: a triangle whose sum is 1.

    Its half width is one pixel of the coarser grid. In units in which a pixel has the width ``2 * side`` and an output
    ``2 * kept``, all numbers are integers, so float32 holds them exactly.

    Args:
        places: indices of the pixels of each block, ``[blocks, taps]``. Those outside of 0 to ``kept - 1`` get the weight 0.
        kept: pixels along this axis.
        side: outputs along this axis.
        block: outputs per block.
    """
    half_width = 2 * torch.sym_max(kept, side)  # type: ignore[no-untyped-call]
    far_away = -4 * half_width
    outputs = ((2 * torch.arange(side) + 1) * kept).float().reshape(-1, block, 1)
    inside = (places >= 0) & (places < kept)
    pixels = torch.where(inside, (2 * places + 1) * side, far_away).float()[:, None]
    weights: Tensor = (half_width - (pixels - outputs).abs()).clamp(min=0.0)
    total: Tensor = weights.sum(dim=2, keepdim=True)
    return weights / total
