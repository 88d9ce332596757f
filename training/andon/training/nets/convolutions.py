"""Convolutional parts of networks: a block of two convolutions, halvings of a map, and doublings to any size."""

from itertools import pairwise

from torch import Tensor, nn

SLOPE = 0.1
"""Slope of LeakyReLU below zero in halvings and doublings."""


def block(narrow: int, wide: int, *, bias: bool = True) -> nn.Sequential:
    """Return two 3 x 3 convolutions with batch normalisation and ReLU: ``[N, narrow, h, w]`` to ``[N, wide, h, w]``.

    A bias before batch normalisation has no effect, but published nets have it.
    """
    layers: list[nn.Module] = []
    for before in (narrow, wide):
        layers += [nn.Conv2d(before, wide, 3, padding=1, bias=bias), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def halving(widths: tuple[int, ...]) -> nn.Sequential:
    """Return convolutions from ``[N, widths[0], h, w]`` to ``[N, widths[-1], ...]`` that each halve the sides.

    Odd sides are rounded up.
    """
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def doubling(widths: tuple[int, ...], sizes: list[tuple[int, int]]) -> nn.Sequential:
    """Return layers that mirror `halving`: they double a map to each of these ascending sizes. The output are logits."""
    layers: list[nn.Module] = []
    for place, (wide, narrow) in enumerate(pairwise(widths)):
        # 4 x 4: a kernel size that is a multiple of the stride causes no checkerboard pattern
        layers += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), Crop(sizes[place + 1])]
        if place < len(widths) - 2:
            layers += [nn.BatchNorm2d(narrow), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class Crop(nn.Module):
    """Crop a doubled map to the size before the halving, which may be odd."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        """Crop ``[..., h, w]`` to ``[..., *size]``."""
        height, width = self.size
        return values[..., :height, :width]
