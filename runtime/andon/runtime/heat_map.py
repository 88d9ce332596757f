"""Draw anomaly maps as pictures, with numpy only. All maps of a model file have one colour scale, set by its threshold.

The scale is in units of the map's limit (`map_limit`), which is the threshold wherever the score is pooled from the highest
values of the map. The limit is in the middle of the scale: blue and violet are below it, red to yellow are above it. A contour
surrounds the places above the limit. So most good parts show neither strong colours nor a contour.
"""

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import InputError
from andon.runtime.crop import WHOLE, Crop, window
from andon.runtime.schema import Card

Picture = NDArray[np.uint8]

COOL, HOT = 0.5, 1.5
"""Ends of the colour scale, in units of the limit."""
TRANSPARENT = 0.75
"""Map values up to this share of the limit leave the frame as it is."""
_OPACITY = 0.5
"""Opacity at the hot end. The surface must stay visible below the colours."""
_LINE = 320
"""The two lines of the contour are each as wide as the short side of the frame divided by this, at least one pixel."""

_STRIPES = 8
"""Distance of the stripes over pixels that do not count, in widths of a stripe."""
_STRIPE_LEVEL = 150
_DIMMED = 0.6
"""Brightness of pixels between the stripes."""

# From dark blue over purple and orange to yellow. Brightness always increases, so that the scale also works in grey and for
# colour-blind people. Its hot end is distinguishable from bright metal.
_STOPS = np.array(
    [[10, 8, 40], [58, 20, 110], [132, 32, 118], [204, 58, 82], [242, 112, 42], [252, 186, 40], [250, 246, 120]],
    np.float32,
)
_TABLE = np.stack(
    [np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_STOPS)), _STOPS[:, channel]) for channel in range(3)],
    axis=1,
).astype(np.uint8)


def map_limit(card: Card, threshold: float) -> float:
    """Return the map value that counts as exceeded, in units of the map, above 0.

    The limit is the threshold if the score is the maximum of the map or the mean of its highest values. A rejected frame
    then has at least one cell above it. Otherwise the map has other units than the score, or the score is the mean over all
    cells. The limit is then `Calibration.map_scale`, which 99.9 % of the cells of good parts do not exceed.

    Args:
        card: card of the model file.
        threshold: threshold of the model file, `Detector.threshold`.
    """
    if limit_is_threshold(card) and np.isfinite(threshold) and threshold > 0:
        return threshold
    return (card.calibration.map_scale if card.calibration else None) or 1.0


def limit_is_threshold(card: Card) -> bool:
    """Return whether the limit of the maps is the threshold, see `map_limit`."""
    return card.reading.map is not None and card.reading.pool != "mean"


def colours(anomaly_map: NDArray[np.float32], limit: float, *, cool: float = COOL) -> Picture:
    """Return the map ``[h, w]`` as an RGB picture, uint8 ``[h, w, 3]``.

    Args:
        anomaly_map: the map of one frame.
        limit: see `map_limit`.
        cool: low end of the colour scale, in units of the limit. The high end is 1.5.
    """
    position = (_in_limits(anomaly_map, limit) - cool) / (HOT - cool)
    table: Picture = _TABLE[(position.clip(0.0, 1.0) * 255).astype(np.uint8)]
    return table


