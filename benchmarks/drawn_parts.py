"""Draw synthetic pictures of good parts of three kinds, all different, as a camera would see them.

They are for benchmarks that must not use real data.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SIDE = 480
Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]


def part(kind: str, number: int) -> Picture:
    """Return the picture of a part, uint8 ``[480, 480, 3]``. The same number always gives the same picture."""
    generator = np.random.default_rng([number, *kind.encode()])
    return camera(generator, KINDS[kind](generator))


def noise(generator: Generator, cell: float) -> Plane:
    """Return smooth noise of about -1 to 1, with structure of about `cell` pixels."""
    count = int(SIDE / cell) + 2
    coarse = generator.standard_normal((count, count), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def camera(generator: Generator, drawn: Plane) -> Picture:
    """Return a camera picture of grey levels ``[H, W, 3]``: with uneven light, blur, shot noise and JPEG compression."""
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    turn = generator.uniform(0, 2 * np.pi)
    light = generator.uniform(0.92, 1.08) * (1 + 0.05 * (np.cos(turn) * columns + np.sin(turn) * rows))
    seen = cv2.GaussianBlur((drawn * light[:, :, np.newaxis]).astype(np.float32), (0, 0), generator.uniform(0.5, 0.8))
    seen = seen + generator.standard_normal(seen.shape, dtype=np.float32) * np.sqrt(2 + 0.03 * np.maximum(seen, 0))
    _, packed = cv2.imencode(".jpg", np.clip(seen, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _weave(generator: Generator) -> Plane:
    """Draw a weave of two yarns. Each yarn is a little brighter or darker than the next."""
    across, down = _turned(generator, 0.06)
    across, down = across + 2.5 * noise(generator, 90) + 40, down + 2.5 * noise(generator, 90) + 40
    column, row = np.floor(across / 12).astype(int), np.floor(down / 12).astype(int)
    over = (column + row) % 2 == 0
    warp, weft = np.cos(np.pi * (across / 12 % 1 - 0.5)), np.cos(np.pi * (down / 12 % 1 - 0.5))
    yarn = 1 + 0.06 * generator.standard_normal(400)[np.where(over, column, row) % 400]
    tone = np.where(over, 165 * warp**0.7 * (0.65 + 0.35 * weft), 140 * weft**0.7 * (0.65 + 0.35 * warp)) * yarn
    return _tinted(tone + 6 * noise(generator, 3), (0.9, 0.97, 1.05))


def _plate(generator: Generator) -> Plane:
    """Draw a plate of brushed metal with four drilled holes at fixed places. The plate is slightly rotated."""
    across, down = _turned(generator, 0.15)
    streaks = cv2.GaussianBlur(generator.standard_normal((SIDE, SIDE), dtype=np.float32), (0, 0), sigmaX=15, sigmaY=0.6)
    tone = 150 + 20 * streaks / streaks.std() * 0.7
    for x, y, radius in ((-110, -110, 24), (110, -110, 38), (-110, 110, 38), (110, 110, 24)):
        away = np.hypot(across - x, down - y)
        tone = tone + 35 * np.exp(-((away - radius - 3) ** 2) / 8) * (across - x + down - y) / (away + 1)
        tone = tone + (30 - tone) * _inside(away - radius)
    return _tinted(tone, (0.98, 1.0, 1.03))


def _capsule(generator: Generator) -> Plane:
    """Draw a two-coloured capsule with text on it, on a dark background."""
    across, down = _turned(generator, 0.09)
    across, down = across + generator.uniform(-15, 15), down + generator.uniform(-15, 15)
    away = np.hypot(np.maximum(np.abs(across) - 110, 0), down)
    shade = 0.45 + 0.55 * np.sqrt(1 - 0.95 * np.clip(away / 75, 0, 1) ** 2)
    left = _inside(across - 12)[:, :, np.newaxis]
    body = (np.array([205, 70, 60]) * left + np.array([235, 225, 190]) * (1 - left)) * shade[:, :, np.newaxis]
    print_ = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(print_, "KX 500", (SIDE // 2 - 105, SIDE // 2 + 18), cv2.FONT_HERSHEY_DUPLEX, 1.7, 255, 4, cv2.LINE_AA)
    right, below = ((axis + SIDE / 2).astype(np.float32) for axis in (across, down))
    inked = np.asarray(cv2.remap(print_, right, below, cv2.INTER_LINEAR), np.float32) / 255
    body = body * (1 - 0.75 * inked * (1 + 0.15 * noise(generator, 5)))[:, :, np.newaxis]
    ground = _tinted(38 + 3 * noise(generator, 30), (1, 1, 1))
    return np.asarray(ground + (body - ground) * _inside(away - 75)[:, :, np.newaxis], np.float32)


KINDS: dict[str, Callable[[Generator], Plane]] = {"weave": _weave, "plate": _plate, "capsule": _capsule}


def _turned(generator: Generator, most: float) -> tuple[Plane, Plane]:
    """Return x and y from the centre, rotated by a random angle of at most `most` radians."""
    rows, columns = (np.mgrid[:SIDE, :SIDE] - SIDE / 2).astype(np.float32)
    angle = generator.uniform(-most, most)
    return np.cos(angle) * columns + np.sin(angle) * rows, np.cos(angle) * rows - np.sin(angle) * columns


def _inside(distance: Plane) -> Plane:
    """Return the coverage (0 to 1) for a signed distance, which is negative inside."""
    return np.asarray(1 / (1 + np.exp(np.clip(1.7 * distance, -30, 30))), np.float32)


def _tinted(tone: Plane, tint: tuple[float, float, float]) -> Plane:
    return np.asarray(tone[:, :, np.newaxis] * np.array(tint), np.float32)
