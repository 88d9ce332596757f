"""Draw a judged frame with its heat map, and below it a strip with the verdict, its numbers and the colour scale."""

import functools
import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from andon.drawing.labels import fitting
from andon.drawing.style import BLUE, INK, SOFT, VERMILION
from andon.foundation.extras import needs
from andon.runtime.crop import WHOLE
from andon.runtime.heat_map import COOL, HOT, Picture, colours, hatched, limit_is_threshold, map_limit, overlay
from andon.runtime.mask_pixels import ignored_in
from andon.runtime.schema import Card, FrameSpec, Status
from andon.runtime.verdict import Verdict

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

NARROWEST = 300
"""Smallest width of a picture in pixels. The strip needs it for its text."""
_SMALL = 480
"""Frames are enlarged by whole factors up to this length of the longer side, while they are narrower than `NARROWEST`."""
PAPER = "#f7f7f5"
_FILLS = {Status.REJECT: VERMILION, Status.INVALID: SOFT, Status.REVIEW: INK, Status.OK: BLUE}
_BAR = 0.6
"""Left end of the colour scale, as a share of the width."""


def heat_picture(frame: Picture, verdict: Verdict, card: Card) -> Picture:
    """Return the frame with its heat map, if the verdict has one, and a strip of text below it, uint8 ``[H, W, 3]``.

    Pixels that do not count are hatched. The strip does not cover any part of the frame. Its text grows with the frame, so that
    it is readable in a small preview.

    Args:
        frame: the judged frame, uint8 ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]``.
        verdict: verdict about this frame.
        card: card of the model file that judged.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    rgb = _rgb(frame)
    height, width = rgb.shape[:2]
    times = max(1, min(NARROWEST // width, _SMALL // max(height, width)))
    rgb = rgb.repeat(times, axis=0).repeat(times, axis=1)
    anomaly_map = verdict.evidence.get("anomaly_map")
    ignored = ignored_in(card.input, (rgb.shape[0], rgb.shape[1]))
    if anomaly_map is not None:
        crop = card.input.crop if isinstance(card.input, FrameSpec) else WHOLE
        rgb = overlay(rgb, anomaly_map, map_limit(card, verdict.threshold), crop=crop, ignored=ignored)
    elif ignored is not None:
        rgb = hatched(rgb, ignored)
    below = strip(verdict, card, max(NARROWEST, rgb.shape[1]), legend=anomaly_map is not None)
    left = (below.shape[1] - rgb.shape[1]) // 2
    right = below.shape[1] - rgb.shape[1] - left
    paper = int(PAPER[1:3], 16)
    centred = np.pad(rgb, ((0, 0), (left, right), (0, 0)), constant_values=paper)
    return np.concatenate([centred, below])


def strip(verdict: Verdict, card: Card, width: int, *, legend: bool) -> Picture:
    """Return the strip: status, level, score, threshold, and for INVALID the reason.

    Args:
        verdict: the verdict to describe.
        card: card of the model file that judged.
        width: width of the strip in pixels, at least `NARROWEST`.
        legend: whether to draw the colour scale of the heat map.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    with needs("camera", "text on pictures"):
        from PIL import Image, ImageDraw

    large, small = font(round(width / 17)), font(round(width / 25))
    gap = max(4, width // 60)
    reason = textwrap.wrap(verdict.reason.text, 46)
    row = round(large.size * 1.5)
    line = round(small.size * 1.35)
    image = Image.new("RGB", (width, gap + row + line * (1 + len(reason)) + gap), PAPER)
    draw = ImageDraw.Draw(image)
    middle = gap + row // 2
    name = verdict.status.name
    pad = large.size // 2
    chip = (gap, gap, gap + round(large.getlength(name)) + 2 * pad, gap + row - gap // 2)
    draw.rounded_rectangle(chip, radius=large.size // 4, fill=_FILLS[verdict.status])
    centre = (chip[1] + chip[3]) / 2
    draw.text((gap + pad, centre), name, "white", large, anchor="lm")
    if math.isfinite(verdict.level):
        level = f"level {verdict.level:{'.2f' if abs(verdict.level) < 1000 else '.3g'}}"
        room = (_BAR - 0.03) * width - chip[2] - pad
        sizes = range(round(large.size), round(small.size) // 2, -1)
        fits = next((size for size in sizes if font(size).getlength(level) <= room), sizes[-1])
        draw.text((chip[2] + pad, centre), level, INK, font(fits), anchor="lm")
    bottom = gap + row + line // 2
    if math.isfinite(verdict.score):
        numbers = f"score {verdict.score:.4g}, threshold {verdict.threshold:.4g}"
        draw.text((gap, bottom), fitting(numbers, small.getlength, (_BAR - 0.04) * width), INK, small, anchor="lm")
    for number, text in enumerate(reason, 1):
        draw.text((gap, bottom + number * line), fitting(text, small.getlength, width - 2 * gap), INK, small, "lm")
    if legend:
        ends = (round(_BAR * width), width - 2 * gap)
        _draw_scale(draw, image, card, ends=ends, middle=middle, bottom=bottom, small=small)
    return np.asarray(image, np.uint8)


def _draw_scale(
    draw: "ImageDraw", image: Any, card: Card, *, ends: tuple[int, int], middle: int, bottom: int, small: Any
) -> None:
    """Draw the colour scale with a mark in the colours of the contour at its middle, the limit."""
    from PIL import Image

    left, right = ends
    tall = max(6, round(small.size * 0.8))
    top = middle - tall // 2
    ramp = np.linspace(COOL, HOT, right - left, dtype=np.float32)[np.newaxis].repeat(tall, axis=0)
    image.paste(Image.fromarray(colours(ramp, 1.0)), (left, top))
    at, thick = (left + right) / 2, max(1, small.size / 12)
    for wide, ink in ((2 * thick, "black"), (thick, "white")):
        draw.rectangle((at - wide, top - wide, at + wide, top + tall - 1 + wide), fill=ink)
    draw.text((left, bottom), f"{COOL:g}", SOFT, small, anchor="lm")
    draw.text((right, bottom), f"{HOT:g}", SOFT, small, anchor="rm")
    draw.text((at, bottom), "threshold" if limit_is_threshold(card) else "99.9 %", INK, small, anchor="mm")


@functools.cache
def font(size: int) -> Any:
    """Return Pillow's own font. It has the letters of western languages.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    with needs("camera", "text on pictures"):
        from PIL import ImageFont
    return ImageFont.load_default(size)


def _rgb(frame: Picture) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    grey = frame.ndim == 2 or frame.shape[2] == 1
    return np.repeat(frame.reshape(height, width, 1), 3, axis=2) if grey else frame
