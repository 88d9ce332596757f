"""Convert raw frames and windows to prepared tensors, as a torch module.

The same module is used in training and traced into the file, so that training and production see the same pixels.
"""

import torch
from torch import Tensor, nn

from andon.export.masks import FillIgnored
from andon.export.resize import Resize
from andon.export.states import States
from andon.runtime.schema import FrameSpec, InputSpec, Reason, WindowSpec

PREPARATION = 2
"""Version of `PrepareFrames`. Raise it with each change of the pixels that networks see: runs of other versions are refused.

Version 1 resized with the operator ``Resize`` and its attribute ``antialias``.
"""


class PrepareFrames(nn.Module):
    """A module that converts frames ``[N, H, W, C]`` of any size to float32 ``[N, C, h, w]``.

    The frames have the type `FrameSpec.dtype`. The module also returns a reason ``[N]`` (int32). 0 means that the frame is
    valid.
    """

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.spec = spec
        self.resize = Resize(spec.size, thin=spec.resize == "fast")
        self.fill = FillIgnored(spec)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, resize, convert to grey levels, measure the contrast, normalise, and fill the pixels that do not count."""
        grey_levels = self.grey_levels(self.resize(self.crop(frame)))
        contrast = self.fill.values(grey_levels.mean(dim=1)).std(dim=1, correction=0)
        reason = torch.where(contrast < self.spec.min_contrast, int(Reason.NO_CONTRAST), 0).to(torch.int32)
        return self.fill(self.normalise(grey_levels)), reason

    def normalise(self, grey_levels: Tensor) -> Tensor:
        """Return the input of the network for grey levels."""
        return (grey_levels - self.spec.mean) / self.spec.scale

    def grey_levels(self, levels: Tensor) -> Tensor:
        """Convert the levels of resized uint16 frames. This is linear, so it costs less after resizing than before."""
        black, white = self.spec.black, self.spec.white
        if self.spec.dtype == "uint8":
            return levels
        return ((levels - black) * (255.0 / (white - black))).clamp(0.0, 255.0)

    def crop(self, frame: Tensor) -> Tensor:
        """Cut out the part of the frame that the network sees."""
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

    It also returns a reason ``[N]`` (int32). 0 means that the window is valid. With `WindowSpec.context`, each row is
    standardised by its state, and the context channel itself becomes 0. With `WindowSpec.detrend`, the trend of each channel is
    subtracted after that.
    """

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.clip = spec.clip
        self.detrend = spec.detrend
        self.states = None if spec.context is None else States(spec, spec.context)
        self.register_buffer("center", torch.tensor([channel.center for channel in spec.channels]), persistent=False)
        self.register_buffer("scale", torch.tensor([channel.scale for channel in spec.channels]), persistent=False)
        time = torch.arange(spec.steps, dtype=torch.float32) - (spec.steps - 1) / 2
        self.register_buffer("time", (time / time.square().sum().clamp(min=1.0).sqrt())[:, None], persistent=False)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise and clip. Values that are not finite become the centre of the channel, and their window is INVALID."""
        broken = (~torch.isfinite(window)).to(torch.int32).amax(dim=(1, 2))
        reason = broken * int(Reason.NOT_FINITE)
        if self.states is not None:
            unknown = self.states.unknown(window).to(torch.int32) * int(Reason.OUTSIDE_TRAINING)
            reason = torch.where(reason == 0, unknown, reason)
        return self._standard(window).clamp(-self.clip, self.clip), reason

    def excess(self, window: Tensor) -> Tensor:
        """Return the distance of each value beyond the clip, ``[N, T, C]`` in standard deviations; 0 within it.

        The scorer cannot see this part of a value. `Pool` adds its square to all maps and scores. So the score of a window
        outside the trained range grows with its distance.
        """
        return (self._standard(window).abs() - self.clip).clamp(0.0, MOST_EXCESS)

    def restore(self, prepared: Tensor, window: Tensor) -> Tensor:
        """Convert prepared values ``[N, T, C]`` back to sensor units, with the trend and the states of a raw window."""
        center, scale = self._reference(window)
        values = (prepared + self._trend(self._by_state(window))) * scale + center
        return values if self.states is None else torch.where(self.states.judged, values, window)

    def _standard(self, window: Tensor) -> Tensor:
        values = self._by_state(window)
        return values if self.detrend == "none" else values - self._trend(values)

    def _by_state(self, window: Tensor) -> Tensor:
        center, scale = self._reference(window)
        values = (torch.where(torch.isfinite(window), window, center) - center) / scale
        return values if self.states is None else torch.where(self.states.judged, values, 0.0)

    def _reference(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and scale, ``[C]``, or ``[N, T, C]`` with a context."""
        if self.states is not None:
            chosen: tuple[Tensor, Tensor] = self.states(window)
            return chosen
        return self.get_buffer("center"), self.get_buffer("scale")

    def _trend(self, values: Tensor) -> Tensor:
        """Return what is subtracted from standardised values, so that it fits into their shape."""
        if self.detrend == "none":
            return torch.zeros_like(values)
        level = values.mean(dim=1, keepdim=True)
        if self.detrend == "mean":
            return level
        time = self.get_buffer("time")
        return level + time * (values * time).sum(dim=1, keepdim=True)


class Restore(nn.Module):
    """A module that converts prepared tensors back to raw units: grey levels ``[N, h, w, C]`` or sensor units ``[N, T, C]``."""

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.frames = isinstance(spec, FrameSpec)
        self.windows: PrepareWindows | None = None
        if isinstance(spec, FrameSpec):
            center, scale = [spec.mean], [spec.scale]
        else:
            center, scale = ([getattr(channel, name) for channel in spec.channels] for name in ("center", "scale"))
            if spec.context is not None or spec.detrend != "none":
                self.windows = PrepareWindows(spec)
        self.register_buffer("center", torch.tensor(center), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, prepared: Tensor, raw: Tensor | None = None) -> Tensor:
        """Undo the normalisation. Grey levels are clipped to 0 to 255.

        Args:
            prepared: the values to convert.
            raw: the windows ``[N, T, C]`` that were prepared. Without them, windows get back neither their trend nor the
                levels of their states.
        """
        if self.windows is not None and raw is not None:
            return self.windows.restore(prepared, raw)
        values = prepared * self.get_buffer("scale") + self.get_buffer("center")
        return values.clamp(0.0, 255.0).permute(0, 2, 3, 1) if self.frames else values


def prepare(spec: InputSpec) -> nn.Module:
    """Return the module that prepares inputs of a spec."""
    return PrepareFrames(spec) if isinstance(spec, FrameSpec) else PrepareWindows(spec)
