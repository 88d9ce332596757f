"""The unit of the convolutional networks here: two convolutions 3 x 3, each with batch normalisation and ReLU."""

from torch import nn


def block(narrow: int, wide: int, *, bias: bool = True) -> nn.Sequential:
    """``[N, narrow, h, w]`` to ``[N, wide, h, w]``. Before batch normalisation a bias changes nothing; published nets have it."""
    layers: list[nn.Module] = []
    for before in (narrow, wide):
        layers += [nn.Conv2d(before, wide, 3, padding=1, bias=bias), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
