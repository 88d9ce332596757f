"""Measure statistics of a raw frame: its levels, its sharpness, and jumps between its rows.

`measure` has no clock and reads no files. The statistics have the names and units of
`andon.runtime.calibration_facts.FrameHealth`, so that a model file can hold their quantiles over good parts. `andon.calibration`
computes these quantiles, and `andon.monitor.frame_health` compares frames with limits from them.

Statistics use the green channel of a colour frame. Levels and differences use every 4th pixel of every 4th row. Rows are compared
with every 4th column. Sharpness needs neighbouring pixels, and uses three crops at full resolution.
"""

import math
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

_STRIDE = 4
BAND = 16
"""Rows of a band, in pixels of the frame."""
_CROP = (270, 480)
_NEIGHBOURS = 33
"""Number of row differences around a row that its jump is compared with."""
_FLOOR = 0.25
"""Grey levels that are added to row differences, so that a smooth picture without noise does not divide by zero."""
_WHITE = 250
"""Lowest level within 2 % of the highest one."""


class FrameStatistics(Struct, frozen=True, kw_only=True):
    """Statistics of one frame, in grey levels from 0 to 255 and in shares from 0 to 1."""

    shape: tuple[int, ...]
    """Height, width and channels."""
    low: float
    """1 % quantile of the levels."""
    high: float
    """99 % quantile of the levels."""
    overexposed: float
    """Share of pixels of level 250 or more."""
    contrast: float
    """Standard deviation of the levels."""
    row_jump: float
    """Largest mean difference between two neighbouring rows, relative to the median of the rows around them."""
    repeated_rows: float
    """Share of rows, without the first, that equal the row above.

    Rows of one level do not count, because plain backgrounds have them, too."""
    repeated_run: int = 0
    """Largest number of such rows that follow each other. Encoders repeat single rows of smooth scenes."""
    sharpness: float | None = None
    """Variance of the Laplacian, median of the crops. None if it was not measured."""
    difference: float | None = None
    """Mean absolute difference from the frame before. None without a frame before of the same shape."""
    still_bands: tuple[bool, ...] = ()
    """For each band of 16 rows: whether it equals that of the frame before. A band of one level never counts as still."""


class Sample(NamedTuple):
    """The pixels of a frame that the next frame is compared with. Not part of the state, because it is not plain data."""

    shape: tuple[int, ...]
    levels: NDArray[np.uint8]


