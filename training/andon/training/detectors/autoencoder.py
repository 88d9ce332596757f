"""A symmetric convolutional autoencoder without skip connections, scored by its reconstruction error.

Without `--repair` it is a baseline. It blurs fine texture everywhere, good or bad, and finds defects that are large and
unlike anything good. With `--repair` it is trained to restore damage, and a head on [input, reconstruction] gives the
score. Without skips it cannot copy a defect past the bottleneck, so its reconstruction shows what a good part would
look like.

Source: the symmetric baseline of a public course project on MVTec AD: blocks of two 3 x 3 convolutions with batch
normalisation, widths 32 to 256, and transposed convolutions. It has 1.73 million parameters for RGB.
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
    """Settings of `autoencoder`."""


class Autoencoder(nn.Module):
    """A network that reconstructs ``[N, C, h, w]`` in 0 to 1 through a bottleneck with an eighth of the sides."""

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
        """Return the reconstruction."""
        return torch.sigmoid(self.last(self.decoder(self.encoder(prepared))))


def _build(settings: Settings, spec: InputSpec) -> Rebuilder:
    frames = frame_spec(spec)
    return Rebuilder(Autoencoder(frames.channels, settings.divisor), frames, settings)


RECIPE = Recipe(
    name="autoencoder",
    summary="frames: reconstruction error of an autoencoder without skips (a baseline); --repair adds a head that marks damage",
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
    score_rule=lambda settings, _spec: score_rule(settings),
)
