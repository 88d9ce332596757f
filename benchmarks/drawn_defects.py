"""Defects drawn onto good pictures: six families, sizes and contrasts drawn from wide ranges, with masks."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FAMILIES = ("blob", "scratch", "discolour", "smear", "cutpaste", "shift")
ANSWERS = 4.0
"""Grey levels of change from which a pixel counts as defective."""
_TRIES = 60


def damaged(
    generator: Generator, family: str, good: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    """A picture with one visible defect of 0.02 to 25 % of its area, and where; None where none came out visible.

    Args:
        generator: of place, size, shape and strength.
        family: one of `FAMILIES`.
        good: uint8 ``[H, W, 3]``.
    """
    for _ in range(_TRIES):
        before = good.astype(np.float32)
        after = _draw(generator, family, before)
        changed = np.abs(after - before).max(axis=2)
        after = after + 1.5 * generator.standard_normal(after.shape) * (changed > 1)[:, :, np.newaxis]
        picture = np.clip(after, 0, 255).astype(np.uint8)
        change = cv2.GaussianBlur(changed.astype(np.float32), (0, 0), 0.8)
        mask = cv2.morphologyEx((change > ANSWERS).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
        if 2e-4 < mask.mean() < 0.25 and np.percentile(change[mask], 80) > 11:
            return picture, mask
    return None


def _draw(generator: Generator, family: str, good: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = good.shape[:2]
    x, y = generator.uniform(0.15, 0.85) * width, generator.uniform(0.15, 0.85) * height
    size = 0.5 * np.sqrt(height * width) * _log_uniform(generator, 0.03, 0.2)
    cover = _patch(generator, height, width, (x, y), size)[:, :, np.newaxis]
    if family == "blob":
        return good + _log_uniform(generator, 0.12, 1) * cover * (np.float32(generator.uniform(0, 255, 3)) - good)
    if family == "scratch":
        strength = _log_uniform(generator, 10, 90) * generator.choice([-1, 1])
        return good + np.float32(strength) * _line(generator, height, width, (x, y), size)[:, :, np.newaxis]
    if family == "discolour":
        gain = np.exp(generator.normal(0, 1, 3))
        return good * (1 + _log_uniform(generator, 0.12, 0.8) * cover * np.float32(gain / gain.mean() - 1))
    if family == "smear":
        other = cv2.GaussianBlur(good, (0, 0), max(1.0, size * _log_uniform(generator, 0.05, 0.2)))
    elif family == "cutpaste":
        turn = cv2.getRotationMatrix2D((x, y), generator.uniform(-180, 180), 1)
        turned = np.asarray(turn, np.float64)
        turned[:, 2] += generator.uniform(-0.3, 0.3, 2) * (width, height)
        other = cv2.warpAffine(good, turned, (width, height), borderMode=cv2.BORDER_REFLECT)
    else:
        by, angle = size * _log_uniform(generator, 0.1, 0.6), generator.uniform(0, 2 * np.pi)
        move = np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]])
        other = cv2.warpAffine(good, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(good + (other - good) * cover, np.float32)


def _patch(
    generator: Generator, height: int, width: int, middle: tuple[float, float], size: float
) -> NDArray[np.float32]:
    """Coverage of a ragged ellipse of about size^2 pixels."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    right, down = columns - middle[0], rows - middle[1]
    turn, long = generator.uniform(0, np.pi), _log_uniform(generator, 0.5, 2)
    along = (np.cos(turn) * right + np.sin(turn) * down) / (0.56 * size * long**0.5)
    across = (np.cos(turn) * down - np.sin(turn) * right) * long**0.5 / (0.56 * size)
    cell = max(2.0, size / 3)
    coarse = generator.standard_normal((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
    ragged = 0.18 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip((1 - np.hypot(along, across) - ragged) * size / 4 + 0.5, 0, 1), np.float32)


def _line(
    generator: Generator, height: int, width: int, middle: tuple[float, float], size: float
) -> NDArray[np.float32]:
    """Coverage of a bent line, 1 to 3 pixels wide."""
    heading, length = generator.uniform(0, 2 * np.pi), size * generator.uniform(1.5, 5)
    points = [np.array(middle)]
    for _ in range(4):
        points.append(points[-1] + length / 4 * np.array([np.cos(heading), np.sin(heading)]))
        heading += generator.normal(0, 0.35)
    doubled = np.zeros((2 * height, 2 * width), np.uint8)
    thick = max(1, round(2 * generator.uniform(1, 3)))
    cv2.polylines(doubled, [(2 * np.array(points)).astype(np.int32)], isClosed=False, color=255, thickness=thick)
    return np.asarray(cv2.resize(doubled, (width, height), interpolation=cv2.INTER_AREA) / 255, np.float32)


def _log_uniform(generator: Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