def measure(
    frame: NDArray[np.uint8], before: Sample | None = None, *, sharpness: bool = True
) -> tuple[FrameStatistics, Sample]:
    """Return the statistics of a frame, and the sample that the next frame is compared with.

    Args:
        frame: ``[H, W, C]``, RGB for C = 3, grey for C = 1.
        before: the sample of the frame before. A sample of another shape is ignored.
        sharpness: measure the sharpness, too. It takes about a third of the time.

    Raises:
        ValueError: the frame has another type or number of axes, or no pixels.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.size == 0:
        raise ValueError(f"frame: expected uint8 [H, W, C] with pixels, got {frame.dtype} {list(frame.shape)}.")
    grey = frame[:, :, 1 if frame.shape[2] == 3 else 0]
    stride = _stride(grey)
    rows = np.ascontiguousarray(grey[:, ::stride])
    levels = np.ascontiguousarray(rows[::stride])
    numbers = np.bincount(levels.ravel(), minlength=256)
    below = np.cumsum(numbers)
    mean = float(numbers @ _LEVELS) / levels.size
    jumps = _distance(rows[1:], rows[:-1]).sum(axis=1, dtype=np.uint32)
    difference: float | None = None
    still: tuple[bool, ...] = ()
    if before is not None and before.shape == frame.shape:
        moved = _distance(levels, before.levels).sum(axis=1, dtype=np.uint32)
        difference = float(moved.sum()) / levels.size
        still = _still_bands(moved, levels, max(1, BAND // stride))
    repeated = _repeated_rows(jumps, rows)
    statistics = FrameStatistics(
        shape=frame.shape,
        low=float(np.searchsorted(below, 0.01 * levels.size)),
        high=float(np.searchsorted(below, 0.99 * levels.size)),
        overexposed=float(numbers[_WHITE:].sum()) / levels.size,
        contrast=math.sqrt(float(numbers @ (_LEVELS - mean) ** 2) / levels.size),
        row_jump=_row_jump(jumps / rows.shape[1]),
        repeated_rows=int(repeated.sum()) / max(1, len(repeated)),
        repeated_run=_longest_run(repeated),
        sharpness=_sharpness(grey) if sharpness else None,
        difference=difference,
        still_bands=still,
    )
    return statistics, Sample(frame.shape, levels)


def _stride(grey: NDArray[np.uint8]) -> int:
    """Return the distance of sampled pixels. Small frames keep at least 128 rows and columns, or all."""
    shorter: int = min(grey.shape)
    return min(_STRIDE, max(1, shorter // 128))


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # without a wider type: a third of the time
    return np.maximum(one, other) - np.minimum(one, other)


def _still_bands(moved: NDArray[np.uint32], levels: NDArray[np.uint8], height: int) -> tuple[bool, ...]:
    starts = range(0, len(moved), height)
    sums = np.add.reduceat(moved, starts)
    return tuple(
        total == 0 and bool(np.ptp(levels[start : start + height]))
        for start, total in zip(starts, sums.tolist(), strict=True)
    )


def _row_jump(jumps: NDArray[np.float64]) -> float:
    """Return the largest difference relative to the median of the 33 around it (all, if there are fewer)."""
    if len(jumps) == 0:
        return 1.0
    width = min(_NEIGHBOURS, len(jumps))
    # medians at every 8th place: a median changes slowly, and this takes an eighth of the time
    places = np.lib.stride_tricks.sliding_window_view(jumps, width)[::8]
    medians = np.sort(places, axis=1)[:, width // 2]
    nearest = np.clip((np.arange(len(jumps)) - width // 2 + 4) // 8, 0, len(medians) - 1)
    return float(((jumps + _FLOOR) / (medians[nearest] + _FLOOR)).max())


def _repeated_rows(jumps: NDArray[np.uint32], rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for each row, without the first, whether it equals the row above and has more than one level."""
    repeated: NDArray[np.bool_] = jumps == 0
    if repeated.any():
        equal = rows[1:][repeated]
        repeated[repeated] = equal.max(axis=1) != equal.min(axis=1)
    return repeated


def _longest_run(flags: NDArray[np.bool_]) -> int:
    """Return the largest number of true values in a row."""
    others = np.flatnonzero(np.concatenate(([True], ~flags, [True])))
    return int(np.diff(others).max()) - 1


def _sharpness(grey: NDArray[np.uint8]) -> float | None:
    """Return the median over three crops, from the upper left to the lower right. None for a frame below 3 x 3 pixels."""
    height, width = grey.shape
    if height < 3 or width < 3:
        return None
    tall, wide = min(height, _CROP[0]), min(width, _CROP[1])
    values = []
    for quarter in (1, 2, 3):
        top, left = (height - tall) * quarter // 4, (width - wide) * quarter // 4
        # int16 holds the Laplacian of uint8 (-1020 to 1020), and takes half the time of float32
        crop = grey[top : top + tall, left : left + wide].astype(np.int16)
        laplacian = crop[:-2, 1:-1] + crop[2:, 1:-1]
        laplacian += crop[1:-1, :-2]
        laplacian += crop[1:-1, 2:]
        laplacian -= 4 * crop[1:-1, 1:-1]
        exact = laplacian.astype(np.float32)
        mean = float(exact.mean())
        values.append(float(np.vdot(exact, exact)) / exact.size - mean * mean)
    return max(0.0, sorted(values)[1])


_LEVELS = np.arange(256, dtype=np.float64)
