"""Draw the place and shape of damage: soft masks, from lines two pixels wide to patches of a third of the picture."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.sources.opencv import opencv

Cover = NDArray[np.float32]
"""``[H, W]``, from 0 (untouched) to 1 (fully covered)."""
Box = tuple[int, int, int, int]
"""Top, bottom, left, right."""

SMALLEST = 4.0
"""Extent of the smallest damage, in units (see `unit`)."""
LARGEST_SHARE = 1 / 3
"""Extent of the largest damage, as a share of the picture's mean side."""


def log_uniform(generator: Generator, low: float, high: float) -> float:
    """Draw a number with a uniform logarithm, so that small numbers are as frequent as large ones."""
    return float(np.exp(generator.uniform(np.log(low), np.log(max(low, high)))))


def unit(shape: tuple[int, ...]) -> float:
    """Return the pixels per unit: 1 up to a mean side of 256, then proportional, so that damage scales with the picture."""
    return max(1.0, float(np.sqrt(shape[0] * shape[1])) / 256)


def extent(generator: Generator, shape: tuple[int, ...], smallest: float = SMALLEST) -> float:
    """Draw the size of a damage in pixels, log-uniform from `smallest` units to a third of the picture."""
    return log_uniform(generator, smallest * unit(shape), LARGEST_SHARE * float(np.sqrt(shape[0] * shape[1])))


