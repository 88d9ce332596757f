"""A symmetric convolutional autoencoder without skips: what does not fit through its bottleneck is not rebuilt.

Plain, a baseline: it blurs fine texture everywhere, good or bad, and finds what is large and unlike anything good. With
`--repair` it learns to restore damage, and a head on [input, reconstruction] judges; without skips it cannot copy a defect
past the bottleneck, so that its reconstruction is what a good part would look like.

Source: the symmetric baseline of a public course project on MVTec AD (blocks of two 3 x 3 convolutions with batch
normalisation, widths 32 to 256, transposed convolutions back); 1.73 million parameters for RGB.
"""

import torch
from torch import Tensor, nn

from andon.runtime.schema import InputSpec
from andon.training.fitting.reconstruction import (
    WIDTHS,
    Rebuilder,
    Rebuilding,
    fit,
    frame_spec,
    score_rule,
    wanted_input,
)
from andon.training.nets.convolutions import block
from andon.training.recipe.recipe import Recipe


class Settings(Rebuilding, frozen=True, kw_only=True):
    """Of `autoencoder`."""


class Autoencoder(nn.Module):
    """``[N, C, h, w]`` in 0 to 1 to the same, rebuilt through a bottleneck of an eighth of the sides."""

    def __init__(self, channels: int, narrow: int = 1) -> None:
        super().__init__()
        widths = [max(1, width // narrow) for width in WIDTHS]
        down: list[nn.Module] = [block(channels, widths[0])]
        for wide, narrower in zip(widths[1:], widths, strict=False):
            down += [nn.MaxPool2d(2), block(narrower, wide)]
        up: list[nn.Module] = []
        for wide, narrower in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up += [nn.ConvTranspose2d(wide, narrower, 2, stride=2), block(narrower, narrower)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self.last = nn.Conv2d(widths[0], channels, 1)

    def forward(self, prepared: Tensor) -> Tensor:
        """Through the bottleneck."""
        return torch.sigmoid(self.last(self.decoder(self.encoder(prepared))))


def _build(settings: Settings, spec: InputSpec) -> Rebuilder:
    channels = frame_spec(spec).channels
    return Rebuilder(Autoencoder(channels, settings.divisor), channels, settings)


RECIPE = Recipe(
    name="autoencoder",
    summary="frames, by what an autoencoder without skips cannot rebuild: a baseline; with --repair, by a head that marks it",
    settings=Settings,
    tiny=Settings(size=32, narrow=8, epochs=3, batch_size=8),
    variants={
        "repair": Settings(
            repair=True, size=64, narrow=8, head_width=4, epochs=3, epoch_parts=64, batch_size=4, learning_rate=0.01
        )
    },
    gives="frame",
    input=wanted_input,
    build=_build,
    fit=fit,
    score_rule=score_rule,
)
