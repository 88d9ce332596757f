"""The output of a scorer: maps and scores, before pooling and decision, and pictures to look at."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor, nn


class Evidence(NamedTuple):
    """Evidence for a batch of items, by name.

    In maps and scores, higher is worse. All values are finite for finite input. Each row depends only on its own item.
    """

    maps: dict[str, Tensor]
    """Anomaly maps: ``[N, h, w]`` for frames, ``[N, T, C]`` for windows."""
    scores: dict[str, Tensor]
    """Scores ``[N]`` that are not pooled from a map, such as a distance in a latent space."""
    images: Mapping[str, Tensor] = MappingProxyType({})
    """Images to look at; no decision uses them. ``reconstruction`` is the output of the network, in the form of its prepared
    input."""
    tables: Mapping[str, Tensor] = MappingProxyType({})
    """Readable numbers ``[N, k]``; no decision uses them. An example is the weight of each prototype of a memory. ``latent``
    holds the latent values of a part and is drawn after training."""
    scene: Tensor | None = None
    """Feature planes ``[N, C, h, w]`` whose coarse arrangement describes the frame as a whole, for the scene check.

    None: the scene check sees only the grey picture. No other decision uses them.
    """


class Scorer(nn.Module):
    """A module that maps prepared tensors to evidence. Its parameters and buffers must be its whole state.

    Any `torch.nn.Module` with such a `forward` can be exported. Deriving from this class only adds the types.
    Prepared tensors are float32, ``[N, C, h, w]`` for frames and ``[N, T, C]`` for windows (`preprocessing.py`).
    """

    def forward(self, prepared: Tensor) -> Evidence:
        """Return the evidence for a batch."""
        raise NotImplementedError
