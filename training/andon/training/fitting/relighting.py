"""Good pictures in other light: brighter or darker, and brighter towards one side, as lamps age and parts lie.

A detector that has seen a few hundred pictures under one lamp takes a change of light for a defect. Nothing here is damage:
what is taught is that a good part stays good.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from andon.sources.opencv import opencv

Picture = NDArray[np.uint8]
FIELD = 3
"""Points of a field of light along each side; between them it is smooth."""


def relit(generator: Generator, picture: Picture, strength: float) -> Picture:
    """The picture in other light.

    Args:
        generator: of the light.
        picture: uint8 ``[H, W, C]``.
        strength: standard deviation of the logarithm of the light, once for the whole picture and half of that from place to
            place; 0.1 is a tenth more or less.
    """
    cv2 = opencv()
    height, width, _ = picture.shape
    points = generator.normal(0.0, strength / 2, (FIELD, FIELD)) + generator.normal(0.0, strength)
    light = cv2.resize(np.exp(points).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    lit = picture.astype(np.float32) * light[:, :, np.newaxis]
    levels: Picture = np.clip(np.rint(lit), 0, 255).astype(np.uint8)
    return levels
