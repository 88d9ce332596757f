"""Convert raw frames and windows to prepared tensors, as a torch module.

The same module is used in training and traced into the file, so that training and production see the same pixels.
"""

import torch
from torch import Tensor, nn

from andon.export.resize import Resize
from andon.runtime.schema import FrameSpec, InputSpec, Reason, WindowSpec

PREPARATION = 2
"""Version of `PrepareFrames`. Raise it with each change of the pixels that networks see: runs of other versions are refused.

Version 1 resized with the operator ``Resize`` and its attribute ``antialias``.
"""


class PrepareFrames(nn.Module):
    """A module that converts uint8 frames ``[N, H, W, C]`` of any size to float32 ``[N, C, h, w]``.

    It also returns a reason ``[N]`` (int32). 0 means that the frame is valid.
    """

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.spec = spec
        self.resize = Resize(spec.size, thin=spec.resize == "fast")

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, resize, measure the contrast and normalise."""
        grey_levels = self.resize(self._crop(frame))
        contrast = grey_levels.mean(dim=1).flatten(1).std(dim=1, correction=0)
        reason = torch.where(contrast < self.spec.min_contrast, int(Reason.NO_CONTRAST), 0).to(torch.int32)
        return (grey_levels - self.spec.mean) / self.spec.scale, reason

    def _crop(self, frame: Tensor) -> Tensor:
        left, top, right, bottom = (round(10_000 * share) for share in self.spec.crop)
        if (left, top, right, bottom) == (0, 0, 10_000, 10_000):
            return frame
        height, width = frame.shape[1], frame.shape[2]  # integers only: float shapes do not trace
        rows = slice(height * top // 10_000, height * bottom // 10_000)
        return frame[:, rows, width * left // 10_000 : width * right // 10_000]


MOST_EXCESS = 1e15
"""Largest excess, in standard deviations beyond the clip. The sum of its squares over a window stays finite."""


class PrepareWindows(nn.Module):
    """A module that converts float32 windows ``[N, T, C]`` in sensor units to standardised, clipped values.

    It also returns a reason ``[N]`` (int32). 0 means that the window is valid.
    """

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.clip = spec.clip
        self.register_buffer("center", torch.tensor([channel.center for channel in spec.channels]), persistent=False)
        self.register_buffer("scale", torch.tensor([channel.scale for channel in spec.channels]), persistent=False)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise and clip. Values that are not finite become the centre of the channel, and their window is INVALID."""
        broken = (~torch.isfinite(window)).to(torch.int32).amax(dim=(1, 2))
        return self._standard(window).clamp(-self.clip, self.clip), broken * int(Reason.NOT_FINITE)

    def excess(self, window: Tensor) -> Tensor:
        """Return the distance of each value beyond the clip, ``[N, T, C]`` in standard deviations; 0 within it.

        The scorer cannot see this part of a value. `Pool` adds its square to all maps and scores. So the score of a window
        outside the trained range grows with its distance.
        """
        return (self._standard(window).abs() - self.clip).clamp(0.0, MOST_EXCESS)

    def _standard(self, window: Tensor) -> Tensor:
        center = self.get_buffer("center")
        return (torch.where(torch.isfinite(window), window, center) - center) / self.get_buffer("scale")


class Restore(nn.Module):
    """A module that converts prepared tensors back to raw units: grey levels ``[N, h, w, C]`` or sensor units ``[N, T, C]``."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.frames = isinstance(spec, FrameSpec)
        if isinstance(spec, FrameSpec):
            center, scale = [spec.mean], [spec.scale]
        else:
            center, scale = ([getattr(channel, name) for channel in spec.channels] for name in ("center", "scale"))
        self.register_buffer("center", torch.tensor(center), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, prepared: Tensor) -> Tensor:
        """Undo the normalisation. Grey levels are clipped to 0 to 255."""
        raw = prepared * self.get_buffer("scale") + self.get_buffer("center")
        return raw.clamp(0.0, 255.0).permute(0, 2, 3, 1) if self.frames else raw


def prepare(spec: InputSpec) -> nn.Module:
    """Return the module that prepares inputs of a spec."""
    return PrepareFrames(spec) if isinstance(spec, FrameSpec) else PrepareWindows(spec)
