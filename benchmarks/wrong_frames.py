"""Make frames that no line should call good: a covered lens, a lamp that fails, no part, a part turned round, other parts.

Each function takes good frames and returns changed ones. They are for `benchmarks.scenes` and for choosing its settings.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
BLUR_PX = 8.0
"""Standard deviation of the defocus, in pixels of a frame of 512 px; in proportion for other sizes."""


def wrong_frames(good: Sequence[Picture], *, turned: bool, seed: int = 0) -> Iterator[tuple[str, Picture]]:
    """Yield the name of what is wrong, and the frame.

    Args:
        good: good frames ``[H, W, C]``.
        turned: also turn frames upside down and half round. False where good parts look like this too.
        seed: seed of the noise.
    """
    generator = np.random.default_rng(seed)
    yield from _without_part(good[0].shape, np.median(np.stack([_border(one) for one in good]), axis=0), generator)
    for frame in good:
        yield "lamp at 20 %", _scaled(frame, 0.2)
        yield "lamp at 10 %", _scaled(frame, 0.1)
        yield "defocused by 8 px", _blurred(frame, BLUR_PX / 512)
        yield "half covered, left", _half(frame, 1)
        yield "half covered, below", _half(frame, 0)
        if turned:
            yield "upside down", np.ascontiguousarray(frame[::-1])
            yield "turned by 180 degrees", np.ascontiguousarray(frame[::-1, ::-1])


def _without_part(
    shape: tuple[int, ...], ground: NDArray[np.float64], generator: np.random.Generator
) -> Iterator[tuple[str, Picture]]:
    height, width = shape[:2]
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    away = np.hypot(across - 0.5, down - 0.5) / np.sqrt(0.5)

    def frame(levels: NDArray[np.float64], tint: Sequence[float] = (1.0, 1.0, 1.0), noise: float = 1.0) -> Picture:
        planes = levels[:, :, np.newaxis] * np.array(tint[: shape[2]])
        noisy = planes + noise * generator.standard_normal((height, width, shape[2]))
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)

    for most in (8, 12, 20, 40, 80):
        yield "black, light from one side", frame(most * across, noise=0.5)
    for most in (8, 12, 20, 40):
        yield "black, light from above", frame(most * (1 - down) ** 2, noise=0.5)
    for middle in (10, 20, 40):
        yield "black, glow", frame(middle * np.exp(-4 * away**2), noise=0.5)
    for noise in (1, 2, 3):
        yield "black, noise", frame(12 * across, noise=noise)
    finger = 40 + 50 * np.exp(-3 * ((across - 0.45) ** 2 + (down - 0.55) ** 2))
    yield "finger over the lens", frame(finger, (1.0, 0.35, 0.28))
    yield "flat grey", frame(118 + 20 * across)
    for corner in (235, 200):
        yield "white with a vignette", frame(255 - (255 - corner) * away**2)
    yield "no part", _smooth_ground(shape, ground, generator)


def _smooth_ground(shape: tuple[int, ...], ground: NDArray[np.float64], generator: np.random.Generator) -> Picture:
    """Return the ground around the parts, as a plain area of its median level with a little shading and noise."""
    across = np.linspace(-1, 1, shape[1])[np.newaxis, :, np.newaxis]
    levels = ground[np.newaxis, np.newaxis] * (1 + 0.03 * across) + 2 * generator.standard_normal(shape)
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def _border(frame: Picture) -> NDArray[np.float64]:
    rows = max(1, frame.shape[0] // 20)
    edge = np.concatenate([frame[:rows].reshape(-1, frame.shape[2]), frame[-rows:].reshape(-1, frame.shape[2])])
    return np.asarray(np.median(edge, axis=0), np.float64)


def _scaled(frame: Picture, share: float) -> Picture:
    return (frame * share).astype(np.uint8)


def _blurred(frame: Picture, sigma: float) -> Picture:
    blurred = cv2.GaussianBlur(frame, (0, 0), sigma * max(frame.shape[:2]))
    return np.asarray(blurred, np.uint8).reshape(frame.shape)


def _half(frame: Picture, axis: int) -> Picture:
    covered = frame.copy()
    half = frame.shape[axis] // 2
    index: tuple[slice, ...] = (slice(half, None),) if axis == 0 else (slice(None), slice(None, half))
    covered[index] = 12
    return covered
