"""Learning without pretrained weights: restore damaged pictures, and tell from input and reconstruction where damage was.

A network that only rebuilds good pictures learns to copy, defects included. Here good pictures are damaged first; the
network must give back the good one, and a segmentation head, looking at both, must mark what was damaged. The head's map is
what judges. Source: DRAEM (Zavrtanik et al., ICCV 2021); the damage: `andon.training.corruption`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from os import cpu_count
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.training.corruption.kinds import HELD_OUT, LEARNT, SHARES, Picture, damaged
from andon.training.fitting import Batch
from andon.training.recipe import Good, Part
from andon.training.symmetry import DECLARED, Move, Symmetry, moved, symmetries

CLEAN = 0.3
"""Share of undamaged pictures that are learnt from: without them a network sees defects everywhere."""
MOST_DAMAGES = 3
"""Damages of a picture: several teach as much as several pictures, for the price of one."""
JUDGED_TIMES = 8
"""How often in a training the head is measured on held-out kinds of damage."""
_VALIDATION_SEED = 2**31
"""Apart from all epochs: validation sees the same damage each time."""
_AHEAD = 3
"""Batches drawn while the network learns from another."""


class Damage(NamedTuple):
    """A batch of pictures to restore."""

    before: Tensor
    """Good, ``[N, C, h, w]`` in 0 to 1."""
    after: Tensor
    """The same with damage; some without any."""
    mask: Tensor
    """``[N, 1, h, w]``, 1 where it visibly changed."""


class Head(nn.Module):
    """A small U-Net on input, reconstruction and their difference: a logit of damage for each 2 x 2 pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3 * channels, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList(_block(narrow, wide) for narrow, wide in zip((width, *widths), widths, strict=False))
        self.join = nn.ModuleList(_block(below + own, own) for own, below in pairwise(widths))
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.last.bias, -4.0)  # type: ignore[arg-type] # damage is rare: begin there
        self.halve = nn.MaxPool2d(2)

    def forward(self, prepared: Tensor, rebuilt: Tensor) -> Tensor:
        """``[N, 1, h/2, w/2]``."""
        seen = self.stem(torch.cat([prepared, rebuilt, (prepared - rebuilt).abs()], dim=1))
        levels = []
        for place, block in enumerate(self.down):
            seen = block(self.halve(seen) if place else seen)
            levels.append(seen)
        for block, level in zip(reversed(self.join), reversed(levels[:-1]), strict=True):
            larger = nn.functional.interpolate(seen, size=level.shape[2:], mode="nearest")
            seen = block(torch.cat([larger, level], dim=1))
        logits: Tensor = self.last(seen)
        return logits


