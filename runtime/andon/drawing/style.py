"""How a picture is drawn, here and in training: matplotlib's `Figure` without pyplot, in colours that all eyes tell apart."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import MissingExtra
from andon.foundation.extras import remedy

# Okabe and Ito's, which all eyes tell apart; and greys
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, YELLOW = "#e69f00", "#56b4e9", "#f0e442"
INK, SOFT = "#222222", "#767676"
GOOD, DEFECT = BLUE, VERMILION
DPI = 110


def new_figure(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained", dpi: int | None = None
) -> Any:
    """A figure of so many inches; `dpi` where it is saved as it is drawn.

    Raises:
        MissingExtra: no matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(f"pictures need matplotlib: {remedy('evaluate')}") from error
    # Figure without pyplot: no global state, no window system
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def one_panel(width: float, height: float) -> tuple[Any, Any]:
    """A figure with one pair of axes, tidy."""
    figure = new_figure(width, height)
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(axes: Any) -> None:
    """A light grid behind, no box around."""
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Any) -> None:
    """Outside the axes: a curve may go through any corner of them."""
    figure.legend(loc="outside lower center", frameon=False)


def name_bars(axes: Any, places: NDArray[np.intp], names: Sequence[str]) -> None:
    """Names beside horizontal bars."""
    # a dollar sign in the name of a folder is no formula
    axes.set_yticks(places, names, parse_math=False)


def png_of(figure: Any, dpi: int | Literal["figure"] = DPI) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with _any_script():
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


@contextmanager
def _any_script() -> Iterator[None]:
    """Names may be in a script that the font lacks: boxes then, and no warning to whoever runs the command."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield
