"""A U-Net that rebuilds a frame through a bottleneck with skip connections; scored by the difference to what came in.

A baseline, kept because it is the textbook's: skips let the network copy a defect, so that its error grows little on
bad parts, and what it sees are defects that are brighter or rougher than anything in good parts. Works where texture is
smooth and defects are not (.96 AUROC on MVTec AD's hazelnut); near chance on bottle and cable.

Source: Ronneberger et al., U-Net (2015), with batch normalisation. SSIM: Wang et al., Image Quality Assessment: From
Error Visibility to Structural Similarity (2004): Gaussian 11 x 11 of sigma 1.5, K1 = .01, K2 = .03, on each channel.
"""

from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from andon.export.evidence import Evidence, Scorer
from andon.runtime.errors import DataError
from andon.runtime.schema import FrameSpec, InputSpec, Reading
from andon.sources.items import Found, FoundFrames
from andon.training.fitting import Plan, descend
from andon.training.recipe import Good, Recipe, Run

WIDTHS = (32, 64, 128, 256)


class Settings(Plan, frozen=True, kw_only=True):
    """Of `unet_autoencoder`."""

    size: Annotated[
        int,
        Meta(ge=16, multiple_of=8, description="side of what the network sees, a multiple of 8", extra={"unit": "px"}),
    ] = 128
    evidence: Annotated[
        Literal["l1", "ssim"], Meta(description="what decides: absolute difference, or 1 - SSIM; the other is reported")
    ] = "l1"
    pool: Annotated[Literal["mean", "top", "max"], Meta(description="how the map becomes a score")] = "top"
    share: Annotated[float, Meta(gt=0.0, le=1.0, description="of the map's highest values that ``top`` averages")] = (
        0.01
    )
    smooth: Annotated[
        float, Meta(ge=0.0, description="standard deviation of the map's Gaussian", extra={"unit": "px"})
    ] = 0.0
    epochs: Annotated[
        int, Meta(ge=1, description="passes over the training part at most", extra={"unit": "epochs"})
    ] = 45
    batch_size: Annotated[int, Meta(ge=2, description="frames a step", extra={"unit": "frames"})] = 8
    plateau_patience: Annotated[
        int, Meta(ge=0, description="epochs without a better validation loss before the learning rate is halved")
    ] = 8
    narrow: Annotated[
        int, Meta(ge=1, le=32, description="divides all widths: 1 is the published network, 4 sixteen times cheaper")
    ] = 1


class UNetAutoencoder(Scorer):
    """``[N, C, h, w]`` in 0 to 1 to maps ``l1`` and ``ssim`` of the same size."""

    def __init__(self, channels: int, narrow: int = 1) -> None:
        super().__init__()
        first, second, third, deepest = (width // narrow for width in WIDTHS)
        self.down1, self.down2, self.down3 = _block(channels, first), _block(first, second), _block(second, third)
        self.bottom = _block(third, deepest)
        self.up3, self.join3 = nn.ConvTranspose2d(deepest, third, 2, stride=2), _block(2 * third, third)
        self.up2, self.join2 = nn.ConvTranspose2d(third, second, 2, stride=2), _block(2 * second, second)
        self.up1, self.join1 = nn.ConvTranspose2d(second, first, 2, stride=2), _block(2 * first, first)
        self.last = nn.Conv2d(first, channels, 1)
        self.halve = nn.MaxPool2d(2)
        self.dissimilarity = Dissimilarity(channels)

    def rebuild(self, prepared: Tensor) -> Tensor:
        """``[N, C, h, w]`` in 0 to 1."""
        fine = self.down1(prepared)
        middle = self.down2(self.halve(fine))
        coarse = self.down3(self.halve(middle))
        deepest = self.bottom(self.halve(coarse))
        coarse = self.join3(torch.cat([self.up3(deepest), coarse], dim=1))
        middle = self.join2(torch.cat([self.up2(coarse), middle], dim=1))
        fine = self.join1(torch.cat([self.up1(middle), fine], dim=1))
        return torch.sigmoid(self.last(fine))

    def forward(self, prepared: Tensor) -> Evidence:
        """``l1``: absolute difference, 0 to 1; ``ssim``: 1 - SSIM, 0 to 2; both are means over the channels."""
        rebuilt = self.rebuild(prepared)
        l1 = (prepared - rebuilt).abs().mean(dim=1)
        return Evidence(
            {"l1": l1, "ssim": self.dissimilarity(prepared, rebuilt).mean(dim=1)}, {}, {"reconstruction": rebuilt}
        )


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


def fit(scorer: UNetAutoencoder, good: Good, settings: Settings, run: Run) -> None:
    """Go down the mean absolute difference."""
    descend(scorer, good, lambda net, batch, _warmth: (net.rebuild(batch) - batch).abs().mean(), settings, run)


def _block(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, 3, padding=1),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
        nn.Conv2d(wide, wide, 3, padding=1),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
    )


def _input(settings: Settings, found: Found) -> InputSpec:
    if not isinstance(found, FoundFrames):
        raise DataError("unet_autoencoder judges frames.")
    # grey levels to 0 to 1: the sigmoid's range
    return FrameSpec(channels=1 if found.channels == 1 else 3, size=(settings.size, settings.size))


def _build(settings: Settings, spec: InputSpec) -> UNetAutoencoder:
    if not isinstance(spec, FrameSpec):
        raise DataError("unet_autoencoder judges frames.")
    return UNetAutoencoder(spec.channels, settings.narrow)


def _reading(settings: Settings) -> Reading:
    return Reading(map=settings.evidence, pool=settings.pool, share=settings.share, smooth=settings.smooth)


RECIPE = Recipe(
    name="unet_autoencoder",
    summary="frames, by what a U-Net autoencoder cannot rebuild; a baseline",
    settings=Settings,
    tiny=Settings(size=32, narrow=8, epochs=3, batch_size=8),
    gives="frame",
    input=_input,
    build=_build,
    fit=fit,
    reading=_reading,
)
