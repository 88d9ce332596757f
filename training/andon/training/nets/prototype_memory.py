"""A memory of prototypes (items): a code is compared with all of them, and a mixture of the most similar ones is read.

Source: Gong et al., Memorizing Normality to Detect Anomaly (MemAE, ICCV 2019). Three things differ from the official
code. Similarity is the cosine, as in the paper. The largest weight is never shrunk to zero. The threshold of shrinkage
is a ramp of 1 % width, so that rounding on another machine cannot switch an item off.
"""

import math

import torch
from torch import Generator, Tensor, nn

FIRST_TEMPERATURE = 40.0
"""Initial factor of the cosines. With 10, all items contribute to every read-out, and the read-outs are blurred."""
RAMP = 0.01
"""Width of the ramp of shrinkage, as a share of the threshold."""
UNUSED = 0.1
"""Share of equal use (1 / items) below which an item counts as unused."""


class Memory(nn.Module):
    """Items ``[M, C]`` that are addressed by their similarity to a code."""

    def __init__(self, items: int, width: int, *, similarity: str, shrink: float) -> None:
        super().__init__()
        self.by_direction = similarity == "cosine"
        self.threshold = shrink / items
        self.items = nn.Parameter(torch.empty(items, width).uniform_(-1.0, 1.0) / math.sqrt(width))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(FIRST_TEMPERATURE)), requires_grad=self.by_direction)

    def address(self, codes: Tensor) -> Tensor:
        """Return weights ``[..., M]`` for codes ``[..., C]``: not negative, with sum 1, and most of them 0."""
        weights = self._similarity(codes).softmax(dim=-1)
        if self.threshold == 0:
            return weights
        # at most half of the largest weight, so that this weight is kept
        threshold = (0.5 * weights.amax(dim=-1, keepdim=True)).clamp(max=self.threshold)
        above = (weights - threshold).clamp(min=0.0)
        kept = weights * above / (above + RAMP * threshold)
        return kept / kept.sum(dim=-1, keepdim=True)

    def read(self, weights: Tensor) -> Tensor:
        """Return the mixture of items, ``[..., C]``."""
        return weights @ self.items

    def _similarity(self, codes: Tensor) -> Tensor:
        if not self.by_direction:
            return codes @ self.items.T
        directions = nn.functional.normalize(self.items, dim=-1)
        return nn.functional.normalize(codes, dim=-1) @ directions.T * self.log_temperature.exp()


def entropy(weights: Tensor) -> Tensor:
    """Return the entropy ``[...]`` of weights ``[..., M]``, in nat."""
    return -(weights * weights.clamp(min=1e-12).log()).sum(
        dim=-1
    )  # the clamp avoids a gradient of 0 * inf, which is NaN


def lay_out(memory: Memory, codes: Tensor, dead: Tensor, generator: Generator) -> None:
    """Replace dead items, bool ``[M]``, by codes ``[n, C]`` far from all others, selected as in k-means++."""
    compared, items = codes.cpu(), memory.items.detach().cpu().clone()
    alive = items[~dead.cpu()]
    scaled = nn.functional.normalize if memory.by_direction else (lambda rows, dim=-1: rows)  # noqa: ARG005
    points = scaled(compared, dim=-1)
    distance = torch.full((len(points),), math.inf)
    if len(alive):
        distance = torch.cdist(points, scaled(alive, dim=-1)).square().amin(dim=1)
    for place in dead.nonzero().flatten().tolist():
        chances = torch.ones_like(distance) if not bool(distance.isfinite().all()) else distance
        if float(chances.sum()) <= 0:
            chances = torch.ones_like(distance)  # fewer different codes than items
        drawn = int(torch.multinomial(chances, 1, generator=generator))
        items[place] = compared[drawn]
        distance = torch.minimum(distance, (points - points[drawn]).square().sum(dim=1))
    memory.items.copy_(items)


def in_use(usage: Tensor) -> Tensor:
    """Return which items are in use, bool ``[M]``, from the share of each item in all read-outs, ``[M]``."""
    return usage >= UNUSED / len(usage)


def usage(weights: Tensor) -> Tensor:
    """Return the share of each item in all read-outs, ``[M]`` with sum 1, from weights ``[n, P, M]``."""
    return weights.mean(dim=(0, 1))


def how_used(weights: Tensor) -> dict[str, float]:
    """Return numbers about a memory's use from weights ``[n, P, M]``.

    ``entropy`` is the entropy of the addressing, in nat. ``memory_in_use`` is the share of items in use. ``memory_breadth`` is
    the share of items that, if used evenly, would give the same entropy of use.
    """
    shares = usage(weights)
    return {
        "entropy": float(entropy(weights).mean()),
        "memory_in_use": float(in_use(shares).float().mean()),
        "memory_breadth": float(entropy(shares).exp()) / len(shares),
    }
