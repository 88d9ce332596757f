"""Batches of good parts for a memory autoencoder. Unused items of the memory are replaced during training."""

from collections.abc import Iterator, Mapping

import torch
from torch import Generator, Tensor

from andon.training.fitting.device import preserve_state
from andon.training.fitting.gradient_descent import Batch, PlainFeed
from andon.training.nets.memory_autoencoder import MemoryAutoencoder
from andon.training.nets.prototype_memory import Memory, how_used, in_use, lay_out, usage
from andon.training.nets.surprise import BATCH
from andon.training.nets.variational import divergence
from andon.training.recipe.recipe import Part, TrainingData

SEEN = 512
"""Number of parts whose codes measure how the memory is used."""


class MemoryFeed(PlainFeed):
    """A feed of unchanged good parts. It replaces items of the memory before an epoch and reports their use after it."""

    def __init__(
        self, net: MemoryAutoencoder, good: TrainingData, *, seed: int, begin_as_codes: bool, reseed_until: int
    ) -> None:
        """Create the feed.

        Args:
            net: the network in training.
            good: good parts to train on.
            seed: seed of the new items.
            begin_as_codes: replace all items by codes of the encoder before the first and the second epoch.
            reseed_until: the last epoch, counted from 0, before which unused items are replaced; 0 means never.
        """
        super().__init__(good)
        self._net, self._seed = net, seed
        self._begin_as_codes, self._reseed_until = begin_as_codes, reseed_until

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """Replace items by codes of the current encoder, then yield the parts."""
        if self._net.memory is not None:
            with torch.no_grad():
                self._replace_items(self._net.memory, epoch)
        yield from super().train(places, size, epoch)

    def judge(self, scorer: MemoryAutoencoder, epoch: int) -> Mapping[str, float]:  # noqa: ARG002 - a Feed
        """Return the other terms of the loss and the use of the memory, measured on some of the training set.

        ``divergence`` and ``entropy`` (of the addressing) are in nat. ``memory_in_use`` is the share of items in use.
        ``memory_breadth`` is the share of items that, if used evenly, would give the same entropy of use.
        """
        row: dict[str, float] = {}
        with torch.no_grad():
            codes, mean, log_variance = encoded(scorer, self._good.train, SEEN)
            if scorer.memory is not None:
                row |= how_used(scorer.address(codes))
            if scorer.mean is not None:
                row["divergence"] = float(divergence(mean, log_variance, dim=(1, 2)).mean())
        return row

    def _replace_items(self, memory: Memory, epoch: int) -> None:
        all_items = epoch < 2 and self._begin_as_codes
        if not all_items and not 0 < epoch <= self._reseed_until:
            return
        codes = encoded(self._net, self._good.train, SEEN)[0]
        unused = (
            torch.ones_like(memory.items[:, 0], dtype=torch.bool)
            if all_items
            else ~in_use(usage(memory.address(codes)))
        )
        if bool(unused.any()):
            generator = Generator().manual_seed(self._seed + 7919 * epoch)
            lay_out(memory, codes.flatten(0, 1), unused, generator)


def encoded(net: MemoryAutoencoder, part: Part, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs of `MemoryAutoencoder.encode` for at most `most` evenly spaced parts, without sampling or dropout."""
    places = torch.linspace(0, len(part) - 1, min(most, len(part))).round().long()
    device = net.from_code.weight.device
    with preserve_state(net):
        pieces = [net.encode(part.take(some.tolist()).to(device)) for some in torch.split(places, BATCH)]
    codes, means, log_variances = zip(*pieces, strict=True)
    return torch.cat(codes), torch.cat(means), torch.cat(log_variances)
