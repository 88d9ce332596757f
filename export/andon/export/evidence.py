"""What a scorer gives: maps and scores, before anything is pooled or decided, and pictures for people."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn


class Evidence(NamedTuple):
    """Higher is worse; finite for finite input; each row depends on its own item only."""

    maps: dict[str, Tensor]
    """``[N, h, w]`` for frames, ``[N, T, C]`` for windows."""
    scores: dict[str, Tensor]
    """``[N]``: what no pooling of a map gives, such as a distance in a latent space."""
    images: Mapping[str, Tensor] = MappingProxyType({})
    """For people, never judged: ``reconstruction``, what the network rebuilt, prepared as its input was."""
    tables: Mapping[str, Tensor] = MappingProxyType({})
    """For people, never judged: ``[N, k]``, such as each prototype's share in what a memory gave; ``latent``, the numbers by
    which the network describes a part, is drawn after training."""


class Scorer(nn.Module):
    """A module from prepared tensors to evidence; its parameters and buffers are its whole state.

    Any `torch.nn.Module` whose `forward` does this can be exported; deriving from this class only adds the types.
    Prepared tensors are float32, ``[N, C, h, w]`` for frames and ``[N, T, C]`` for windows (`preprocessing.py`).
    """

    def forward(self, prepared: Tensor) -> Evidence:
        """The evidence over a batch."""
        raise NotImplementedError
