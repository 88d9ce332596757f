"""Draw anomaly maps as pictures, with numpy only. Each model file has a fixed colour scale: good parts always look dark."""

import numpy as np
from numpy.typing import NDArray

from andon.runtime.crop import WHOLE, Crop, window

Picture = NDArray[np.uint8]

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


def colours(anomaly_map: NDArray[np.float32], map_scale: float) -> Picture:
    """Return the map ``[h, w]`` as an RGB picture, uint8 ``[h, w, 3]``.

    Args:
        anomaly_map: the map of one frame.
        map_scale: 99.9 % quantile of good maps, `Calibration.map_scale`. The colours range from 0 to 1.5 times this value.
    """
    table: Picture = _TABLE[(_share(anomaly_map, map_scale) * 255).astype(np.uint8)]
    return table


def overlay(
    frame: Picture,
    anomaly_map: NDArray[np.float32],
    map_scale: float,
    *,
    crop: Crop = WHOLE,
) -> Picture:
    """Return the frame as an RGB picture, uint8 ``[H, W, 3]``, with the anomaly map drawn over it.

    The lowest third of the scale is transparent. The opacity increases with the anomaly, so that good parts show little
    colour.

    Args:
        frame: uint8 ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]``.
        anomaly_map: the map of this frame.
        map_scale: see `colours`.
        crop: part of the frame that the network uses, `FrameSpec.crop`.
    """
    height, width = frame.shape[:2]
    rgb = np.repeat(frame.reshape(height, width, 1), 3, axis=2) if frame.ndim == 2 or frame.shape[2] == 1 else frame
    rows, columns = window((height, width), crop)
    inside = rgb[rows, columns].astype(np.float32)
    big = enlarge(anomaly_map, inside.shape[:2])
    # most good cells are below two thirds of the scale (`map_scale`) and get little colour; the opacity rises from there
    warmth = np.clip((_share(big, map_scale) - 0.35) / 0.65, 0.0, None)[:, :, np.newaxis]
    weight = 0.7 * warmth**1.5
    mixed = rgb.copy()
    mixed[rows, columns] = (inside * (1 - weight) + colours(big, map_scale).astype(np.float32) * weight).astype(
        np.uint8
    )
    return mixed


def enlarge(anomaly_map: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize the map to ``(height, width)``, bilinear, with aligned pixel centres."""
    rows = _weights(anomaly_map.shape[0], size[0])
    columns = _weights(anomaly_map.shape[1], size[1])
    enlarged: NDArray[np.float32] = rows @ anomaly_map.astype(np.float32) @ columns.T
    return enlarged


def _share(anomaly_map: NDArray[np.float32], map_scale: float) -> NDArray[np.float64]:
    """Return the position of each value on the colour scale, 0 to 1. NaN counts as 1, the hottest."""
    wide = anomaly_map.astype(np.float64) / (1.5 * max(map_scale, 1e-30))  # in float64 no float32 value overflows
    share: NDArray[np.float64] = np.nan_to_num(wide, nan=1.0).clip(0.0, 1.0)
    return share


def _weights(source: int, target: int) -> NDArray[np.float32]:
    """Return the share of each source cell in each target cell, ``[target, source]``."""
    place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.minimum(place.astype(int), max(source - 2, 0))
    share = (place - low).astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    weights[np.arange(target), low] = 1 - share
    if source > 1:
        weights[np.arange(target), low + 1] += share
    return weights
