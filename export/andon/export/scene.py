"""Describe a frame as a whole, for the scene check: its light, its coarse grey picture, and its coarse deep features.

The features are projections onto cosines of low frequency, as in the discrete cosine transform. They are matrix products of
fixed size, which every runtime computes in the same way.
"""

import math

import torch
from torch import Tensor, nn

CELLS = 8
"""Number of cosines per axis of the coarse grey picture. The mean is left out, because it is the light."""
DEEP_CELLS = 2
"""Number of cosines per axis of each deep feature plane."""
TONES = 3
"""Number of features that describe light, contrast and sharpness."""
DARKEST, SMALLEST_CONTRAST, SMALLEST_STEP = 4.0, 1.0, 0.3
"""Grey levels added before the logarithm of light, contrast and sharpness, so that noise in a dark frame does not count."""


class SceneFeatures(nn.Module):
    """A module from a prepared frame and deep feature planes to the features of its scene, ``[N, F]``.

    The order of the features:

    * the logarithms of light, contrast and sharpness
    * 63 coefficients of the grey picture
    * the mean of each of the C deep planes
    * the other three coefficients of each deep plane
    """

    def __init__(self, mean: float, scale: float, judged: Tensor | None = None) -> None:
        """Create the module.

        Args:
            mean: undoes the preparation together with `scale`: grey level = prepared * scale + mean.
            scale: see `mean`.
            judged: the prepared pixels that count, bool ``[h, w]``. Light, contrast and sharpness are those of these pixels. The
                coarse features see the fixed value of the others. None: all pixels count.
        """
        super().__init__()
        self.mean, self.scale = mean, scale
        pairs = None if judged is None else judged[:, 1:] & judged[:, :-1]
        if judged is None or pairs is None or not pairs.any():  # a region of one column has no pairs
            judged = pairs = None
        for name, counting in (("places", judged), ("pairs", pairs)):
            places = None if counting is None else counting.flatten().nonzero().squeeze(1)
            self.register_buffer(name, places, persistent=False)

    def forward(self, prepared: Tensor, deep: Tensor | None) -> Tensor:
        """Describe a batch, ``[N, C, h, w]`` and ``[N, C', h', w']``."""
        grey = prepared.mean(dim=1) * self.scale + self.mean
        flat = self._counting(grey.flatten(1), "places")
        steps = self._counting((grey[:, :, 1:] - grey[:, :, :-1]).abs().flatten(1), "pairs").mean(dim=1)
        tones = [
            (flat.mean(dim=1).clamp(min=0.0) + DARKEST).log(),
            (flat.std(dim=1, correction=0) + SMALLEST_CONTRAST).log(),
            (steps + SMALLEST_STEP).log(),
        ]
        parts = [torch.stack(tones, dim=1), _coarse(grey, CELLS).flatten(1)[:, 1:]]
        if deep is not None:
            coefficients = _coarse(deep, DEEP_CELLS).flatten(2)
            parts += [coefficients[:, :, 0], coefficients[:, :, 1:].flatten(1)]
        return torch.cat(parts, dim=1)

    def _counting(self, flat: Tensor, name: str) -> Tensor:
        """Return the values ``[N, k]`` at the places that count."""
        places = self._buffers[name]
        return flat if places is None else flat.index_select(1, places)


def _coarse(planes: Tensor, count: int) -> Tensor:
    """Return the coefficients ``[..., count, count]`` of planes ``[..., h, w]``."""
    rows, columns = (_cosines(count, side).to(planes.device) for side in planes.shape[-2:])
    return rows @ planes @ columns.T


def _cosines(count: int, side: int) -> Tensor:
    """Return the first cosines over `side` places, ``[count, side]``. The coefficient of order 0 is the mean."""
    places = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    waves = torch.cos(math.pi * torch.arange(count, dtype=torch.float64)[:, None] * places)
    return (waves / side).float()