def overlay(
    frame: Picture,
    anomaly_map: NDArray[np.float32],
    limit: float,
    *,
    crop: Crop = WHOLE,
    ignored: NDArray[np.bool_] | None = None,
) -> Picture:
    """Return the frame as an RGB picture, uint8 ``[H, W, 3]``, with the anomaly map drawn over it.

    Places up to three quarters of the limit are left as they are. From there the opacity increases. A line, white inside
    and black outside, surrounds the places above the limit. It is visible on bright and on dark surfaces.

    Args:
        frame: uint8 ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]``.
        anomaly_map: the map of this frame.
        limit: see `map_limit`.
        crop: part of the frame that the network uses, `FrameSpec.crop`.
        ignored: ``[H, W]``, the pixels that do not count (`mask_pixels.ignored_in`). They are hatched. None: all count.

    Raises:
        InputError: the frame is not uint8. `grey_levels.grey_levels` converts uint16 frames.
    """
    if frame.dtype != np.uint8:
        raise InputError(f"frame: expected uint8, got {frame.dtype}. Use grey_levels(frame, detector.card.input).")
    height, width = frame.shape[:2]
    rgb = np.repeat(frame.reshape(height, width, 1), 3, axis=2) if frame.ndim == 2 or frame.shape[2] == 1 else frame
    mixed = rgb.copy()
    inside = mixed[window((height, width), crop)]  # a view: changes appear in the picture
    big = enlarge(anomaly_map, inside.shape[:2])
    relative = _in_limits(big, limit)
    if ignored is not None:  # the enlarged map is soft, so that its border reaches into the pixels that do not count
        relative[ignored[window((height, width), crop)]] = 0.0
    box = _box(relative > TRANSPARENT)
    warmth = ((relative[box] - TRANSPARENT) / (HOT - TRANSPARENT)).clip(0.0, 1.0)[:, :, np.newaxis]
    weight = (_OPACITY * warmth).astype(np.float32)
    inside[box] = (inside[box] * (1 - weight) + colours(big[box], limit) * weight).astype(np.uint8)
    _draw_contour(inside, relative > 1.0, max(1, round(min(height, width) / _LINE)))
    return mixed if ignored is None else hatched(mixed, ignored)


def hatched(picture: Picture, ignored: NDArray[np.bool_]) -> Picture:
    """Return the RGB picture ``[H, W, 3]`` with grey stripes, dimmed, where pixels do not count."""
    height, width = picture.shape[:2]
    line = max(1, round(min(height, width) / _LINE))
    rows, columns = np.ogrid[:height, :width]
    stripes = (rows + columns) % (_STRIPES * line) < line
    result = picture.copy()
    result[ignored] = (result[ignored] * _DIMMED).astype(np.uint8)
    result[ignored & stripes] = _STRIPE_LEVEL
    return result


def enlarge(anomaly_map: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize the map to ``(height, width)``, bilinear, with aligned pixel centres."""
    # no matrix products: the threads of BLAS would wait actively, which costs more than the whole picture
    low, high, share = _neighbours(anomaly_map.shape[1], size[1])
    values = anomaly_map.astype(np.float32)
    wide = values[:, low] * (1 - share) + values[:, high] * share
    low, high, share = _neighbours(anomaly_map.shape[0], size[0])
    enlarged: NDArray[np.float32] = wide[low]
    enlarged *= (1 - share)[:, np.newaxis]
    enlarged += wide[high] * share[:, np.newaxis]
    return enlarged


def _in_limits(anomaly_map: NDArray[np.float32], limit: float) -> NDArray[np.float64]:
    """Return the map in units of the limit. NaN becomes the hottest value."""
    wide = anomaly_map.astype(np.float64) / max(limit, 1e-30)  # in float64 no float32 value overflows
    return np.nan_to_num(wide, nan=HOT)


def _box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice]:
    """Return rows and columns of the smallest box around the mask, widened by a margin within the picture."""
    found = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        low, high = (places[0], places[-1] + 1) if len(places) else (0, 0)
        found.append(slice(max(0, int(low) - margin), int(high) + margin))
    return found[0], found[1]


def _draw_contour(picture: Picture, mask: NDArray[np.bool_], line: int) -> None:
    """Draw two lines around the mask into the picture, white next to it and black around that, each `line` pixels wide."""
    if not mask.any():
        return
    box = _box(mask, margin=2 * line)
    white = _grown(mask[box], line)
    black = _grown(white, line) & ~white
    part = picture[box]
    part[black] = 0
    part[white & ~mask[box]] = 255


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Return the mask grown by a number of pixels in all directions."""
    grown = mask.copy()
    for step in range(1, by + 1):
        grown[step:] |= mask[:-step]
        grown[:-step] |= mask[step:]
    tall = grown.copy()
    for step in range(1, by + 1):
        grown[:, step:] |= tall[:, :-step]
        grown[:, :-step] |= tall[:, step:]
    return grown


def _neighbours(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the two source cells next to the centre of each target cell, and the share of the second one, ``[target]``."""
    place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.minimum(place.astype(np.intp), max(source - 2, 0))
    return low, np.minimum(low + 1, source - 1), (place - low).astype(np.float32)
