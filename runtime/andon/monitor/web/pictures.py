"""Make the live picture of a line: a small JPEG with the heat map, or the curves of a window. Pure functions.

Frames are reduced before the heat map is drawn, because drawing at full size takes several times as long. A picture with a heat
map is smaller than one without: drawing takes most of the time, and it grows with the number of pixels.
"""

from typing import Any

import numpy as np
from msgspec import Struct

from andon.monitor.evidence import encode_picture
from andon.monitor.judging import Outcome
from andon.runtime.crop import WHOLE
from andon.runtime.grey_levels import grey_levels
from andon.runtime.heat_map import TRANSPARENT, Picture, hatched, map_limit, overlay
from andon.runtime.items import Data
from andon.runtime.mask_pixels import ignored_in
from andon.runtime.schema import FrameSpec, WindowSpec
from andon.sources.opencv import opencv

PLAIN = 540, 960
"""Largest height and width of a live picture without a heat map, in pixels."""
HEATED = 360, 640
"""Largest height and width of a live picture with a heat map, in pixels."""
QUALITY = 75
MOST_POINTS = 160
"""Largest number of points of a curve."""
MOST_CURVES = 12
"""Largest number of curves. Of more channels, those with the highest share are shown."""


class Curve(Struct, frozen=True, kw_only=True):
    """One channel of a window."""

    name: str
    unit: str
    share: float | None
    """Share of the channel in the anomaly of the window. None without channel scores."""
    low: list[float | None]
    """Lowest value of each piece of the window, oldest first. None where there is no value."""
    high: list[float | None]
    """Highest value of each piece."""


def live_picture(outcome: Outcome) -> bytes | None:
    """Return the JPEG of a frame. None if the outcome has no frame.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    frame = outcome.data
    if frame is None or frame.ndim != 3:
        return None
    frame = grey_levels(frame, outcome.card.input if outcome.card is not None else None)
    card, anomaly_map = outcome.card, outcome.verdict.evidence.get("anomaly_map")
    if card is not None and anomaly_map is not None and anomaly_map.ndim == 2:
        limit = map_limit(card, outcome.verdict.threshold)
        if not (anomaly_map <= TRANSPARENT * limit).all():  # otherwise nothing would be drawn; NaN is drawn
            crop = card.input.crop if isinstance(card.input, FrameSpec) else WHOLE
            small = _small(frame, HEATED)
            ignored = ignored_in(card.input, (small.shape[0], small.shape[1]))
            return encode_picture(overlay(small, anomaly_map, limit, crop=crop, ignored=ignored), QUALITY)
    plain = _small(frame, PLAIN)
    ignored = ignored_in(card.input, (plain.shape[0], plain.shape[1])) if card is not None else None
    if ignored is not None:
        plain = hatched(np.repeat(plain, 3 // plain.shape[2], axis=2), ignored)
    return encode_picture(plain, QUALITY)


def live_curves(outcome: Outcome) -> tuple[Curve, ...]:
    """Return the channels of a window. Empty if the outcome has no window."""
    window, card = outcome.data, outcome.card
    spec = card.input if card is not None else None
    if window is None or window.ndim != 2 or not isinstance(spec, WindowSpec):
        return ()
    scores = outcome.verdict.evidence.get("channel_scores")
    shares = _shares(scores, len(spec.channels))
    order = list(range(len(spec.channels)))
    if len(spec.channels) > MOST_CURVES:
        order = sorted(sorted(order, key=lambda at: -(shares[at] or 0.0))[:MOST_CURVES])
    return tuple(
        Curve(
            name=spec.channels[at].name,
            unit=spec.channels[at].unit,
            share=shares[at],
            low=_reduced(window[:, at], np.fmin),
            high=_reduced(window[:, at], np.fmax),
        )
        for at in order
    )


def _small(frame: Data, largest: tuple[int, int]) -> Picture:
    height, width = frame.shape[:2]
    factor = min(1.0, largest[0] / height, largest[1] / width)
    if factor == 1.0:
        return np.asarray(frame, np.uint8)
    cv2 = opencv()
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8).reshape(
        size[1], size[0], frame.shape[2]
    )


def _shares(scores: Any, channels: int) -> list[float | None]:
    if scores is None or scores.shape != (channels,) or not np.isfinite(scores).all():
        return [None] * channels
    total = float(np.maximum(scores, 0).sum())
    return [float(max(score, 0.0) / total) if total > 0 else 0.0 for score in scores]


def _reduced(values: Data, pick: np.ufunc) -> list[float | None]:
    """Return the lowest or highest value of at most `MOST_POINTS` pieces, so that no short peak is lost."""
    pieces = np.array_split(np.asarray(values, np.float64), min(MOST_POINTS, len(values)))
    picked = (float(pick.reduce(piece)) for piece in pieces)
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in picked]
