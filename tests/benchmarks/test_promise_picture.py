"""The picture of promised against observed false rejects."""

import numpy as np
from benchmarks.promise_picture import ROWS, WIDEST, draw

from andon.drawing.style import png_of


def test_the_picture_states_how_many_calibrations_are_above_the_limit() -> None:
    shares = [(np.array([0.1, 0.5, 1.2]), np.array([0.9, 1.1, WIDEST + 3])) for _ in ROWS]

    figure = draw(shares, [2.0] * len(ROWS))

    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"1 of 3\n(expected 2)", "2 of 3"} <= words
    assert png_of(figure, dpi=40).startswith(b"\x89PNG")