def _block(narrow: int, wide: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (narrow, wide):
        layers += [nn.Conv2d(before, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Focal loss with gamma 2 (Lin et al., ICCV 2017), the mean over all cells: those that are clear count little.

    Args:
        logits: ``[N, 1, h/2, w/2]``.
        mask: ``[N, 1, h, w]``; a cell is damaged where one of its pixels is.
    """
    target = nn.functional.max_pool2d(mask, 2)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return ((1 - (-entropy).exp()) ** 2 * entropy).mean()


class DamageFeed:
    """Draws damage onto good parts while the network learns: from (seed, epoch, place in the epoch) alone.

    Validation and `judge` see kinds of damage that are never learnt from, on the validation part.
    """

    def __init__(
        self,
        good: Good,
        *,
        seed: int,
        epochs: int,
        symmetry: Symmetry = "auto",
        score: Callable[[Any, Tensor], tuple[Tensor, Tensor]],
    ) -> None:
        """``score(scorer, prepared)`` gives scores ``[N]`` and maps ``[N, h', w']`` of a batch, for `judge`."""
        self._good = good
        self._seed = seed
        self._score = score
        self._check = good.validation if len(good.validation) else good.train
        self._judged = {round(epochs * (place + 1) / JUDGED_TIMES) for place in range(JUDGED_TIMES)}
        if symmetry == "auto":
            self._moves = symmetries(_pictures(good.train, range(min(len(good.train), 64))))
        else:
            self._moves = DECLARED[symmetry]
        self._workers = min(4, cpu_count() or 1)

    @property
    def moves(self) -> Sequence[Move]:
        """Mirrorings and turns that leave these parts as they are: good pictures are moved by them, too."""
        return self._moves

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """Each part with damage of its own, drawn ahead by threads."""
        chunks = torch.split(places, size)
        with ThreadPoolExecutor(self._workers) as pool:
            waiting: deque[list[Future[_Drawn]]] = deque()
            at = 0
            for chunk in chunks:
                waiting.append(
                    [pool.submit(self._learnt, epoch, at + row, place) for row, place in enumerate(chunk.tolist())]
                )
                at += len(chunk)
                if len(waiting) > _AHEAD:
                    yield _batch([drawn.result() for drawn in waiting.popleft()])
            while waiting:
                yield _batch([drawn.result() for drawn in waiting.popleft()])

    def validation(self, size: int) -> Iterator[Batch]:
        """Each part once, with one held-out kind of damage or none, the same each time."""
        rows = [self._held_out(place, place) for place in range(len(self._check))]
        for begin in range(0, len(rows), size):
            yield _batch(rows[begin : begin + size])

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
        """Now and then: how well held-out kinds of damage are told from good parts; watched, never steered by."""
        if epoch not in self._judged:
            return {}
        from sklearn.metrics import average_precision_score, roc_auc_score

        scores, pixels, truth = [], [], []
        device = next(scorer.parameters()).device
        with torch.no_grad():
            for at in range(len(self._check) * (1 + _DAMAGED_EACH)):
                place, turn = divmod(at, 1 + _DAMAGED_EACH)
                drawn = self._held_out(place, 7919 * turn + place, clean=turn == 0)
                score, maps = self._score(scorer, _tensor([drawn.after]).to(device))
                scores.append(float(score))
                side = maps.shape[-1]
                cells = nn.functional.adaptive_max_pool2d(
                    torch.from_numpy(drawn.mask[None, None].astype(np.float32)), side
                )
                pixels.append(maps.flatten().cpu().numpy())
                truth.append(cells.flatten().numpy() > 0)
        bad = [cells.any() for cells in truth]
        if all(bad) or not any(bad):
            return {}
        return {
            "synthetic_auroc": float(roc_auc_score(bad, scores)),
            "synthetic_pixel_ap": float(average_precision_score(np.concatenate(truth), np.concatenate(pixels))),
        }

    def _learnt(self, epoch: int, row: int, place: int) -> "_Drawn":
        generator = np.random.default_rng([self._seed, epoch, row])
        before, other = self._two(generator, self._good.train, place)
        after, mask = before, np.zeros(before.shape[:2], np.bool_)
        if generator.random() >= CLEAN:
            for _ in range(int(generator.integers(1, MOST_DAMAGES + 1))):
                kind = str(generator.choice(LEARNT, p=[SHARES[name] for name in LEARNT]))
                made = damaged(generator, kind, after, other)
                if made is not None:
                    after, mask = made.picture, mask | made.mask
        return _Drawn(before, after, mask)

    def _held_out(self, place: int, number: int, *, clean: bool | None = None) -> "_Drawn":
        generator = np.random.default_rng([self._seed, _VALIDATION_SEED, number])
        before, other = (
            _picture(self._check.take([at])[0]) for at in (place, int(generator.integers(len(self._check))))
        )
        if clean is None:
            clean = number % 3 == 0
        if not clean:
            made = damaged(generator, HELD_OUT[number % len(HELD_OUT)], before, other)
            if made is not None:
                return _Drawn(before, made.picture, made.mask)
        return _Drawn(before, before, np.zeros(before.shape[:2], np.bool_))

    def _two(self, generator: Generator, part: Part, place: int) -> tuple[Picture, Picture]:
        """A good picture, and another one for pieces."""
        other = int(generator.integers(len(part)))
        move = self._moves[int(generator.integers(len(self._moves)))]
        return moved(_picture(part.take([place])[0]), move), moved(_picture(part.take([other])[0]), move)


_DAMAGED_EACH = 2


class _Drawn(NamedTuple):
    before: Picture
    after: Picture
    mask: NDArray[np.bool_]


def _batch(rows: Sequence[_Drawn]) -> Batch:
    mask = torch.from_numpy(np.stack([row.mask for row in rows])).unsqueeze(1).float()
    return Batch(len(rows), Damage(_tensor([row.before for row in rows]), _tensor([row.after for row in rows]), mask))


def _pictures(part: Part, places: Sequence[int]) -> list[Picture]:
    return [_picture(part.take([place])[0]) for place in places]


def _picture(prepared: Tensor) -> Picture:
    """uint8 ``[h, w, C]`` of ``[C, h, w]`` in 0 to 1: damage is drawn in grey levels, as a camera would see it."""
    levels: Picture = (prepared * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return levels


def _tensor(pictures: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
