"""The baseline for windows: the mean of each channel over the window, compared with its mean in training; the worst channel.

The model file holds mean and standard deviation of each channel, so the baseline needs no training. A detector that does not
beat it learned nothing beyond these two numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from andon.runtime.schema import WindowSpec


def window_mean(window: NDArray[Any], spec: WindowSpec) -> float:
    """Return the largest distance of a channel's mean from its mean in training, in standard deviations of its rows.

    Args:
        window: values in sensor units ``[T, C]``.
        spec: the specification that the model file holds.

    >>> from andon.runtime.schema import Channel
    >>> spec = WindowSpec(steps=2, hop=1, period_s=1.0, channels=(Channel(name="a", center=10.0, scale=2.0), Channel(name="b")))
    >>> window_mean(np.array([[13.0, 0.0], [15.0, 1.0]], np.float32), spec)
    2.0
    """
    center = np.array([channel.center for channel in spec.channels])
    scale = np.array([channel.scale for channel in spec.channels])
    return float((np.abs(window.mean(axis=0, dtype=np.float64) - center) / scale).max())
