"""Draw the pictures of an animation of windows: original and reconstruction of each channel, on fixed scales."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from andon.drawing.style import ORANGE
from andon.runtime.schema import WindowSpec
from andon.training.animation.stills import Picture, even, title
from andon.training.observers.epoch_snapshots import Snapshot, SnapshotParts
from andon.training.observers.reconstruction_plots import Rebuilt, rebuilt_windows, worst_channels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUAL_WIDTH = 1000
"""Default width in pixels."""


def window_stills(
    snapshots: Sequence[Snapshot], parts: SnapshotParts, spec: WindowSpec, *, width: int | None
) -> Iterator[Picture]:
    """Yield one picture ``[H, W, 3]`` per snapshot.

    All pictures have the same size. Width and height are even numbers of pixels. Each channel has the same scale in all
    pictures.

    Args:
        snapshots: in order. Each has reconstructions.
        parts: the windows.
        spec: input of the detector.
        width: width of the pictures in pixels. None: `USUAL_WIDTH`.
    """
    channels = worst_channels(_pages(snapshots[-1], parts))
    every = np.concatenate([parts.originals, *(_rebuilt(snapshot) for snapshot in snapshots)])
    limits = every.min(axis=(0, 1)), every.max(axis=(0, 1))
    figure = rebuilt_windows(
        _pages(snapshots[0], parts), title=_headline(snapshots[0]), spec=spec, channels=channels, limits=limits
    )
    figure.set_dpi(even(width or USUAL_WIDTH) / figure.get_figwidth())
    canvas = _Canvas(figure, channels)
    for snapshot in snapshots:
        drawn = canvas.draw(_headline(snapshot), _pages(snapshot, parts))
        yield np.pad(drawn, ((0, len(drawn) % 2), (0, drawn.shape[1] % 2), (0, 0)), constant_values=255)


class _Canvas:
    """Draws only the changing elements over a saved background. This is several times faster than a full redraw."""

    def __init__(self, figure: "Figure", channels: Sequence[int]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self._figure, self._channels = figure, channels
        canvas: Any = FigureCanvasAgg(figure)
        self._canvas = canvas
        for axes in figure.axes:
            axes.collections[0].remove()
            for artist in (*axes.lines, axes.title):
                artist.set_visible(False)
        figure.texts[0].set_visible(False)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(figure.bbox)

    def draw(self, headline: str, pages: Sequence[Rebuilt]) -> Picture:
        """Return the picture ``[H, W, 3]`` for these pages."""
        figure: Any = self._figure
        self._canvas.restore_region(self._still)
        figure.texts[0].set(text=headline, visible=True)
        figure.draw_artist(figure.texts[0])
        for place, axes in enumerate(figure.axes):
            page = pages[place // len(self._channels)]
            channel = self._channels[place % len(self._channels)]
            was, made = page.original[:, channel], page.rebuilt[:, channel]
            seconds = axes.lines[0].get_xdata()
            between = axes.fill_between(seconds, was, made, color=ORANGE, alpha=0.3, linewidth=0)
            axes.lines[1].set_ydata(made)
            for artist in (*axes.lines, between):
                artist.set_visible(True)
                axes.draw_artist(artist)
            between.remove()
            if axes.get_title():
                axes.set_title(page.caption, fontsize=9, visible=True)
                axes.draw_artist(axes.title)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def _headline(snapshot: Snapshot) -> str:
    return f"{title(snapshot)}: reconstructions"


def _pages(snapshot: Snapshot, parts: SnapshotParts) -> list[Rebuilt]:
    scores = (
        [""] * len(parts.captions) if snapshot.scores is None else [f", score {score:.3g}" for score in snapshot.scores]
    )
    return [
        Rebuilt(
            caption=caption + score,
            original=was,
            rebuilt=made,
            map=None if snapshot.maps is None else snapshot.maps[place],
        )
        for place, (caption, score, was, made) in enumerate(
            zip(parts.captions, scores, parts.originals, _rebuilt(snapshot), strict=True)
        )
    ]


def _rebuilt(snapshot: Snapshot) -> NDArray[np.float32]:
    assert snapshot.reconstructions is not None, "each snapshot has all panels"
    return snapshot.reconstructions
