"""Pictures to files: the one encoder, as `decode.py` is the one decoder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import DataError
from andon.sources.opencv import opencv


def png(picture: NDArray[np.uint8]) -> bytes:
    """RGB ``[H, W, 3]`` or grey ``[H, W]`` or ``[H, W, 1]`` as PNG.

    Raises:
        DataError: another shape, or no pixels.
    """
    cv2 = opencv()
    if picture.size == 0 or picture.shape[2:] not in ((), (1,), (3,)) or picture.ndim < 2:
        raise DataError(f"a picture of shape {list(picture.shape)} could not be written as PNG.")
    _, data = cv2.imencode(".png", picture[:, :, ::-1] if picture.ndim == 3 else picture)
    return bytes(data)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all; folders are made.

    Raises:
        ConfigError: the place cannot be written to.
    """
    write_atomically(path, png(picture))
