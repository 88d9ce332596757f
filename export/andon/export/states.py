"""Choose the centre and scale of each row of a window by a context channel, as a torch module."""

import numpy as np
import torch
from torch import Tensor, nn

from andon.runtime.schema import Context, WindowSpec

NEAR = 0.01
"""A value counts as a known one within this share of the smallest distance between two known values."""
MARGIN = 0.05
"""A value may leave the range of the training set by this share of its width."""


class States(nn.Module):
    """A module that returns the centre and scale of each row, by the state of its context channel.

    Args:
        spec: the windows.
        context: the context of the windows.
    """

    def __init__(self, spec: WindowSpec, context: Context) -> None:
        super().__init__()
        names = [channel.name for channel in spec.channels]
        self.place = names.index(context.channel)
        self.by_value = context.by == "value"
        own = spec.channels[self.place]
        center = context.center or ([channel.center for channel in spec.channels],) * context.states
        scale = context.scale or ([channel.scale for channel in spec.channels],) * context.states
        low, high = limits(context, own.low, own.high)
        values = {
            "center": center, "scale": scale, "bounds": context.bounds, "near": near(context), "low": low, "high": high,
        }  # fmt: skip
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32), persistent=False)
        judged = torch.ones(len(names), dtype=torch.bool)
        judged[self.place] = False
        self.register_buffer("judged", judged, persistent=False)
        self.judged: Tensor

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and scale of each row, ``[N, T, C]``, from windows ``[N, T, C]``."""
        values = self._values(window)
        bounds = self.get_buffer("bounds")
        if self.by_value:
            state = (values[..., None] - bounds).abs().argmin(dim=-1)
        else:
            state = (values[..., None] >= bounds).to(torch.int64).sum(dim=-1)
        return self.get_buffer("center")[state], self.get_buffer("scale")[state]

    def unknown(self, window: Tensor) -> Tensor:
        """Return which windows have a row whose state is not in the training set, ``[N]``, bool."""
        values = self._values(window)
        if self.by_value:
            away = (values[..., None] - self.get_buffer("bounds")).abs() - self.get_buffer("near")
            strange = away.amin(dim=-1) > 0
        else:
            strange = (values < self.get_buffer("low")) | (values > self.get_buffer("high"))
        return strange.to(torch.int32).amax(dim=1) > 0

    def _values(self, window: Tensor) -> Tensor:
        values = window[:, :, self.place]
        return torch.where(torch.isfinite(values), values, self.get_buffer("bounds")[0])


def near(context: Context) -> list[float]:
    """Return the largest distance from each known value at which a value counts as this one.

    >>> near(Context(channel="recipe", by="value", bounds=(1.0, 2.0, 4.0)))
    [0.01, 0.01, 0.01]
    """
    gaps = np.diff(context.bounds)
    step = float(gaps.min()) if len(gaps) else max(abs(context.bounds[0]), 1.0)
    return [max(NEAR * step, 1e-6 * abs(bound)) for bound in context.bounds]


def limits(context: Context, low: float | None, high: float | None) -> tuple[float, float]:
    """Return the smallest and largest value of the context channel that is judged.

    Args:
        context: the context.
        low: smallest value in the training set.
        high: largest value in the training set.
    """
    if low is None or high is None:
        return -np.inf, np.inf
    room = MARGIN * (max(high, context.bounds[-1]) - min(low, context.bounds[0]))
    return low - room, high + room
