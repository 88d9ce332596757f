"""Encode a sequence of pictures as a GIF or an MP4, and write the file atomically.

The writers of matplotlib cannot replace this module. `PillowWriter` gives each picture its own palette. Therefore, still areas
flicker (by 0.8 grey levels on average, here 0). It also cannot hold the last picture. `FFMpegWriter` needs an ffmpeg program on
the machine.
"""

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError, MissingExtra
from andon.foundation.extras import remedy
from andon.sources.opencv import opencv
from andon.training.animation.stills import Picture

FORMATS = (".gif", ".mp4")
HOLD_S = 1.5
"""Seconds to show the last picture, so that the end is visible before the animation repeats."""
LEAST_FPS, MOST_FPS = 0.1, 50.0
"""Limits of the frame rate.

A GIF stores times in steps of 1/100 s, and browsers show pictures shorter than 2/100 s more slowly.
"""
CODECS = ("vp09", "mp4v")
"""Codecs to try in this order.

Browsers play VP9. MPEG-4 part 2 is for an OpenCV without VP9; video players play it, but browsers do not.
"""
_PALETTE_FROM = 8
"""Number of pictures that define the palette. All pictures share one palette, so that no colour flickers."""


def write_gif(path: Path, pictures: Iterable[Picture], fps: float) -> tuple[tuple[int, int], float]:
    """Write a GIF that repeats forever. It shows the last picture for `HOLD_S`.

    Args:
        path: file to write. An existing file is replaced.
        pictures: ``[H, W, 3]``, RGB, of the same size. All are held in memory.
        fps: pictures per second. The time per picture is rounded to 1/100 s.

    Returns:
        Height and width, and the actual rate.

    Raises:
        ConfigError: `path` is not writable.
        MissingExtra: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra(f"a GIF needs pillow: {remedy('train')}") from error
    pictures = list(pictures)
    places = np.unique(np.linspace(0, len(pictures) - 1, min(_PALETTE_FROM, len(pictures))).round().astype(int))
    palette = Image.fromarray(np.concatenate([pictures[place] for place in places])).quantize(256)
    images = [Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    each_ms = 10 * round(100 / fps)
    durations = [each_ms] * (len(images) - 1) + [max(each_ms, round(1000 * HOLD_S))]
    written = io.BytesIO()
    images[0].save(
        written, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )
    write_atomically(path, written.getvalue())
    return (images[0].height, images[0].width), 1000 / each_ms


def write_mp4(path: Path, pictures: Iterable[Picture], fps: float) -> tuple[tuple[int, int], float]:
    """Write an MP4 with the first of `CODECS` that this OpenCV supports. The last picture is repeated for `HOLD_S`.

    Args:
        path: file to write. An existing file is replaced.
        pictures: ``[H, W, 3]``, RGB, of the same size. Width and height are even. Only one at a time is held in memory.
        fps: pictures per second.

    Returns:
        Height and width, and the rate.

    Raises:
        ConfigError: `path` is not writable, or this OpenCV supports no MP4 codec.
        MissingExtra: OpenCV is not installed.
    """
    cv2 = opencv()
    rest = iter(pictures)
    picture = next(rest)
    height, width = picture.shape[:2]
    with tempfile.TemporaryDirectory(prefix="andon-") as folder:
        made = Path(folder) / "made.mp4"
        for codec in CODECS:
            writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
            if writer.isOpened():
                break
        else:
            raise ConfigError(
                f"{path}: this OpenCV cannot write MP4 (tried the codecs {', '.join(CODECS)}). Use a name that ends in .gif."
            )
        try:
            writer.write(_bgr(picture))
            for picture in rest:
                writer.write(_bgr(picture))
            for _ in range(held(fps)):
                writer.write(_bgr(picture))
        finally:
            writer.release()
        write_atomically(path, made.read_bytes())
    return (height, width), fps


def _bgr(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, :, ::-1])  # OpenCV expects BGR


def held(fps: float) -> int:
    """Return how many times a video repeats its last picture.

    >>> held(5), held(0.5)
    (7, 0)
    """
    return max(0, round(HOLD_S * fps) - 1)
