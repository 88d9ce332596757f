"""From raw frames and windows to prepared tensors, as a torch module.

This very module is traced into the file and run in training, so that training and the line never see different pixels.
"""

import torch
from torch import Tensor, nn

from andon.runtime.schema import FrameSpec, InputSpec, Reason, WindowSpec


class PrepareFrames(nn.Module):
    """uint8 ``[N, H, W, C]`` of any size to float32 ``[N, C, h, w]``, and a reason ``[N]`` (int32, 0: fine)."""

    def __init__(self, spec: FrameSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, resize, measure contrast, normalise."""
        grey_levels = self._resize(self._crop(frame))
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

    def _resize(self, frame: Tensor) -> Tensor:
        if self.spec.resize == "fast":
            # Whole rows of a raw frame are copied by memcpy; thinning them to twice the target before the cast to float
            # more than halves the cost of a 1080p frame, at .3 grey levels on average (notes/onnx.md 2). Fewer rows than
            # that are all kept, once each: rows that come twice would be blended with their neighbours.
            height = frame.shape[1]
            kept: int = torch.sym_min(height, 2 * self.spec.size[0])  # type: ignore[no-untyped-call]
            middles = 2 * torch.arange(kept, device=frame.device) + 1
            frame = frame.index_select(1, middles * height // (2 * kept))
        planes = frame.permute(0, 3, 1, 2).float()
        return nn.functional.interpolate(planes, self.spec.size, mode="bilinear", antialias=True)


MOST_EXCESS = 1e15
"""Standard deviations beyond the clip that are still told apart: the sum of their squares over a window stays finite."""


class PrepareWindows(nn.Module):
    """float32 ``[N, T, C]`` in sensor units to standardised, clipped values, and a reason ``[N]`` (int32, 0: fine)."""

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.clip = spec.clip
        self.register_buffer("center", torch.tensor([channel.center for channel in spec.channels]), persistent=False)
        self.register_buffer("scale", torch.tensor([channel.scale for channel in spec.channels]), persistent=False)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise; what is not finite becomes the centre, and its window is INVALID."""
        broken = (~torch.isfinite(window)).to(torch.int32).amax(dim=(1, 2))
        return self._standard(window).clamp(-self.clip, self.clip), broken * int(Reason.NOT_FINITE)

    def excess(self, window: Tensor) -> Tensor:
        """Return how far each value lies beyond the clip, ``[N, T, C]`` in standard deviations; 0 within it.

        The scorer cannot see this part of a value. `Pool` adds its square to every map and score, so that a window far
        outside the trained range scores higher the farther out it lies.
        """
        return (self._standard(window).abs() - self.clip).clamp(0.0, MOST_EXCESS)

    def _standard(self, window: Tensor) -> Tensor:
        center = self.get_buffer("center")
        return (torch.where(torch.isfinite(window), window, center) - center) / self.get_buffer("scale")


class Restore(nn.Module):
    """Prepared tensors back to raw units, for people: grey levels ``[N, h, w, C]``, or sensor units ``[N, T, C]``."""

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
        """Undo the normalisation; grey levels stay within 0 to 255."""
        raw = prepared * self.get_buffer("scale") + self.get_buffer("center")
        return raw.clamp(0.0, 255.0).permute(0, 2, 3, 1) if self.frames else raw


def prepare(spec: InputSpec) -> nn.Module:
    """The module that prepares what `spec` describes."""
    return PrepareFrames(spec) if isinstance(spec, FrameSpec) else PrepareWindows(spec)
