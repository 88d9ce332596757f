"""Draw a rejected frame next to its hottest places, each with the most similar places of good parts."""

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from andon.drawing.heat_picture import PAPER, font, heat_picture
from andon.drawing.labels import fitting, shortened
from andon.drawing.style import INK, SOFT
from andon.foundation.extras import needs
from andon.runtime.heat_map import Picture
from andon.runtime.schema import Card
from andon.runtime.verdict import Verdict

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

WIDTH, TALLEST = 560, 700
"""Largest width and height of the rejected frame on the sheet, in pixels."""
VIEW = 180
"""Side of a view of a place, in pixels."""
_GAP = 14
_TEXT = 15


Box = tuple[int, int, int, int]
"""Top, left, bottom and right, in pixels."""


class View(Struct, frozen=True, kw_only=True):
    """A place of a good part."""

    picture: Picture
    cell: Box
    """The compared cell, in pixels of `picture`."""
    name: str
    """Key of the good part."""
    share: float
    """Distance of the rejected place to this one, as a share of the threshold."""


class Place(Struct, frozen=True, kw_only=True):
    """A hot place of a rejected frame, with the most similar places of good parts, from fine to coarse features."""

    picture: Picture
    cell: Box
    """The hot cell, in pixels of `picture`."""
    share: float
    """Value of the map, as a share of the threshold."""
    box: Box
    """Place of `picture` in the frame, in pixels."""
    good: tuple[View, ...]


def explanation_sheet(key: str, frame: Picture, verdict: Verdict, card: Card, places: list[Place]) -> Picture:
    """Return the sheet, uint8 ``[H, W, 3]``.

    Args:
        key: name of the frame.
        frame: the rejected frame, uint8 ``[H, W, 3]`` or ``[H, W, 1]``.
        verdict: verdict about the frame.
        card: card of the model file that judged.
        places: hot places, hottest first, at least one.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    with needs("camera", "text on pictures"):
        from PIL import Image, ImageDraw

    judged, scale, apart = _judged(frame, verdict, card)
    title, text, row = font(22), font(_TEXT), VIEW + 2 * _TEXT + _GAP
    layers = max(len(place.good) for place in places)
    left, right = _GAP, 2 * _GAP + judged.shape[1]
    head = _GAP + 34
    size = (
        right + (1 + layers) * (VIEW + _GAP) + _GAP,
        head + max(judged.shape[0], 2 * _TEXT + len(places) * row) + _GAP,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, _GAP), shortened(key, 60), INK, title)
    sheet.paste(Image.fromarray(judged), (left, head))
    first_good = right + _GAP + VIEW + _GAP
    draw.text((right, head - _TEXT), "this part", INK, text)
    draw.text((first_good, head - _TEXT), "most similar places of good parts, fine to coarse", INK, text)
    draw.text((first_good, head + 2), "distances in units of the threshold", SOFT, font(13))
    for number, place in enumerate(places, 1):
        top, start, bottom, end = (round(scale * side) for side in place.box)
        corner = (left + apart + start, head + top, left + apart + end - 1, head + bottom - 1)
        _draw_box(draw, corner)
        _draw_number(draw, (corner[0], corner[1]), number)
        y = head + 2 * _TEXT + (number - 1) * row
        sheet.paste(_square(place.picture, place.cell), (right, y))
        _draw_number(draw, (right, y), number)
        draw.text((right, y + VIEW + 3), f"{place.share:.2f} times the threshold", INK, text)
        for column, view in enumerate(place.good):
            x = first_good + column * (VIEW + _GAP)
            sheet.paste(_square(view.picture, view.cell), (x, y))
            draw.text((x, y + VIEW + 3), f"distance {view.share:.2f}", INK, text)
            name = shortened(view.name, 28)
            draw.text((x, y + VIEW + 3 + _TEXT), fitting(name, font(13).getlength, VIEW), SOFT, font(13))
    return np.asarray(sheet, np.uint8)


def _judged(frame: Picture, verdict: Verdict, card: Card) -> tuple[Picture, float, int]:
    """Return the frame with heat map and strip, its scale, and the columns of paper at its left."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = min(WIDTH / width, TALLEST / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    levels = frame[:, :, 0] if frame.shape[2] == 1 else frame
    resized = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC), np.uint8)
    judged = heat_picture(resized, verdict, card)
    return judged, scale, (judged.shape[1] - size[0]) // 2


def _square(picture: Picture, cell: Box) -> "Image":
    """Return a view with its cell marked, in RGB, enlarged or reduced to `VIEW` pixels in both directions."""
    from PIL import Image, ImageDraw

    levels = picture[:, :, 0] if picture.shape[2] == 1 else picture
    resized = Image.fromarray(levels).convert("RGB").resize((VIEW, VIEW), Image.Resampling.BICUBIC)
    down, right = (VIEW / side for side in picture.shape[:2])
    top, left, bottom, end = cell
    _draw_box(
        ImageDraw.Draw(resized), (round(right * left), round(down * top), round(right * end), round(down * bottom))
    )
    return resized


def _draw_box(draw: "ImageDraw", corners: tuple[int, int, int, int]) -> None:
    """Draw a white line with black borders along left, top, right, bottom. It is visible on every background."""
    left, top, right, bottom = corners
    draw.rectangle((left, top, right, bottom), outline="black", width=3)
    if right - left > 2 and bottom - top > 2:
        draw.rectangle((left + 1, top + 1, right - 1, bottom - 1), outline="white", width=1)


def _draw_number(draw: "ImageDraw", corner: tuple[int, int], number: int) -> None:
    x, y = corner
    draw.rectangle((x, y, x + 20, y + 20), fill="white", outline="black", width=2)
    draw.text((x + 10.5, y + 11), str(number), "black", font(_TEXT), anchor="mm")
