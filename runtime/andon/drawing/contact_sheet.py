"""Pictures side by side on one sheet."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from andon.drawing.labels import plain, short
from andon.drawing.style import DPI, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ON_A_SHEET = 400
"""Upper limit of pictures on one contact sheet."""


def contact_sheet(pictures: NDArray[np.uint8], captions: Sequence[str] = (), *, title: str) -> "Figure":
    """Draw pictures side by side, row by row, each above its caption if there are captions.

    Args:
        pictures: ``[n, h, w, C]``, at least one, at most `MOST_ON_A_SHEET`.
        captions: one caption per picture, or none at all.
        title: text above the pictures.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    count, height, width, _ = pictures.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    cell = (0.95, 0.95 * height / width)
    apart, below = 0.06, 0.2 if captions else 0.06
    left, top, bottom = 0.12, 0.45, 0.08
    size = (max(2 * left + columns * (cell[0] + apart) - apart, 4.6), top + bottom + rows * (cell[1] + below))
    figure: Figure = new_figure(*size, layout=None, dpi=DPI)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        x, y = left + column * (cell[0] + apart), size[1] - top - row * (cell[1] + below) - cell[1]
        axes = figure.add_axes((x / size[0], y / size[1], cell[0] / size[0], cell[1] / size[1]))
        axes.set_axis_off()
        levels = picture[..., 0] if picture.shape[2] == 1 else picture
        axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
        if captions:
            at = ((x + cell[0] / 2) / size[0], (y - 0.02) / size[1])
            figure.text(*at, short(captions[place]), ha="center", va="top", fontsize=7, parse_math=False)
    wrapped = plain(title, max(30, round(13 * size[0])))
    figure.text(left / size[0], 1 - 0.1 / size[1], wrapped, va="top", fontsize=9)
    return figure
