"""An autoencoder whose code is read from a memory of prototypes, sampled from a posterior, both, or neither.

This module contains the network without its scores. Source of the memory (`prototype_memory`): Gong et al., Memorizing
Normality to Detect Anomaly (MemAE, ICCV 2019). Source of the posterior: Kingma and Welling (2014).
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from andon.training.nets.convolutions import doubling, halving
from andon.training.nets.prototype_memory import Memory
from andon.training.nets.variational import drawn


class Design(NamedTuple):
    """Sizes and parts of a `MemoryAutoencoder`."""

    channels: int
    size: tuple[int, int]
    """Height and width of a picture."""
    widths: tuple[int, ...]
    """Channels of the encoder's convolutions. Each convolution halves the sides. The decoder mirrors them."""
    per: Literal["image", "position"]
    """One code per image, or one per position, at each of the P positions of the encoder's last map."""
    code: int
    """Length of a code and of an item."""
    latent: int | None
    """Number of latent variables from which a code is computed; None: no variational code."""
    items: int
    """Number of items in the memory; 0: no memory."""
    similarity: Literal["cosine", "dot"]
    shrink: float
    """Addressing of the memory: kind of similarity, and threshold of shrinkage in units of 1 / items."""
    code_dropout: float | None
    """Share of the code that is dropped in training if the decoder gets the code and the read-out.

    None: the decoder gets the read-out instead of the code.
    """


class Rebuilt(NamedTuple):
    """The results of one pass, before any score is computed."""

    logits: Tensor
    """Logits ``[N, C, h, w]``; their sigmoid is the picture."""
    codes: Tensor
    """Codes ``[N, P, code]`` before the memory."""
    weights: Tensor
    """Weights of the items ``[N, P, M]``; M is 0 without a memory."""
    mean: Tensor
    """Mean of the posterior, ``[N, P, latent]``; empty without a variational code."""
    log_variance: Tensor


class MemoryAutoencoder(nn.Module):
    """An autoencoder of ``[N, C, h, w]`` in 0 to 1, through codes at P positions (P is 1 for one code per image)."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        sizes = [design.size]
        for _ in design.widths:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        self.cells = sizes[-1]
        self.encoder = halving((design.channels, *design.widths))
        per_image = design.per == "image"
        self.positions = 1 if per_image else math.prod(self.cells)
        features = design.widths[-1] * (math.prod(self.cells) if per_image else 1)
        self.mean = self.log_variance = None
        if design.latent is not None:
            self.mean, self.log_variance = nn.Linear(features, design.latent), nn.Linear(features, design.latent)
        self.to_code = nn.Linear(features if design.latent is None else design.latent, design.code)
        self.memory = None
        if design.items:
            self.memory = Memory(design.items, design.code, similarity=design.similarity, shrink=design.shrink)
        both = design.items and design.code_dropout is not None
        self.drop = nn.Dropout(design.code_dropout or 0.0) if both else None
        self.from_code = nn.Linear(design.code * (2 if both else 1), features)
        self.decoder = doubling((*design.widths[::-1], design.channels), sizes[::-1])
        self.fill: nn.Module = nn.Identity()
        """Replaces the logits of pixels that do not count. A detector with masks sets it."""

    def encode(self, prepared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes ``[N, P, code]``, and mean and log-variance ``[N, P, latent]`` of the posterior.

        Codes are computed from a random draw in training, and from the mean otherwise.
        """
        hidden = self.encoder(prepared)
        features = hidden.flatten(1).unsqueeze(1) if self.positions == 1 else hidden.flatten(2).transpose(1, 2)
        if self.mean is None or self.log_variance is None:
            empty = features[..., :0]
            return self.to_code(features), empty, empty
        mean, log_variance = self.mean(features), self.log_variance(features).clamp(-10.0, 10.0)
        latent = drawn(mean, log_variance) if self.training else mean
        return self.to_code(latent), mean, log_variance

    def decode(self, codes: Tensor, weights: Tensor) -> Tensor:
        """Return logits ``[N, C, h, w]`` from codes ``[N, P, code]`` and the item weights of their read-outs ``[N, P, M]``."""
        read = codes
        if self.memory is not None:
            read = self.memory.read(weights)
            if self.drop is not None:
                read = torch.cat([read, self.drop(codes)], dim=-1)
        features = self.from_code(read)
        if self.positions == 1:
            hidden = features.reshape(-1, self.design.widths[-1], *self.cells)
        else:
            hidden = features.transpose(1, 2).unflatten(2, self.cells)
        logits: Tensor = self.fill(self.decoder(hidden))
        return logits

    def address(self, codes: Tensor) -> Tensor:
        """Return the weights of the items ``[N, P, M]``; M is 0 without a memory."""
        return codes[..., :0] if self.memory is None else self.memory.address(codes)

    def rebuild(self, prepared: Tensor) -> Rebuilt:
        """Encode, address and decode."""
        codes, mean, log_variance = self.encode(prepared)
        weights = self.address(codes)
        return Rebuilt(self.decode(codes, weights), codes, weights, mean, log_variance)
