"""Pictures to files: the one encoder, as `decode.py` is the one decoder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.runtime.atomic import write_atomically
from andon.runtime.errors import DataError
from andon.sources.opencv import opencv


def png(picture: NDArray[np.uint8]) -> bytes:
    """RGB ``[H, W, 3]`` or grey ``[H, W]`` as PNG."""
    cv2 = opencv()
    done, data = cv2.imencode(".png", picture[:, :, ::-1] if picture.ndim == 3 else picture)
    if not done:
        raise DataError(f"a picture of shape {list(picture.shape)} could not be written as PNG.")
    return bytes(data)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all; folders are made.

    Raises:
        ConfigError: the place cannot be written to.
    """
    write_atomically(path, png(picture))