def place(generator: Generator, good: NDArray[np.uint8]) -> tuple[float, float]:
    """Draw the middle of a damage, ``(x, y)``: on the part with probability 3/4, otherwise anywhere.

    The part is the area that differs from the picture's border. If the border is not plain, for example in a close-up of a
    texture, the whole picture counts as the part.
    """
    height, width = good.shape[:2]
    if generator.random() < 0.75:
        thumbnail = good[:: max(1, height // 64), :: max(1, width // 64)].astype(np.int16)
        border = np.concatenate([thumbnail[0], thumbnail[-1], thumbnail[:, 0], thumbnail[:, -1]])
        usual = np.median(border, axis=0)
        if np.abs(border - usual).max(axis=1).mean() < 25:
            rows, columns = np.nonzero(np.abs(thumbnail - usual).max(axis=2) > 25)
            if len(rows) > 0.02 * thumbnail.shape[0] * thumbnail.shape[1]:
                pick = int(generator.integers(len(rows)))
                x = (columns[pick] + generator.random()) / thumbnail.shape[1] * width
                return float(x), float((rows[pick] + generator.random()) / thumbnail.shape[0] * height)
    return float(generator.uniform(0.02, 0.98) * width), float(generator.uniform(0.02, 0.98) * height)


def ellipse(generator: Generator, shape: tuple[int, ...], middle: tuple[float, float], size: float) -> Cover:
    """Draw a turned ellipse with a diameter of about `size` pixels."""
    cv2 = opencv()
    long = log_uniform(generator, 1.0, 3.0) ** 0.5
    cover = np.zeros(shape, np.uint8)
    axes = (max(1, round(8 * size / 2 * long)), max(1, round(8 * size / 2 / long)))
    at = (round(8 * middle[0]), round(8 * middle[1]))
    cv2.ellipse(cover, at, axes, float(generator.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA, 3)
    return _soft(cover)


def polygon(generator: Generator, shape: tuple[int, ...], middle: tuple[float, float], size: float) -> Cover:
    """Draw a star-shaped polygon with 3 to 8 corners."""
    cv2 = opencv()
    corners = int(generator.integers(3, 9))
    angles = np.sort(generator.uniform(0, 2 * np.pi, corners))
    radii = size / 2 * generator.uniform(0.4, 1.4, corners)
    points = np.stack([middle[0] + radii * np.cos(angles), middle[1] + radii * np.sin(angles)], axis=1)
    cover = np.zeros(shape, np.uint8)
    cv2.fillPoly(cover, [np.round(8 * points).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return _soft(cover)


def line(generator: Generator, shape: tuple[int, ...], middle: tuple[float, float], size: float) -> Cover:
    """Draw a line with bends, 1 to 5 units wide and one to three times as long as `size`."""
    cv2 = opencv()
    pieces = int(generator.integers(1, 6))
    heading, step = generator.uniform(0, 2 * np.pi), size * generator.uniform(1, 3) / pieces
    points = [np.array(middle)]
    for _ in range(pieces):
        points.append(points[-1] + step * np.array([np.cos(heading), np.sin(heading)]))
        heading += generator.normal(0, 0.6)
    cover = np.zeros(shape, np.uint8)
    one = unit(shape)
    wide = max(1, round(log_uniform(generator, one, min(5.0 * one, max(one, size / 3)))))
    cv2.polylines(cover, [np.round(8 * np.array(points)).astype(np.int32)], False, 255, wide, cv2.LINE_AA, 3)
    return _soft(cover)


def blobs(generator: Generator, shape: tuple[int, ...], middle: tuple[float, float], size: float) -> Cover:
    """Draw ragged patches: smooth noise above a level, within about `size` pixels of the middle."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    away = np.hypot(columns - np.float32(middle[0]), rows - np.float32(middle[1])).astype(np.float32)
    grain = max(2.0, size * float(generator.uniform(0.15, 0.5)))
    field = smooth_noise(generator, shape, grain) + 1.2 - 2.4 * away / max(size, 1.0)
    return np.asarray(np.clip(field * 3.0, 0.0, 1.0), np.float32)


def perlin(generator: Generator, shape: tuple[int, ...], _middle: tuple[float, float], _size: float) -> Cover:
    """Draw islands of any shape over the whole picture: turned smooth noise above a level, 2^0 to 2^5 islands per side.

    The idea is from DRAEM (Zavrtanik et al., ICCV 2021), which thresholds Perlin noise. Here a stretched cubic grid replaces
    the octave.
    """
    cv2 = opencv()
    stretched = [max(2.0, shape[axis] / 2.0 ** generator.integers(0, 6)) for axis in (0, 1)]
    field = smooth_noise(generator, shape, stretched[0], stretched[1])
    turn = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), float(generator.uniform(-90, 90)), 1.0)
    field = cv2.warpAffine(field, turn, (shape[1], shape[0]), borderMode=cv2.BORDER_REFLECT)
    level = float(np.quantile(field[::4, ::4], 1 - log_uniform(generator, 0.01, 0.2)))
    return np.asarray(np.clip((field - level) * 8.0, 0.0, 1.0), np.float32)


SHAPES: tuple[Callable[[Generator, tuple[int, ...], tuple[float, float], float], Cover], ...] = (
    ellipse,
    polygon,
    line,
    blobs,
    blobs,
)


def smooth_noise(
    generator: Generator, shape: tuple[int, ...], grain: float, across: float | None = None
) -> NDArray[np.float32]:
    """Draw noise ``[H, W]``, approximately normal, smooth over `grain` rows and `across` columns of pixels."""
    cv2 = opencv()
    across = grain if across is None else across
    cells = (int(shape[0] / grain) + 3, int(shape[1] / across) + 3)
    coarse = generator.standard_normal(cells, dtype=np.float32)
    whole = cv2.resize(coarse, (round(cells[1] * across), round(cells[0] * grain)), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(whole[: shape[0], : shape[1]], np.float32)


def bounds(cover: Cover, margin: int = 0) -> Box | None:
    """Return the rows and columns that a cover touches; None if it touches nothing."""
    rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    if not len(rows):
        return None
    height, width = cover.shape
    return (
        max(0, int(rows[0]) - margin),
        min(height, int(rows[-1]) + 1 + margin),
        max(0, int(columns[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
    )


def _soft(cover: NDArray[np.uint8]) -> Cover:
    return np.asarray(cover / 255, np.float32)
