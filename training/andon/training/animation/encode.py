"""Pictures in a row to a GIF or an MP4, whole or not at all.

matplotlib's writers do not replace this. `PillowWriter` gives each picture its own palette, so that still areas flicker (by
0.8 grey levels on average, here 0), and cannot hold the last picture. `FFMpegWriter` needs an ffmpeg program on the machine.
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
"""The last picture stands so long, so that one sees where it ended."""
LEAST_FPS, MOST_FPS = 0.1, 50.0
"""A GIF counts in hundredths of a second, and browsers slow down what is shorter than two."""
CODECS = ("vp09", "mp4v")
"""VP9, which browsers play; where this OpenCV cannot make it, MPEG-4 part 2, which players play and browsers do not."""
_PALETTE_FROM = 8
"""Pictures whose colours make the palette of all, so that no colour flickers."""


def write_gif(path: Path, pictures: Iterable[Picture], fps: float) -> tuple[tuple[int, int], float]:
    """Write a GIF that repeats for ever; the last picture stays for `HOLD_S`.

    Args:
        path: written over.
        pictures: ``[H, W, 3]``, RGB, one size; all are held in memory.
        fps: pictures a second; rounded to whole hundredths of a second a picture.

    Returns:
        Height and width, and the rate as it became.

    Raises:
        ConfigError: the place cannot be written to.
        MissingExtra: no pillow.
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
    """Write an MP4 with the first of `CODECS` that this OpenCV has; the last picture is repeated for `HOLD_S`.

    Args:
        path: written over.
        pictures: ``[H, W, 3]``, RGB, one size, even sides; one at a time is held in memory.
        fps: pictures a second.

    Returns:
        Height and width, and the rate.

    Raises:
        ConfigError: the place cannot be written to, or this OpenCV makes no videos.
        MissingExtra: no OpenCV.
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
            raise ConfigError(f"{path}: this OpenCV makes no MP4 (tried {', '.join(CODECS)}). Make a .gif instead.")
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
    return np.ascontiguousarray(picture[:, :, ::-1])  # as OpenCV writes it


def held(fps: float) -> int:
    """How often a video repeats its last picture.

    >>> held(5), held(0.5)
    (7, 0)
    """
    return max(0, round(HOLD_S * fps) - 1)
