"""Typical values of a window, for samples that are drawn and not recorded."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.schema import WindowSpec


class Typical(Struct, frozen=True):
    """Typical values by channel, in sensor units."""

    center: NDArray[np.float64]
    """``[C]``"""
    scale: NDArray[np.float64]
    """``[C]``. It is 0 for the context channel, which may not leave its state."""


def typical(spec: WindowSpec) -> Typical:
    """Return the centre and scale of each channel. With a context, they are those of its first state."""
    center = np.array([channel.center for channel in spec.channels])
    scale = np.array([channel.scale for channel in spec.channels])
    context = spec.context
    if context is not None:
        if context.center:
            center, scale = np.array(context.center[0]), np.array(context.scale[0])
        place = [channel.name for channel in spec.channels].index(context.channel)
        first, low = context.bounds[0], spec.channels[place].low
        center[place] = first if context.by == "value" or low is None else 0.5 * (low + first)
        scale[place] = 0.0
    return Typical(center, scale)
