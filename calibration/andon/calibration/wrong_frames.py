"""Make frames that are wrong as a whole from a good one: other light, black, flat, out of focus, half covered, turned.

The scene check is fitted to good frames and to these. A real fault of a camera or a lamp looks a little different, so the
limits of the check lie between the two (`andon.calibration.scene`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Frame = NDArray[np.uint8]
Levels = NDArray[np.float64]
BLUR = 6 / 512
"""Standard deviation of the defocus, as a share of the long side of the frame."""


def wrong_frames(good: Frame, generator: Generator) -> Iterator[tuple[str, Frame]]:
    """Yield the kind of each wrong frame, and the frame, uint8 ``[H, W, C]`` like the good one."""
    for kind, draw in _KINDS.items():
        for levels in draw(good, generator):
            yield kind, np.ascontiguousarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def _dark(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    yield good * 0.25
    yield good * 0.08


def _dimmed(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    yield good * 0.7


def _brightened(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    yield good * 1.4


def _black(good: Frame, generator: Generator) -> Iterator[NDArray[Any]]:
    down, across = _places(good)
    yield _noisy(6 * (1 - across) * down, good, generator, 0.7)
    yield _noisy(25 * np.exp(-6 * ((across - 0.4) ** 2 + (down - 0.6) ** 2)), good, generator, 1.5)


def _flat(good: Frame, generator: Generator) -> Iterator[NDArray[Any]]:
    down, across = _places(good)
    shade = 1 + 0.06 * (across + down - 1)
    yield shade[:, :, np.newaxis] * np.median(good, axis=(0, 1)) + generator.standard_normal(good.shape)
    yield _noisy(128 * (1 + 0.1 * (across - down)), good, generator, 1.0)


def _blurred(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    sigma = BLUR * max(good.shape[:2])
    yield gaussian_filter(good, (sigma, sigma, 0), truncate=3.0)


def _covered(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    height, width = good.shape[:2]
    for level, rows, columns in (
        (5, slice(None), slice(None, width * 45 // 100)),
        (20, slice(None), slice(width * 55 // 100, None)),
        (5, slice(None, height * 45 // 100), slice(None)),
        (20, slice(height * 55 // 100, None), slice(None)),
    ):
        covered = good.copy()
        covered[rows, columns] = level
        yield covered


def _mirrored(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    yield good[::-1]


def _turned(good: Frame, _generator: Generator) -> Iterator[NDArray[Any]]:
    yield good[::-1, ::-1]


_KINDS: Mapping[str, Callable[[Frame, Generator], Iterator[NDArray[Any]]]] = {
    "less light": _dimmed,
    "more light": _brightened,
    "lamp too dark": _dark,
    "black": _black,
    "no part": _flat,
    "out of focus": _blurred,
    "half covered": _covered,
    "upside down": _mirrored,
    "turned by 180 degrees": _turned,
}
KINDS = tuple(_KINDS)
"""Names of the kinds of wrong frames, in the order of the limits in a model file."""
OTHER_LIGHT = ("less light", "more light")
"""Kinds that show a good part with 30 % less or 40 % more light."""
TURNED = ("upside down", "turned by 180 degrees")
"""Kinds that show a good part in another position. In many sets good parts look like this too."""


def _places(good: Frame) -> tuple[Levels, Levels]:
    """Return the vertical and horizontal place of each pixel, 0 to 1, ``[H, W]``."""
    down, across = np.mgrid[0 : 1 : good.shape[0] * 1j, 0 : 1 : good.shape[1] * 1j]
    return down, across


def _noisy(levels: Levels, good: Frame, generator: Generator, deviation: float) -> Levels:
    noise: Levels = levels[:, :, np.newaxis] + deviation * generator.standard_normal(good.shape)
    return noise
