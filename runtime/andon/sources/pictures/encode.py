"""Encode pictures as PNG files. All pictures that andon writes are encoded here."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import DataError
from andon.sources.opencv import opencv


def png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture as PNG: RGB ``[H, W, 3]``, or grey ``[H, W]`` or ``[H, W, 1]``.

    Raises:
        DataError: the picture has another shape, or no pixels.
    """
    cv2 = opencv()
    if picture.size == 0 or picture.shape[2:] not in ((), (1,), (3,)) or picture.ndim < 2:
        raise DataError(
            f"PNG: expected a picture [H, W, 3], [H, W] or [H, W, 1] with pixels, got {list(picture.shape)}."
        )
    _, data = cv2.imencode(".png", picture[:, :, ::-1] if picture.ndim == 3 else picture)
    return bytes(data)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture to a file atomically, and create missing folders.

    Raises:
        ConfigError: the path is not writable.
    """
    write_atomically(path, png(picture))
