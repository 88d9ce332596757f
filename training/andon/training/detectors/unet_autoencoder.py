"""A U-Net that reconstructs a frame through a bottleneck with skip connections, scored by the difference to the input.

Without `--repair` it is a baseline, kept because it is a textbook method. Skips let the network copy a defect, so its
error grows little on bad parts. The detector finds defects that are brighter or rougher than anything in good parts. Suitable
if the texture is smooth and defects are not (.96 AUROC on MVTec AD's hazelnut). Near chance on bottle and cable. With
`--repair` it is trained to restore damage, and a head on [input, reconstruction] gives the score.

Source: Ronneberger et al., U-Net (2015), with batch normalisation.
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
    """Settings of `unet_autoencoder`."""


class UNet(nn.Module):
    """A network that reconstructs ``[N, C, h, w]`` in 0 to 1."""

    def __init__(self, channels: int, narrow: int = 1) -> None:
        super().__init__()
        first, second, third, deepest = (max(1, width // narrow) for width in WIDTHS)
        self.down1, self.down2, self.down3 = block(channels, first), block(first, second), block(second, third)
        self.bottom = block(third, deepest)
        self.up3, self.join3 = nn.ConvTranspose2d(deepest, third, 2, stride=2), block(2 * third, third)
        self.up2, self.join2 = nn.ConvTranspose2d(third, second, 2, stride=2), block(2 * second, second)
        self.up1, self.join1 = nn.ConvTranspose2d(second, first, 2, stride=2), block(2 * first, first)
        self.last = nn.Conv2d(first, channels, 1)
        self.halve = nn.MaxPool2d(2)

    def forward(self, prepared: Tensor) -> Tensor:
        """Return the reconstruction: down through the bottleneck, and up again with the features of each level."""
        fine = self.down1(prepared)
        middle = self.down2(self.halve(fine))
        coarse = self.down3(self.halve(middle))
        deepest = self.bottom(self.halve(coarse))
        coarse = self.join3(torch.cat([self.up3(deepest), coarse], dim=1))
        middle = self.join2(torch.cat([self.up2(coarse), middle], dim=1))
        fine = self.join1(torch.cat([self.up1(middle), fine], dim=1))
        return torch.sigmoid(self.last(fine))


def _build(settings: Settings, spec: InputSpec) -> Rebuilder:
    frames = frame_spec(spec)
    return Rebuilder(UNet(frames.channels, settings.divisor), frames, settings)


RECIPE = Recipe(
    name="unet_autoencoder",
    version=2,
    summary="frames: reconstruction error of a U-Net autoencoder (a baseline); --repair adds a head that marks damage",
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
