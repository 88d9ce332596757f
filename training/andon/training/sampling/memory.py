"""New parts from a memory, and its contents. New parts mix codes of training parts; items are decoded one by one."""

import torch
from torch import Generator, Tensor

NEIGHBOURS = 8
"""Number of nearest kept codes from which the second code of a mixture is drawn."""


def neighbours(kept: Tensor, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw codes of training parts, one similar code for each, and a random share to mix the two codes of a pair.

    Args:
        kept: codes ``[n, P, C]``.
        count: number of pairs.
        generator: a generator on the CPU, for codes on any device, so that a seed gives the same parts everywhere.

    Returns:
        Both codes, each ``[count, P, C]``, and the share of the second code ``[count, 1, 1]``, 0 to 1.
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
    """Return weights ``[M, P, M]`` that read each item alone at the position where it is used most.

    At the other positions, the weights are the average over training parts.

    Args:
        read: addressing weights of training parts, ``[n, P, M]``.
    """
    count = read.shape[2]
    weights = read.mean(dim=0, keepdim=True).repeat(count, 1, 1)
    place = read.mean(dim=0).argmax(dim=0)  # one position per item
    weights[torch.arange(count), place] = torch.eye(count)
    return weights
