"""One picture of an animation of windows: each channel as it was and as it was rebuilt, on scales that stay."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from andon.runtime.schema import WindowSpec
from andon.training.animation.reel import Looked, Scene
from andon.training.animation.stills import Picture, even, title
from andon.training.pictures import Rebuilt, rebuilt_windows, worst_channels

USUAL_WIDTH = 1000
"""Pixels."""


def window_stills(scenes: Sequence[Scene], looked: Looked, spec: WindowSpec, *, width: int | None) -> Iterator[Picture]:
    """A picture ``[H, W, 3]`` a scene, all of one size with even sides; one scale a channel through all of them.

    Args:
        scenes: in order; each has reconstructions.
        looked: the windows.
        spec: of the detector.
        width: of the pictures in pixels; None: `USUAL_WIDTH`.
    """
    channels = worst_channels(_pages(scenes[-1], looked))
    every = np.concatenate([looked.originals, *(_rebuilt(scene) for scene in scenes)])
    limits = every.min(axis=(0, 1)), every.max(axis=(0, 1))
    for scene in scenes:
        figure = rebuilt_windows(
            _pages(scene, looked), title=f"{title(scene)}: what is rebuilt", spec=spec, channels=channels, limits=limits
        )
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure.set_dpi(even(width or USUAL_WIDTH) / figure.get_figwidth())
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        drawn = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        yield np.pad(drawn, ((0, len(drawn) % 2), (0, drawn.shape[1] % 2), (0, 0)), constant_values=255)


def _pages(scene: Scene, looked: Looked) -> list[Rebuilt]:
    scores = [""] * len(looked.captions) if scene.scores is None else [f", score {score:.3g}" for score in scene.scores]
    return [
        Rebuilt(
            caption=caption + score, original=was, rebuilt=made, map=None if scene.maps is None else scene.maps[place]
        )
        for place, (caption, score, was, made) in enumerate(
            zip(looked.captions, scores, looked.originals, _rebuilt(scene), strict=True)
        )
    ]


def _rebuilt(scene: Scene) -> NDArray[np.float32]:
    assert scene.reconstructions is not None, "each scene has all panels"
    return scene.reconstructions
