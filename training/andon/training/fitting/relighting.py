"""Good pictures in other light: brighter or darker overall, and brighter towards one side.

Lamps age and parts are placed differently. A detector that is trained on a few hundred pictures under one lamp takes a
change of light for a defect. Relit pictures are not damaged: they teach that a good part stays good.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.sources.opencv import opencv

Picture = NDArray[np.uint8]
FIELD = 3
"""Number of control points of the light field along each side; the field is smooth between them."""


def relit(generator: Generator, picture: Picture, strength: float) -> Picture:
    """Return the picture in other light.

    Args:
        generator: random generator of the light.
        picture: uint8 ``[H, W, C]``.
        strength: standard deviation of the logarithm of the light for the whole picture. From place to place, the light varies
            by half of `strength`. A value of 0.1 means about a tenth more or less light.
    """
    cv2 = opencv()
    height, width, _ = picture.shape
    points = generator.normal(0.0, strength / 2, (FIELD, FIELD)) + generator.normal(0.0, strength)
    light = cv2.resize(np.exp(points).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    lit = picture.astype(np.float32) * light[:, :, np.newaxis]
    levels: Picture = np.clip(np.rint(lit), 0, 255).astype(np.uint8)
    return levels
