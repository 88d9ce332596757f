"""New parts from a memory, and what is in it: between codes that were read, and items by themselves."""

import torch
from torch import Generator, Tensor

NEIGHBOURS = 8
"""Among so many nearest kept codes a second one is drawn, to be mixed with the first."""


def neighbours(kept: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of training parts, for each one of those most like it (both ``[count, P, C]``), and the second one's share.

    Args:
        kept: codes ``[n, P, C]``.
        count: so many.
        generator: on the CPU, wherever the codes are, so that a seed gives the same parts.

    Returns:
        Both, and the share ``[count, 1, 1]``, 0 to 1.
    """
    device = kept.device
    first = torch.randint(len(kept), (count,), generator=generator).to(device)
    flat = kept.flatten(1)
    near = torch.cdist(flat[first], flat).topk(min(1 + NEIGHBOURS, len(kept)), largest=False).indices
    drawn = torch.randint(near.shape[1], (count, 1), generator=generator).to(device)
    second = near.gather(1, drawn).squeeze(1)
    share = torch.rand((count, 1, 1), generator=generator).to(device)
    return kept[first], kept[second], share


def lone_items(read: Tensor) -> Tensor:
    """Weights ``[M, P, M]`` that read each item alone at its position of most use, and elsewhere what is read on average.

    Args:
        read: what training parts address ``[n, P, M]``.
    """
    count = read.shape[2]
    weights = read.mean(dim=0, keepdim=True).repeat(count, 1, 1)
    place = read.mean(dim=0).argmax(dim=0)  # of each item
    weights[torch.arange(count), place] = torch.eye(count)
    return weights
