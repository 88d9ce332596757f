"""Read an ignore mask or a region: black and white pictures of the frame's size, rectangles, and polygons.

>>> int(marked_by(("2,1,6,3",), (4, 8), flag="--region").sum())  # left, top, right, bottom: 4 x 2 pixels
8
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import DataError
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import Mask
from andon.sources.opencv import opencv
from andon.sources.pictures.decode import decode, header
from andon.sources.pictures.header import TruncatedError
from andon.sources.pictures.limits import MAX_BYTES

_NUMBERS = re.compile(r"\s*-?\d+(\s*,\s*-?\d+)*\s*")
_MOST_POLYGONS, _MOST_POINTS = 64, 256
"""Limits of `Mask.outline`."""


def mask_of(texts: Sequence[str], size: tuple[int, int], *, flag: str) -> Mask:
    """Return the mask that marks what any of the texts marks.

    Args:
        texts: paths of black and white pictures, in which white is marked; rectangles ``left,top,right,bottom`` and polygons
            ``x,y,x,y,x,y,...`` in pixels of the frame.
        size: height and width of the frames.
        flag: name of the flag in messages.

    Raises:
        DataError: a picture cannot be read or is not a mask of this size, a shape is outside the frame, or the whole mask
            marks nothing or everything.
        MissingExtra: OpenCV is not installed.
    """
    marked = marked_by(texts, size, flag=flag)
    if not marked.any():
        raise DataError(
            f"{flag}: expected some marked pixels, got none. Draw the marked area in white, the rest in black."
        )
    if marked.all():
        raise DataError(
            f"{flag}: expected some pixels that are not marked, got a mask that marks all {size[0]} x {size[1]}. "
            + (
                "Leave the flag out."
                if flag == "--region"
                else "Nothing would be judged. Mark only what does not count."
            )
        )
    return pack(marked, name=flag, outline=outline(marked))


def marked_by(texts: Sequence[str], size: tuple[int, int], *, flag: str) -> NDArray[np.bool_]:
    """Return the pixels that any of the texts marks, ``[H, W]``. See `mask_of`."""
    marked = np.zeros(size, np.bool_)
    for text in texts:
        marked |= _shape(text, size, flag) if _NUMBERS.fullmatch(text) else _picture(Path(text), size, flag)
    return marked


def outline(marked: NDArray[np.bool_]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return polygons around the marked pixels, x and y as fractions of the frame, the largest first. Tiny ones are left out."""
    cv2 = opencv()
    height, width = marked.shape
    contours, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:_MOST_POLYGONS]:
        tolerance = 0.001 * float(np.hypot(height, width))
        points = cv2.approxPolyDP(contour, tolerance, True)
        while len(points) > _MOST_POINTS:
            tolerance *= 2
            points = cv2.approxPolyDP(contour, tolerance, True)
        if len(points) >= 3:
            polygons.append(tuple(((int(x) + 0.5) / width, (int(y) + 0.5) / height) for x, y in points[:, 0]))
    return tuple(polygons)


def _shape(text: str, size: tuple[int, int], flag: str) -> NDArray[np.bool_]:
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) < 4 or len(numbers) % 2:
        raise DataError(
            f"{flag} {text}: expected a rectangle, left,top,right,bottom, or a polygon of at least three points, x,y,x,y,x,y, "
            f"got {len(numbers)} numbers. Example: {flag} 100,200,900,700"
        )
    height, width = size
    across, down = numbers[0::2], numbers[1::2]
    if min(numbers) < 0 or max(across) > width or max(down) > height:
        raise DataError(
            f"{flag} {text}: expected x from 0 to {width} and y from 0 to {height}, the size of the frames in pixels, "
            f"got x from {min(across)} to {max(across)} and y from {min(down)} to {max(down)}."
        )
    marked = np.zeros(size, np.bool_)
    if len(numbers) == 4:
        left, top, right, bottom = numbers
        if left >= right or top >= bottom:
            raise DataError(
                f"{flag} {text}: expected left,top,right,bottom with left below right and top below bottom, got left {left}, top "
                f"{top}, right {right}, bottom {bottom}."
            )
        marked[top:bottom, left:right] = True
        return marked
    drawn = np.zeros(size, np.uint8)
    opencv().fillPoly(drawn, [np.array([across, down], np.int32).T], 1)
    return np.asarray(drawn > 0)


def _picture(path: Path, size: tuple[int, int], flag: str) -> NDArray[np.bool_]:
    name = f"{flag} {path}"
    advice = "Save the mask as a PNG that is black and white only, without transparency and without soft edges."
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{name}: expected a picture of at most {MAX_BYTES} bytes, got {path.stat().st_size}.")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{name}: expected a black and white picture, or a rectangle such as 100,200,900,700 in pixels, got a file that "
            f"cannot be read ({error.strerror or error})."
        ) from error
    try:
        found = header(data)
    except (DataError, TruncatedError) as error:
        raise DataError(f"{name}: {error}. {advice}") from error
    if (found.height, found.width) != size:
        raise DataError(
            f"{name}: expected a mask of the frame's size, {size[0]} x {size[1]} (height x width), got {found.height} x "
            f"{found.width}. Draw it on a frame of the camera, without scaling or cutting."
        )
    if found.alpha:
        raise DataError(f"{name}: expected black and white pixels, got an alpha channel. {advice}")
    pixels = decode(data, name=name)
    if (pixels != pixels[:, :, :1]).any():
        raise DataError(f"{name}: expected black and white pixels, got colours. {advice}")
    white = np.iinfo(pixels.dtype).max
    grey = pixels[:, :, 0]
    between = (grey != 0) & (grey != white)
    if between.any():
        row, column = (int(at) for at in np.argwhere(between)[0])
        raise DataError(
            f"{name}: expected black (0) and white ({white}) pixels, got {int(between.sum())} others, the first is "
            f"{int(grey[row, column])} at x {column}, y {row}. {advice}"
        )
    return np.asarray(grey == white)
