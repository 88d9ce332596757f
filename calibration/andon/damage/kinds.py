"""Draw kinds of damage, in two groups: kinds for training with `--repair`, and held-out kinds for measuring.

Only visible changes count as damage. A pasted piece that looks like the original is not a defect (the label rule of NSA,
Schlueter et al., ECCV 2022). Sources: DRAEM (Zavrtanik et al., ICCV 2021) for noise masks and half-transparent textures,
CutPaste (Li et al., CVPR 2021) for hard-edged patches, NSA for Poisson-blended patches.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.damage.fills import colour, fill, moved, planes
from andon.damage.masks import (
    SHAPES,
    blobs,
    bounds,
    ellipse,
    extent,
    log_uniform,
    perlin,
    place,
    polygon,
    smooth_noise,
    unit,
)
from andon.sources.opencv import opencv

Picture = NDArray[np.uint8]
VISIBLE = 5.0
"""Smallest visible change, in grey levels (mean over the channels)."""
LARGEST = 0.3
"""Largest share of a picture that damage may cover."""
_TRIES = 12
_TRIES_WITHIN = 36
"""Tries with a mask, because much of the damage falls outside."""
_LEAST_BOX = 32
"""Smallest side of a box in which damage is drawn, in pixels."""


class Damaged(NamedTuple):
    """A picture with damage, and the mask of the damage."""

    picture: Picture
    """uint8 ``[H, W, C]``."""
    mask: NDArray[np.bool_]
    """``[H, W]``, True for pixels that changed visibly."""


def damaged(
    generator: Generator, kind: str, good: Picture, other: Picture, judged: NDArray[np.bool_] | None = None
) -> Damaged | None:
    """Draw one damage; return None if a dozen tries give no visible change, for example on a flat grey picture.

    Args:
        generator: source of random place, size, shape and strength.
        kind: one of `FOR_TRAINING` or `HELD_OUT`.
        good: uint8 ``[H, W, C]``, C = 1 or 3.
        other: another good picture of the same shape, as a source of pieces.
        judged: ``[H, W]``, the pixels that may change. At least half of the drawn damage is within them. None: all.
    """
    if judged is not None:
        return _within(generator, kind, good, other, judged)
    smallest = 4 * unit(good.shape) ** 2
    for _ in range(_TRIES):
        after = np.clip(np.rint(_KINDS[kind](generator, good, other)), 0, 255).astype(np.uint8)
        mask = visible(good, after)
        if smallest <= np.count_nonzero(mask) <= LARGEST * mask.size and _clear(good, after, mask):
            return Damaged(after, mask)
    return None


def _within(
    generator: Generator, kind: str, good: Picture, other: Picture, judged: NDArray[np.bool_]
) -> Damaged | None:
    """Draw the damage in the box around the pixels that may change, so that its size fits to a small region."""
    box = _box(judged)
    inside, allowed = np.ascontiguousarray(good[box]), judged[box]
    smallest = 4 * unit(inside.shape) ** 2
    for _ in range(_TRIES_WITHIN):
        drawn = np.clip(np.rint(_KINDS[kind](generator, inside, np.ascontiguousarray(other[box]))), 0, 255)
        everywhere = drawn.astype(np.uint8)
        after = np.where(allowed[:, :, np.newaxis], everywhere, inside)
        mask = visible(inside, after) & allowed
        count = np.count_nonzero(mask)
        enough = count >= max(smallest, 0.5 * np.count_nonzero(visible(inside, everywhere)))
        if enough and count <= LARGEST * mask.size and _clear(inside, after, mask):
            picture, whole = good.copy(), np.zeros(judged.shape, np.bool_)
            picture[box], whole[box] = after, mask
            return Damaged(picture, whole)
    return None


def _box(judged: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns around the pixels that may change, at least `_LEAST_BOX` wide where the picture is."""
    box = []
    for axis, side in ((1, judged.shape[0]), (0, judged.shape[1])):
        places = np.flatnonzero(judged.any(axis=axis))
        low, high = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, side)
        wide = min(side, max(high - low, _LEAST_BOX))
        low = max(0, min((low + high - wide) // 2, side - wide))
        box.append(slice(low, low + wide))
    return box[0], box[1]


def visible(before: Picture, after: Picture) -> NDArray[np.bool_]:
    """Return the mask ``[H, W]`` of visible changes. Single unchanged pixels within a change are included."""
    cv2 = opencv()
    change = planes(cv2.absdiff(before, after)).astype(np.float32).mean(axis=2)
    mask = (cv2.GaussianBlur(change, (0, 0), 0.8) > VISIBLE).astype(np.uint8)
    closed: NDArray[np.bool_] = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return closed


def _clear(before: Picture, after: Picture, mask: NDArray[np.bool_]) -> bool:
    """Return whether a fifth of the damage changed by more than twice `VISIBLE`. A barely visible change is not a defect."""
    cv2 = opencv()
    change = planes(cv2.absdiff(before, after))[mask].mean(axis=1)
    return bool(np.percentile(change, 80) > 2 * VISIBLE)


def _shapes(generator: Generator, good: Picture, other: Picture) -> NDArray[np.float32]:
    """Draw one to three shapes, opaque or half-transparent."""
    result = good.astype(np.float32)
    for _ in range(int(generator.choice([1, 1, 1, 2, 3]))):
        shape = SHAPES[int(generator.integers(len(SHAPES)))]
        cover = shape(generator, good.shape[:2], place(generator, good), extent(generator, good.shape[:2]))
        result = _laid_over(generator, result, fill(generator, good, other), cover)
    return result


def _perlin(generator: Generator, good: Picture, other: Picture) -> NDArray[np.float32]:
    """Draw islands of smooth noise, filled with a random fill, mostly half-transparent."""
    cover = perlin(generator, good.shape[:2], (0.0, 0.0), 0.0)
    if generator.random() < 0.5:  # keep only islands within a patch: whole pictures full of islands are a rare defect
        size = 2 * extent(generator, good.shape[:2], 8.0)
        cover = cover * blobs(generator, good.shape[:2], place(generator, good), size)
    opacity = 1 - generator.uniform(0, 0.8)
    before = good.astype(np.float32)
    return np.asarray(before + opacity * cover[:, :, np.newaxis] * (fill(generator, good, other) - before), np.float32)


def _cutpaste(generator: Generator, good: Picture, other: Picture) -> NDArray[np.float32]:
    """Paste a rectangle of another good picture with hard edges, turned and re-coloured."""
    cv2 = opencv()
    height, width = good.shape[:2]
    size = extent(generator, (height, width), 4.0)
    long = log_uniform(generator, 0.3, 3.3) ** 0.5
    middle = place(generator, good)
    corners = cv2.boxPoints(
        (middle, (size * long, size / long), float(generator.choice([0, generator.uniform(-45, 45)])))
    )
    cover = np.zeros((height, width), np.uint8)
    cv2.fillPoly(cover, [np.round(8 * corners).astype(np.int32)], 255, cv2.LINE_8, 3)
    return _over(good.astype(np.float32), moved(generator, other), (cover / 255).astype(np.float32))


def _blend(generator: Generator, good: Picture, other: Picture) -> NDArray[np.float32]:
    """Blend in pieces of another good picture by Poisson's equation, so that there are no edges to learn."""
    result = good
    for _ in range(int(generator.choice([1, 1, 2]))):
        result = _poisson(generator, result, other)
    return result.astype(np.float32)


def _poisson(generator: Generator, good: Picture, other: Picture) -> Picture:
    cv2 = opencv()
    height, width = good.shape[:2]
    half = [int(np.clip(side / 2 * (0.03 + generator.gamma(2, 0.05)), 3, 0.3 * side)) for side in (height, width)]
    x, y = place(generator, good)
    row = int(np.clip(y, half[0] + 2, height - half[0] - 3))
    column = int(np.clip(x, half[1] + 2, width - half[1] - 3))
    if min(row, column) < 0 or row >= height or column >= width:
        return good
    source = np.clip(moved(generator, other), 0, 255).astype(np.uint8)
    piece = source[row - half[0] : row + half[0] + 1, column - half[1] : column + half[1] + 1]
    # leave a border of the mask free: seamlessClone shifts the piece if the mask touches the edge
    sides = piece.shape[:2]
    shape = ellipse if generator.random() < 0.5 else polygon
    cover = shape(generator, sides, (sides[1] / 2, sides[0] / 2), 0.9 * min(sides))
    mask = np.zeros(sides, np.uint8)
    mask[1:-1, 1:-1] = 255 * (cover[1:-1, 1:-1] > 0.5)
    box = bounds(mask.astype(np.float32))
    if box is None or min(box[1] - box[0], box[3] - box[2]) < 3:
        return good
    center = (column - half[1] + (box[2] + box[3] - 1) // 2, row - half[0] + (box[0] + box[1] - 1) // 2)
    coloured = [np.ascontiguousarray(np.repeat(p, 3 // p.shape[2], axis=2)) for p in (piece, good)]
    flag = cv2.NORMAL_CLONE if generator.random() < 0.7 else cv2.MIXED_CLONE
    blended = cv2.seamlessClone(coloured[0], coloured[1], mask, center, flag)
    return np.ascontiguousarray(blended[:, :, : good.shape[2]])


def _noise(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Add noise within a patch: fine grain, or single bright and dark dots."""
    cv2 = opencv()
    size = extent(generator, good.shape[:2], 6.0)
    cover = blobs(generator, good.shape[:2], place(generator, good), size)[:, :, np.newaxis]
    before = good.astype(np.float32)
    if generator.random() < 0.5:
        grain = log_uniform(generator, 8, 60) * generator.standard_normal(good.shape, dtype=np.float32)
        if generator.random() < 0.5:
            grain = planes(cv2.GaussianBlur(2 * grain, (0, 0), unit(good.shape))).astype(np.float32)
        return np.asarray(before + cover * grain, np.float32)
    dots = generator.random(good.shape[:2])[:, :, np.newaxis]
    level = np.where(dots < 0.5, 0.0, 255.0).astype(np.float32)
    struck = np.minimum(dots, 1 - dots) < log_uniform(generator, 0.02, 0.25)
    return np.asarray(np.where(struck & (cover > 0.3), level, before), np.float32)


def _scratch(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Draw a long bent line with a light and a dark flank."""
    cv2 = opencv()
    height, width = good.shape[:2]
    middle, size = place(generator, good), extent(generator, (height, width), 8.0)
    heading, length = generator.uniform(0, 2 * np.pi), size * generator.uniform(1.0, 3.0)
    points = [np.array(middle)]
    for _ in range(12):
        points.append(points[-1] + length / 12 * np.array([np.cos(heading), np.sin(heading)]))
        heading += generator.normal(0, 0.18)
    deep = np.zeros((height, width), np.uint8)
    wide = max(1, round(generator.uniform(1.0, 2.6) * unit(good.shape)))
    cv2.polylines(deep, [np.round(8 * np.array(points)).astype(np.int32)], False, 255, wide, cv2.LINE_AA, 3)
    groove = cv2.GaussianBlur(deep.astype(np.float32) / 255, (0, 0), 0.5 * unit(good.shape))
    flank = np.zeros_like(groove)
    flank[wide:, wide:] = groove[:-wide, :-wide]
    strength = log_uniform(generator, 12, 110) * generator.choice([-1, 1])
    return np.asarray(good + np.float32(strength) * (groove - 0.5 * flank)[:, :, np.newaxis], np.float32)


def _discolour(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Shift the hue (of grey pictures: the brightness) of a patch with soft edges."""
    cover = _soft_patch(generator, good)
    gain = np.exp(generator.normal(0, 0.7, good.shape[2]))
    shift = log_uniform(generator, 0.1, 0.8) * (gain / gain.mean() - 1 if good.shape[2] > 1 else gain - 1)
    return np.asarray(good * (1 + cover * shift.astype(np.float32)), np.float32)


def _smear(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Blur a patch in one direction, as if it was wiped."""
    cv2 = opencv()
    cover = _soft_patch(generator, good)
    long = max(3, round(log_uniform(generator, 0.015, 0.12) * (good.shape[0] * good.shape[1]) ** 0.5))
    kernel = np.zeros((long, long), np.float32)
    angle = generator.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * (long - 1) / 2
    ends = [tuple(np.round((long - 1) / 2 + sign * along).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    wiped = planes(cv2.filter2D(good, cv2.CV_32F, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))
    return np.asarray(good + cover * (wiped - good.astype(np.float32)), np.float32)


def _warp(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Draw a dent: push aside, swirl or pull together the pixels of a patch."""
    cv2 = opencv()
    height, width = good.shape[:2]
    x, y = place(generator, good)
    size = np.float32(extent(generator, (height, width), 10.0))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    right, down = columns - np.float32(x), rows - np.float32(y)
    near = np.exp(-(right**2 + down**2) / (0.5 * size**2))
    by = np.float32(log_uniform(generator, 0.08, 0.4) * generator.choice([-1, 1]))
    way = generator.random()
    if way < 0.4:
        angle = generator.uniform(0, 2 * np.pi)
        map_x = columns + by * size * near * np.float32(np.cos(angle))
        map_y = rows + by * size * near * np.float32(np.sin(angle))
    elif way < 0.7:
        map_x, map_y = columns + by * right * near, rows + by * down * near
    else:
        map_x, map_y = columns - 2 * by * down * near, rows + 2 * by * right * near
    return planes(cv2.remap(good, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)).astype(np.float32)


def _missing(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Remove a piece of structure and fill its place from the surroundings."""
    cv2 = opencv()
    size = extent(generator, good.shape[:2], 8.0)
    shape = ellipse if generator.random() < 0.5 else blobs
    cover = shape(generator, good.shape[:2], place(generator, good), size)
    box = bounds(cover, margin=6)
    result = good.astype(np.float32)
    if box is not None:
        rows, columns = slice(box[0], box[1]), slice(box[2], box[3])
        hole = (cover[rows, columns] > 0.3).astype(np.uint8)
        closed = planes(cv2.inpaint(np.ascontiguousarray(good[rows, columns]), hole, 3, cv2.INPAINT_TELEA))
        result[rows, columns] = closed
    return result


def _spot(generator: Generator, good: Picture, _other: Picture) -> NDArray[np.float32]:
    """Draw a dried drop: a rim that is darker or lighter than the middle."""
    height, width = good.shape[:2]
    size = extent(generator, (height, width), 6.0)
    x, y = place(generator, good)
    rows, columns = np.ogrid[:height, :width]
    long, turn = log_uniform(generator, 0.6, 1.7), generator.uniform(0, np.pi)
    right, down = columns - np.float32(x), rows - np.float32(y)
    along = (np.cos(turn) * right + np.sin(turn) * down) / np.float32(0.5 * size * long**0.5)
    across = (np.cos(turn) * down - np.sin(turn) * right) / np.float32(0.5 * size / long**0.5)
    away = np.hypot(along, across).astype(np.float32) + 0.1 * smooth_noise(
        generator, (height, width), max(2.0, size / 3)
    )
    inside = np.clip((1 - away) * size / 3 + 0.5, 0, 1)
    rim = np.exp(-(((away - 0.9) / 0.18) ** 2))
    weight = (generator.uniform(0.1, 0.6) * inside + generator.uniform(0.2, 0.7) * rim)[:, :, np.newaxis]
    before = good.astype(np.float32)
    return np.asarray(before + np.clip(weight, 0, 1) * (colour(generator, good) - before), np.float32)


def _soft_patch(generator: Generator, good: Picture) -> NDArray[np.float32]:
    cv2 = opencv()
    size = extent(generator, good.shape[:2], 8.0)
    cover = blobs(generator, good.shape[:2], place(generator, good), size)
    return planes(cv2.GaussianBlur(cover, (0, 0), max(0.8, size / 12))).astype(np.float32)


def _laid_over(
    generator: Generator, below: NDArray[np.float32], above: NDArray[np.float32], cover: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw `above` over `below`: opaque or 20 to 90 % transparent, with hard or soft edges, each with probability 1/2."""
    cv2 = opencv()
    if generator.random() < 0.5:
        cover = cv2.GaussianBlur(cover, (0, 0), unit(cover.shape) * log_uniform(generator, 0.6, 3.0))
    opacity = 1.0 if generator.random() < 0.5 else generator.uniform(0.1, 0.8)
    return _over(below, above, np.float32(opacity) * cover)


def _over(below: NDArray[np.float32], above: NDArray[np.float32], cover: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(below + cover[:, :, np.newaxis] * (above - below), np.float32)


_FOR_TRAINING: dict[str, Callable[[Generator, Picture, Picture], NDArray[np.float32]]] = {
    "shapes": _shapes,
    "perlin": _perlin,
    "cutpaste": _cutpaste,
    "blend": _blend,
    "noise": _noise,
}
_HELD_OUT: dict[str, Callable[[Generator, Picture, Picture], NDArray[np.float32]]] = {
    "scratch": _scratch,
    "discolour": _discolour,
    "smear": _smear,
    "warp": _warp,
    "missing": _missing,
    "spot": _spot,
}
_KINDS = _FOR_TRAINING | _HELD_OUT

FOR_TRAINING = tuple(_FOR_TRAINING)
"""Kinds of damage for training with `--repair`."""
HELD_OUT = tuple(_HELD_OUT)
"""Kinds that are never used for training: for validation and for `--synthetic`.

With ``--repair --schedule plateau`` they select the epoch whose weights are kept. They are then not an independent measure.
"""
SHARES = {"shapes": 0.4, "perlin": 0.2, "cutpaste": 0.12, "blend": 0.2, "noise": 0.08}
"""Frequency of each kind in training. Hard edges are rare, because a network would learn the edge instead of the defect."""
