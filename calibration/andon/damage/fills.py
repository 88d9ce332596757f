"""Create the pixels that fill a damaged area: colours, textures, pieces of other pictures.

Fills are float32 ``[H, W, C]`` with values from 0 to 255.
"""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.damage.masks import log_uniform, smooth_noise, unit
from andon.sources.opencv import opencv

Levels = NDArray[np.float32]


def fill(generator: Generator, good: NDArray[np.uint8], other: NDArray[np.uint8]) -> Levels:
    """Draw one fill: a flat colour, a darker or lighter copy, a texture of two colours, or another good picture, moved."""
    drawn = generator.random()
    if drawn < 0.3:
        return np.broadcast_to(colour(generator, good), good.shape)
    if drawn < 0.5:
        gain = float(np.exp(generator.choice([-1.0, 1.0]) * generator.uniform(0.15, 1.2)))
        return np.asarray(good * np.float32(gain), np.float32)
    if drawn < 0.75:
        return texture(generator, good)
    return moved(generator, other)


def colour(generator: Generator, good: NDArray[np.uint8]) -> Levels:
    """Draw a colour ``[C]``: a random colour, a grey, or a shifted colour of the picture."""
    channels = good.shape[2]
    drawn = generator.random()
    if drawn < 0.35:
        return np.asarray(generator.uniform(0, 255, channels), np.float32)
    if drawn < 0.65:
        return np.full(channels, generator.uniform(0, 255), np.float32)
    row, column = int(generator.integers(good.shape[0])), int(generator.integers(good.shape[1]))
    own = good[row, column].astype(np.float32) + np.float32(generator.normal(0, 25))
    return np.asarray(np.clip(own, 0, 255), np.float32)


def texture(generator: Generator, good: NDArray[np.uint8]) -> Levels:
    """Mix two colours by smooth noise, from fine grain to broad clouds or stripes."""
    shape = good.shape[:2]
    grain = log_uniform(generator, 1.5 * unit(shape), shape[0] / 4)
    stripes = grain * log_uniform(generator, 1.0, 6.0)
    mix = smooth_noise(generator, shape, grain, stripes)[:, :, np.newaxis]
    share = 1 / (1 + np.exp(-2 * mix))
    one, two = colour(generator, good), colour(generator, good)
    return np.asarray(one + share * (two - one), np.float32)


def moved(generator: Generator, other: NDArray[np.uint8]) -> Levels:
    """Turn, shift and sometimes mirror or re-colour another good picture: the right texture in the wrong place."""
    cv2 = opencv()
    height, width = other.shape[:2]
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), float(generator.uniform(-180, 180)), log_uniform(generator, 0.7, 1.6)
    )
    turn[:, 2] += generator.uniform(-0.4, 0.4, 2) * (width, height)
    result = planes(cv2.warpAffine(other, turn, (width, height), borderMode=cv2.BORDER_REFLECT)).astype(np.float32)
    if generator.random() < 0.3:
        result = result[:, ::-1]
    if generator.random() < 0.5:
        gain = np.exp(generator.normal(0, 0.2, other.shape[2])).astype(np.float32)
        result = result * gain + np.float32(generator.normal(0, 15))
    return np.ascontiguousarray(result)


def planes(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the picture as ``[H, W, C]``. OpenCV drops the axis of a single channel."""
    return picture if picture.ndim == 3 else picture[:, :, np.newaxis]
