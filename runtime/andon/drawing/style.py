"""Style of all plots: matplotlib's `Figure` without pyplot, in colours that people with any colour vision can distinguish."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy

# the colours of Okabe and Ito, distinguishable with any colour vision, and greys
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, YELLOW = "#e69f00", "#56b4e9", "#f0e442"
INK, SOFT = "#222222", "#767676"
GOOD, DEFECT = BLUE, VERMILION
DPI = 110


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained", dpi: int | None = None
) -> Any:
    """Return a figure of this size in inches. Give `dpi` if the figure must keep its resolution when it is saved.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"pictures need matplotlib: {remedy('evaluate')}") from error
    # Figure without pyplot: no global state, no window system
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def one_panel(width: float, height: float) -> tuple[Any, Any]:
    """Return a tidy figure with one pair of axes."""
    figure = new_figure(width, height)
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(axes: Any) -> None:
    """Give axes a light grid and no box."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Any) -> None:
    """Put the legend below the axes, because a curve may pass through any corner."""
    figure.legend(loc="outside lower center", frameon=False)


def name_bars(axes: Any, places: NDArray[np.intp], names: Sequence[str]) -> None:
    """Write names at the left of horizontal bars."""
    # a dollar sign in the name of a folder does not start a formula
    axes.set_yticks(places, names, parse_math=False)


def png_of(figure: Any, dpi: int | Literal["figure"] = DPI) -> bytes:
    """Return the figure as PNG. The same figure gives the same bytes."""
    stream = io.BytesIO()
    with _any_script():
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def svg_of(figure: Any) -> bytes:
    """Return the figure as SVG. The same figure gives the same bytes."""
    import matplotlib as mpl

    stream = io.BytesIO()
    # the salt replaces random names of elements; letters stay text, so that they can be searched
    with _any_script(), mpl.rc_context({"svg.hashsalt": "andon", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Suppress warnings about characters that the font lacks. They are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield
