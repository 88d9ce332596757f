"""How unlike two pictures are: 1 - SSIM as a map, and the losses of detectors that rebuild.

SSIM: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004): Gaussian 11 x 11 of
sigma 1.5, K1 = .01, K2 = .03, on each channel. MS-SSIM: Wang et al., Multi-scale structural similarity (2003), as
pytorch-msssim computes it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from andon.foundation.errors import ConfigError


class Dissimilarity(nn.Module):
    """1 - SSIM of two batches ``[N, C, h, w]`` in 0 to 1, pixel by pixel; borders are mirrored.

    Written without the cancellation of the textbook's form, which loses digits where both look the same: with moments
    over the Gaussian window and d = one - other, ``1 - SSIM = a + b - a b``, where ``a = mean(d)^2 / (mean(one)^2 +
    mean(other)^2 + C1)`` is the difference in light and ``b = var(d) / (var(one) + var(other) + C2)`` that in structure.
    """

    def __init__(self, channels: int, size: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        places = torch.arange(size, dtype=torch.float32) - size // 2
        weights = torch.exp(-0.5 * (places / sigma) ** 2)
        self.channels = channels
        self.margin = size // 2
        self.register_buffer("weights", weights / weights.sum(), persistent=False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """``[N, C, h, w]``, 0 where they look the same, 2 at the most."""
        apart = one - other
        # about the frame's mean: a variance does not change by that, but its squares stay small in float32
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
        # a border of zeros would draw a frame into every map
        padded = nn.functional.pad(planes, [self.margin] * 4, mode="reflect")
        across = nn.functional.conv2d(padded, weights.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
        return nn.functional.conv2d(across, weights.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)


def _positive(variance: Tensor) -> Tensor:
    """Rounding may leave a variance of nothing slightly below 0."""
    return variance.clamp(min=0.0)


class LossWeights(NamedTuple):
    """How much each measure counts in a loss; those of 0 are not computed."""

    l1: float = 0.0
    mse: float = 0.0
    ssim: float = 0.0
    ms_ssim: float = 0.0

    def check(self, size: int) -> None:
        """Refuse what cannot be computed.

        Raises:
            ConfigError: all are 0, or the pictures are too small for the five scales of MS-SSIM.
        """
        if not any(self):
            raise ConfigError("a loss needs one weight above 0: --loss-l1, --loss-mse, --loss-ssim or --loss-ms-ssim.")
        if self.ms_ssim and size <= _SMALLEST_MS_SSIM:
            raise ConfigError(
                f"MS-SSIM halves a picture four times and needs more than {_SMALLEST_MS_SSIM} px a side, got {size}. Raise "
                "--size, or use --loss-ssim."
            )


_SMALLEST_MS_SSIM = 96
"""(7 - 1) * 2^4: side of its smallest window, four times halved."""


def rebuilding_loss(
    rebuilt: Tensor, wanted: Tensor, weights: LossWeights, dissimilarity: Dissimilarity, emphasis: Tensor | None = None
) -> Tensor:
    """Weighted sum of the measures, a scalar: the mean over all pixels.

    Args:
        rebuilt: ``[N, C, h, w]`` in 0 to 1.
        wanted: the same shape.
        weights: of the measures.
        dissimilarity: for SSIM.
        emphasis: ``[N, 1, h, w]``, how much each pixel counts for L1 and MSE; None: all alike.
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
