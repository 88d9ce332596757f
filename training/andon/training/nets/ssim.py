"""Dissimilarity of two pictures: 1 - SSIM as a map, and the losses of detectors that reconstruct.

SSIM: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004). The window is a
Gaussian of 11 x 11 with sigma 1.5, K1 = .01, K2 = .03, on each channel. MS-SSIM: Wang et al., Multi-scale structural
similarity (2003), as pytorch-msssim computes it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from andon.foundation.errors import ConfigError


class Dissimilarity(nn.Module):
    """1 - SSIM of two batches ``[N, C, h, w]`` in 0 to 1, pixel by pixel; borders are mirrored.

    The textbook's form loses digits by cancellation where both pictures look the same. This form does not. With moments
    over the Gaussian window and d = one - other, it is ``1 - SSIM = a + b - a b``. The difference in light is ``a =
    mean(d)^2 / (mean(one)^2 + mean(other)^2 + C1)``. The difference in structure is ``b = var(d) / (var(one) +
    var(other) + C2)``.
    """

    def __init__(self, channels: int, size: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        places = torch.arange(size, dtype=torch.float32) - size // 2
        weights = torch.exp(-0.5 * (places / sigma) ** 2)
        self.channels = channels
        self.margin = size // 2
        self.register_buffer("weights", weights / weights.sum(), persistent=False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Return ``[N, C, h, w]``: 0 where both look the same, at most 2."""
        apart = one - other
        # relative to the frame's mean: the variances are the same, but the squares stay small in float32
        middle = one.mean(dim=(2, 3), keepdim=True)
        one, other = one - middle, other - middle
        # one blur over six planes: a graph of two convolutions
        planes = torch.cat([one, other, apart, one**2, other**2, apart**2], dim=1)
        mean_1, mean_2, offset, square_1, square_2, square = self._blur(planes).chunk(6, dim=1)
        light = offset**2 / ((mean_1 + middle) ** 2 + (mean_2 + middle) ** 2 + 0.01**2)
        contrast = _positive(square_1 - mean_1**2) + _positive(square_2 - mean_2**2)
        structure = _positive(square - offset**2) / (contrast + 0.03**2)
        return light + structure - light * structure

    def _blur(self, planes: Tensor) -> Tensor:
        count = 6 * self.channels
        weights = self.get_buffer("weights")
        # zero padding would produce large values along the border of every map
        padded = nn.functional.pad(planes, [self.margin] * 4, mode="reflect")
        across = nn.functional.conv2d(padded, weights.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
        return nn.functional.conv2d(across, weights.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)


def _positive(variance: Tensor) -> Tensor:
    """Return a variance without the slightly negative values that rounding may produce."""
    return variance.clamp(min=0.0)


class LossWeights(NamedTuple):
    """Weights of the measures in a loss. Measures with weight 0 are not computed."""

    l1: float = 0.0
    mse: float = 0.0
    ssim: float = 0.0
    ms_ssim: float = 0.0

    def check(self, size: int) -> None:
        """Refuse weights that cannot be used.

        Raises:
            ConfigError: all weights are 0, or the pictures are too small for the five scales of MS-SSIM.
        """
        if not any(self):
            raise ConfigError(
                "the loss needs one weight above 0: --loss-l1, --loss-mse, --loss-ssim or --loss-ms-ssim."
            )
        if self.ms_ssim and size <= _SMALLEST_MS_SSIM:
            raise ConfigError(
                f"--loss-ms-ssim: expected pictures of more than {_SMALLEST_MS_SSIM} px a side, got {size}. Increase --size, "
                "or use --loss-ssim."
            )


_SMALLEST_MS_SSIM = 96
"""Pictures for MS-SSIM must be larger than this, (7 - 1) * 2^4 pixels, because their sides are halved four times."""


def rebuilding_loss(
    rebuilt: Tensor, wanted: Tensor, weights: LossWeights, dissimilarity: Dissimilarity, emphasis: Tensor | None = None
) -> Tensor:
    """Return the weighted sum of the measures, a scalar: the mean over all pixels.

    Args:
        rebuilt: ``[N, C, h, w]`` in 0 to 1.
        wanted: the target, of the same shape.
        weights: weights of the measures.
        dissimilarity: computes 1 - SSIM.
        emphasis: ``[N, 1, h, w]``, weight of each pixel in L1 and MSE, or None for equal weights.
    """
    apart = rebuilt - wanted
    share = 1.0 if emphasis is None else emphasis / emphasis.mean()
    terms = []
    if weights.l1:
        terms.append(weights.l1 * (apart.abs() * share).mean())
    if weights.mse:
        terms.append(weights.mse * (apart**2 * share).mean())
    if weights.ssim:
        terms.append(weights.ssim * dissimilarity(rebuilt, wanted).mean())
    if weights.ms_ssim:
        from pytorch_msssim import ms_ssim

        window = 11 if min(wanted.shape[2:]) > 160 else 7
        terms.append(weights.ms_ssim * (1 - ms_ssim(rebuilt, wanted, data_range=1.0, win_size=window)))
    return torch.stack(terms).sum()
