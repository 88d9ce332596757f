"""Contents of a figure, and a check that nothing is clipped."""

from typing import Any


def labels(figure: Any) -> list[str]:
    return [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def assert_nothing_is_clipped(figure: Any) -> None:
    """Check that all visible content is inside the figure, to a hundredth of an inch."""
    figure.canvas.draw()
    box, size = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= -0.01, f"clipped on the left or below: {box}"
    assert box.x1 <= size[0] + 0.01, f"clipped on the right: {box} of {size}"
    assert box.y1 <= size[1] + 0.01, f"clipped above: {box} of {size}"
