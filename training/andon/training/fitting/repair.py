"""Training without pretrained weights: restore damaged pictures, and mark the damage from input and reconstruction.

A network that only rebuilds good pictures learns to copy everything, defects included. Here good pictures are damaged
first. The network must restore the good picture, and a segmentation head that sees both must mark the damage. The
head's map gives the score. Source: DRAEM (Zavrtanik et al., ICCV 2021). The damage is in `andon.damage`.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.damage.kinds import FOR_TRAINING, HELD_OUT, SHARES, Picture, damaged
from andon.export.masks import FILL
from andon.training.fitting.gradient_descent import Batch
from andon.training.fitting.relighting import relit
from andon.training.fitting.symmetry import DECLARED, Symmetry, keeping, moved, symmetries
from andon.training.nets.convolutions import block
from andon.training.recipe.recipe import Part, TrainingData

logger = logging.getLogger(__name__)

CLEAN = 0.3
"""Share of undamaged training pictures. Without them a network sees defects everywhere."""
RELIT = 0.5
"""Share of training pictures in other light."""
MOST_DAMAGES = 3
"""Largest number of damaged areas per picture.

Several damaged areas in one picture teach as much as several pictures, in the time of one.
"""
JUDGED_TIMES = 8
"""Number of times per training that the head is evaluated on held-out kinds of damage."""
DAMAGED_EACH = 2
"""Number of damaged copies of each part that `judge` evaluates, in addition to the part itself."""
MOST_CHECKED = 100
"""Largest number of parts that validation and `judge` use, so that more good parts do not make an epoch longer."""
MOST_COMPARED = 64
"""Number of parts from which symmetries are derived."""
KEPT_BYTES = 500_000_000
"""Largest size of the pictures that are kept in memory as grey levels, in bytes."""
_VALIDATION_SEED = 2**31
"""Seed of the damage for validation, which is the same each time. No epoch has this seed."""
_AHEAD = 3
"""Number of batches that are prepared in advance while the network is trained."""


class Damage(NamedTuple):
    """A batch of pictures to restore."""

    before: Tensor
    """Good pictures, ``[N, C, h, w]`` in 0 to 1."""
    after: Tensor
    """The same pictures with damage; some have none."""
    mask: Tensor
    """``[N, 1, h, w]``, 1 where a pixel visibly changed."""


class Head(nn.Module):
    """A small U-Net on input, reconstruction and their difference. It gives one logit of damage per 2 x 2 pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(3 * channels, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList(
            block(narrow, wide, bias=False) for narrow, wide in zip((width, *widths), widths, strict=False)
        )
        self.join = nn.ModuleList(block(below + own, own, bias=False) for own, below in pairwise(widths))
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.last.bias, -4.0)  # type: ignore[arg-type] # damage is rare: start with low probabilities
        self.halve = nn.MaxPool2d(2)

    def forward(self, prepared: Tensor, rebuilt: Tensor) -> Tensor:
        """Return logits ``[N, 1, h/2, w/2]``."""
        seen = self.stem(torch.cat([prepared, rebuilt, (prepared - rebuilt).abs()], dim=1))
        levels = []
        for place, step in enumerate(self.down):
            seen = step(self.halve(seen) if place else seen)
            levels.append(seen)
        for step, level in zip(reversed(self.join), reversed(levels[:-1]), strict=True):
            larger = nn.functional.interpolate(seen, size=level.shape[2:], mode="nearest")
            seen = step(torch.cat([larger, level], dim=1))
        logits: Tensor = self.last(seen)
        return logits


def focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the focal loss with gamma 2 (Lin et al., ICCV 2017), averaged over cells; clear cases have little weight.

    Args:
        logits: ``[N, 1, h/2, w/2]``.
        mask: ``[N, 1, h, w]``. A cell is damaged if at least one of its pixels is.
    """
    target = nn.functional.max_pool2d(mask, 2)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return ((1 - (-entropy).exp()) ** 2 * entropy).mean()


class DamageFeed:
    """A feed that draws damage onto good parts during training, from (seed, epoch, place in the epoch) alone.

    Validation and `judge` use kinds of damage that training never uses, on parts of the validation set. If there is no
    validation set, they use the training set.
    """

    def __init__(
        self,
        good: TrainingData,
        *,
        seed: int,
        epochs: int,
        score: Callable[[Any, Tensor], tuple[Tensor, Tensor]],
        symmetry: Symmetry = "auto",
        light: float = 0.0,
        judged: Tensor | None = None,
    ) -> None:
        """Create the feed.

        ``score(scorer, prepared)`` returns scores ``[N]`` and square maps ``[N, s, s]`` of a batch, for `judge`. `judged` are the
        pixels that count, bool ``[h, w]``. The others get no damage and keep their fixed value. None: all count.
        """
        self._judged = None if judged is None else judged.numpy()
        self._seed = seed
        self._score = score
        self._light = light
        self._train_pictures = _Pictures(good.train)
        self._validation_pictures = _Pictures(good.validation if len(good.validation) else good.train)
        self._validation_places = _evenly(len(self._validation_pictures), MOST_CHECKED)
        self._judged_epochs = {round(epochs * (place + 1) / JUDGED_TIMES) for place in range(JUDGED_TIMES)}
        if symmetry == "auto":
            self._moves = symmetries(
                [self._train_pictures[place] for place in _evenly(len(self._train_pictures), MOST_COMPARED)]
            )
        else:
            self._moves = DECLARED[symmetry]
        if self._judged is not None:
            self._moves = keeping(self._moves, self._judged)
            logger.info("%d moves leave the masks as they are, so that moved pictures are good", len(self._moves))

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """Yield each part with its own damage, drawn in advance by threads."""
        pool = ThreadPoolExecutor(_workers())
        try:
            waiting: deque[list[Future[_Drawn]]] = deque()
            at = 0
            for chunk in torch.split(places, size):
                rows = enumerate(chunk.tolist(), at)
                waiting.append([pool.submit(self._damaged, epoch, row, place) for row, place in rows])
                at += len(chunk)
                if len(waiting) > _AHEAD:
                    yield _batch([drawn.result() for drawn in waiting.popleft()])
            while waiting:
                yield _batch([drawn.result() for drawn in waiting.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield each validation picture once, with one held-out kind of damage or none, identical in each call."""
        for begin in range(0, len(self._validation_places), size):
            yield _batch(
                [self._validated(row) for row in range(begin, min(begin + size, len(self._validation_places)))]
            )

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
        """Return how well the scorer separates held-out kinds of damage from good parts, in some of the epochs.

        Training never depends on these results.
        """
        if epoch not in self._judged_epochs:
            return {}
        from sklearn.metrics import average_precision_score, roc_auc_score

        scores, pixels, truth = [], [], []
        device = next(scorer.parameters()).device
        with torch.no_grad():
            for row, place in enumerate(self._validation_places):
                drawn = [self._clean(place)]
                drawn += [self._held_out(place, turn, row * DAMAGED_EACH + turn) for turn in range(DAMAGED_EACH)]
                score, maps = self._score(scorer, _tensor([one.after for one in drawn]).to(device))
                masks = torch.from_numpy(np.stack([one.mask for one in drawn])).unsqueeze(1).float()
                cells = nn.functional.adaptive_max_pool2d(masks, maps.shape[-1]).flatten(1) > 0
                scores += score.tolist()
                pixels.append(maps.flatten().cpu().numpy())
                truth += list(cells.numpy())
        bad = [cells.any() for cells in truth]
        if all(bad) or not any(bad):
            return {}
        return {
            "synthetic_auroc": float(roc_auc_score(bad, scores)),
            "synthetic_pixel_ap": float(average_precision_score(np.concatenate(truth), np.concatenate(pixels))),
        }

    def _damaged(self, epoch: int, row: int, place: int) -> "_Drawn":
        """Return a training picture, moved as its symmetries allow, with up to `MOST_DAMAGES` damages or none."""
        generator = np.random.default_rng([self._seed, epoch, row])
        other = int(generator.integers(len(self._train_pictures)))
        move = self._moves[int(generator.integers(len(self._moves)))]
        before, pieces = (moved(self._train_pictures[at], move) for at in (place, other))
        if self._light > 0 and generator.random() < RELIT:
            before = relit(generator, before, self._light)
        after, mask = before, np.zeros(before.shape[:2], np.bool_)
        if generator.random() >= CLEAN:
            for _ in range(int(generator.integers(1, MOST_DAMAGES + 1))):
                kind = str(generator.choice(FOR_TRAINING, p=[SHARES[name] for name in FOR_TRAINING]))
                damage = damaged(generator, kind, after, pieces, self._judged)
                if damage is not None:
                    after, mask = damage.picture, mask | damage.mask
        return _Drawn(self._filled(before), self._filled(after), mask)

    def _filled(self, picture: Picture) -> Picture:
        """Return a picture with the value of prepared frames at pixels that do not count. Moves and light changed them."""
        if self._judged is None:
            return picture
        filled: Picture = np.where(self._judged[:, :, np.newaxis], picture, np.uint8(FILL))
        return filled

    def _validated(self, row: int) -> "_Drawn":
        """Return a validation picture. Every third one is good; the others use the kinds of damage in turn."""
        place = self._validation_places[row]
        return self._clean(place) if row % 3 == 0 else self._held_out(place, 0, row - row // 3 - 1)

    def _clean(self, place: int) -> "_Drawn":
        before = self._validation_pictures[place]
        return _Drawn(before, before, np.zeros(before.shape[:2], np.bool_))

    def _held_out(self, place: int, turn: int, number: int) -> "_Drawn":
        generator = np.random.default_rng([self._seed, _VALIDATION_SEED, place, turn])
        before, other = (
            self._validation_pictures[place],
            self._validation_pictures[int(generator.integers(len(self._validation_pictures)))],
        )
        damage = damaged(generator, HELD_OUT[number % len(HELD_OUT)], before, other, self._judged)
        return self._clean(place) if damage is None else _Drawn(before, damage.picture, damage.mask)


class _Pictures:
    """A part as pictures in grey levels, as a camera gives them: uint8 ``[h, w, C]`` from prepared ``[C, h, w]`` in 0 to 1.

    Pictures stay in memory up to a limit. Others are read one at a time, because a collection may not support several
    readers.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._kept: dict[int, Picture] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, place: int) -> Picture:
        with self._lock:
            kept = self._kept.get(place)
            if kept is None:
                levels = np.rint(self._part.take([place])[0].numpy() * 255)
                kept = np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
                if self._bytes + kept.nbytes <= KEPT_BYTES:
                    self._kept[place] = kept
                    self._bytes += kept.nbytes
            return kept


def _workers() -> int:
    """Return the number of threads that draw damage: one per processor of this process, at most four."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(4, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _evenly(count: int, most: int) -> list[int]:
    """Return the places 0 to `count` - 1, or `most` of them, evenly spaced."""
    return [int(number * max(1.0, count / most)) for number in range(min(count, most))]


class _Drawn(NamedTuple):
    before: Picture
    after: Picture
    mask: NDArray[np.bool_]


def _batch(rows: Sequence[_Drawn]) -> Batch:
    mask = torch.from_numpy(np.stack([row.mask for row in rows])).unsqueeze(1).float()
    return Batch(len(rows), Damage(_tensor([row.before for row in rows]), _tensor([row.after for row in rows]), mask))


def _tensor(pictures: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
