"""Convolutional pieces that networks here share: a block of two convolutions, halvings of a map, and doublings to any size."""

from itertools import pairwise

from torch import Tensor, nn

SLOPE = 0.1
"""Of the activations of halvings and doublings, below zero."""


def block(narrow: int, wide: int, *, bias: bool = True) -> nn.Sequential:
    """Two convolutions 3 x 3, each with batch normalisation and ReLU: ``[N, narrow, h, w]`` to ``[N, wide, h, w]``.

    Before batch normalisation a bias changes nothing; published nets have it.
    """
    layers: list[nn.Module] = []
    for before in (narrow, wide):
        layers += [nn.Conv2d(before, wide, 3, padding=1, bias=bias), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def halving(widths: tuple[int, ...]) -> nn.Sequential:
    """``[N, widths[0], h, w]`` to ``[N, widths[-1], ...]``; each convolution halves the sides, and odd ones are rounded up."""
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def doubling(widths: tuple[int, ...], sizes: list[tuple[int, int]]) -> nn.Sequential:
    """Mirrors `halving`: through these sizes, from the smallest to the largest; logits in the end."""
    layers: list[nn.Module] = []
    for place, (wide, narrow) in enumerate(pairwise(widths)):
        # 4 x 4: a kernel that the stride divides leaves no chequered pattern
        layers += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), Crop(sizes[place + 1])]
        if place < len(widths) - 2:
            layers += [nn.BatchNorm2d(narrow), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class Crop(nn.Module):
    """A map twice as large as the one before, to the odd size that was halved."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        """``[..., h, w]`` to ``[..., *size]``."""
        height, width = self.size
        return values[..., :height, :width]
