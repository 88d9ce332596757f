"""The three nets of a bidirectional GAN for pictures of any size: encoder, generator, and discriminator of pairs.

Source: Donahue et al., Adversarial feature learning (2017). Here the discriminator has no batch normalisation.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

SLOPE = 0.2
"""Slope of LeakyReLU below zero."""


class Shape(NamedTuple):
    """Size of the nets' input: pictures of `height` x `width`, halved `depth` times on the way to a code."""

    channels: int
    height: int
    width: int
    depth: int

    @property
    def start(self) -> tuple[int, int]:
        """Height and width of the coarsest maps. Doubled `depth` times, they cover the picture."""
        return -(-self.height // 2**self.depth), -(-self.width // 2**self.depth)

    @property
    def cells(self) -> int:
        """Number of cells of a coarsest map."""
        return math.prod(self.start)

    def padding(self) -> tuple[int, int, int, int]:
        """Return the padding (left, right, top, bottom) that makes both sides of the picture divisible by 2 ** depth."""
        down, across = (start * 2**self.depth for start in self.start)
        top, left = (down - self.height) // 2, (across - self.width) // 2
        return left, across - self.width - left, top, down - self.height - top


class Encoder(nn.Module):
    """The encoder: pictures ``[N, C, h, w]`` to the mean and log-variance of codes, each ``[N, latent]``.

    The log-variance is optional.
    """

    def __init__(self, shape: Shape, maps: int, latent: int, *, spread: bool) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, maps)
        self.down = _halvings(widths, normalised=True)
        self.last = nn.Linear(widths[-1] * shape.cells, latent * (2 if spread else 1))
        self.latent = latent

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean and the clamped log-variance, or None instead of the log-variance."""
        code = self.last(self.down(nn.functional.pad(picture, self.shape.padding())).flatten(1))
        if code.shape[1] == self.latent:
            return code, None
        return code[:, : self.latent], code[:, self.latent :].clamp(-10.0, 4.0)


class GeneratorNet(nn.Module):
    """The generator: codes ``[N, latent]`` to pictures ``[N, C, h, w]`` of exactly the requested size."""

    def __init__(self, shape: Shape, maps: int, latent: int, last: nn.Module) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, maps)[::-1]
        self.first = nn.Sequential(
            nn.Linear(latent, widths[0] * shape.cells, bias=False),
            nn.BatchNorm1d(widths[0] * shape.cells),
            nn.LeakyReLU(SLOPE),
        )
        steps: list[nn.Module] = []
        for wide, narrow in pairwise(widths[:-1]):
            steps += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.LeakyReLU(SLOPE),
            ]
        self.up = nn.Sequential(*steps, nn.ConvTranspose2d(widths[-2], widths[-1], 4, 2, 1), last)
        self.fill: nn.Module = nn.Identity()
        """Replaces the pixels that do not count. A detector with masks sets it."""

    def forward(self, code: Tensor) -> Tensor:
        """Return pictures, cropped from the centre of the upsampled maps."""
        whole: Tensor = self.up(self.first(code).unflatten(1, (-1, *self.shape.start)))
        left, _, top, _ = self.shape.padding()
        pictures: Tensor = self.fill(whole[:, :, top : top + self.shape.height, left : left + self.shape.width])
        return pictures


class Discriminator(nn.Module):
    """The discriminator: pictures and codes to features ``[N, features]`` and logits ``[N]``.

    A high logit means that the pair belongs to a good picture.
    """

    def __init__(self, shape: Shape, maps: int, latent: int, *, features: int, dropout: float) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, maps)
        dropped = nn.Dropout(dropout)
        # no batch normalisation: the rest of the batch must not show whether a pair belongs to a good picture
        self.picture = _halvings(widths, normalised=False, dropout=dropout)
        self.code = nn.Sequential(
            nn.Linear(latent, features), nn.LeakyReLU(SLOPE), dropped,
            nn.Linear(features, features), nn.LeakyReLU(SLOPE), dropped,
        )  # fmt: skip
        self.joint = nn.Sequential(nn.Linear(widths[-1] * shape.cells + features, features), nn.LeakyReLU(SLOPE))
        self.last = nn.Linear(features, 1)
        self.dropped = dropped

    def forward(self, picture: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        seen = self.picture(nn.functional.pad(picture, self.shape.padding())).flatten(1)
        features = self.joint(torch.cat([seen, self.code(code)], dim=1))
        return features, self.last(self.dropped(features)).squeeze(1)


def initialise(module: nn.Module, how: str) -> None:
    """Draw a layer's weights again: ``he`` keeps the size of signals, ``normal`` has a standard deviation of .02."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.reset_parameters()
        if how == "normal":
            nn.init.normal_(module.weight, 1.0, 0.02)
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        return
    if isinstance(module, nn.Linear):
        seen = float(module.in_features)
    else:
        seen = float(module.in_channels * math.prod(module.kernel_size))
        if isinstance(module, nn.ConvTranspose2d):  # only a part of the kernel contributes to each output value
            seen /= math.prod(module.stride)
    nn.init.normal_(module.weight, 0.0, 0.02 if how == "normal" else math.sqrt(2 / (1 + SLOPE**2) / seen))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _widths(shape: Shape, maps: int) -> list[int]:
    """Return the numbers of channels from the picture to the coarsest maps."""
    return [shape.channels, *(maps * 2**halving for halving in range(shape.depth))]


def _halvings(widths: list[int], *, normalised: bool, dropout: float = 0.0) -> nn.Sequential:
    steps: list[nn.Module] = []
    for place, (narrow, wide) in enumerate(pairwise(widths)):
        norm = normalised and place > 0  # the first layer must see how bright a picture is
        steps.append(nn.Conv2d(narrow, wide, 4, 2, 1, bias=not norm))
        steps += [nn.BatchNorm2d(wide)] if norm else []
        steps.append(nn.LeakyReLU(SLOPE))
        steps += [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(*steps)
