"""Learning without pretrained weights: restore damaged pictures, and tell from input and reconstruction where damage was.

A network that only rebuilds good pictures learns to copy, defects included. Here good pictures are damaged first; the
network must give back the good one, and a segmentation head, looking at both, must mark what was damaged. The head's map is
what judges. Source: DRAEM (Zavrtanik et al., ICCV 2021); the damage: `andon.damage`.
"""

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

from andon.damage.kinds import HELD_OUT, LEARNT, SHARES, Picture, damaged
from andon.training.fitting.gradient_descent import Batch
from andon.training.fitting.relighting import relit
from andon.training.fitting.symmetry import DECLARED, Symmetry, moved, symmetries
from andon.training.nets.convolutions import block
from andon.training.recipe.recipe import Part, TrainingData

CLEAN = 0.3
"""Share of undamaged pictures that are learnt from: without them a network sees defects everywhere."""
RELIT = 0.5
"""Share of pictures that are learnt from in another light."""
MOST_DAMAGES = 3
"""Damages of a picture: several teach as much as several pictures, for the price of one."""
JUDGED_TIMES = 8
"""How often in a training the head is measured on held-out kinds of damage."""
DAMAGED_EACH = 2
"""Damaged copies of a part that `judge` sees beside it."""
MOST_CHECKED = 100
"""Parts that validation and `judge` see: an epoch stays as long as it is, however many good parts there are."""
MOST_COMPARED = 64
"""Parts from which symmetries are told."""
KEPT_BYTES = 500_000_000
"""Of pictures that are kept as grey levels."""
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
        self.down = nn.ModuleList(
            block(narrow, wide, bias=False) for narrow, wide in zip((width, *widths), widths, strict=False)
        )
        self.join = nn.ModuleList(block(below + own, own, bias=False) for own, below in pairwise(widths))
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.last.bias, -4.0)  # type: ignore[arg-type] # damage is rare: begin there
        self.halve = nn.MaxPool2d(2)

    def forward(self, prepared: Tensor, rebuilt: Tensor) -> Tensor:
        """``[N, 1, h/2, w/2]``."""
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

    Validation and `judge` see kinds of damage that are never learnt from, on parts of the validation part (of the training
    part, where there is none).
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
    ) -> None:
        """``score(scorer, prepared)`` gives scores ``[N]`` and square maps ``[N, s, s]`` of a batch, for `judge`."""
        self._seed = seed
        self._score = score
        self._light = light
        self._learnt = _Pictures(good.train)
        self._checked = _Pictures(good.validation if len(good.validation) else good.train)
        self._check = _evenly(len(self._checked), MOST_CHECKED)
        self._judged = {round(epochs * (place + 1) / JUDGED_TIMES) for place in range(JUDGED_TIMES)}
        if symmetry == "auto":
            self._moves = symmetries([self._learnt[place] for place in _evenly(len(self._learnt), MOST_COMPARED)])
        else:
            self._moves = DECLARED[symmetry]

    def train(self, places: Tensor, size: int, epoch: int) -> Iterator[Batch]:
        """Each part with damage of its own, drawn ahead by threads."""
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
        """Each checked part once, with one held-out kind of damage or none, the same each time."""
        for begin in range(0, len(self._check), size):
            yield _batch([self._validated(row) for row in range(begin, min(begin + size, len(self._check)))])

    def judge(self, scorer: Any, epoch: int) -> Mapping[str, float]:
        """Now and then: how well held-out kinds of damage are told from good parts; watched, never steered by."""
        if epoch not in self._judged:
            return {}
        from sklearn.metrics import average_precision_score, roc_auc_score

        scores, pixels, truth = [], [], []
        device = next(scorer.parameters()).device
        with torch.no_grad():
            for row, place in enumerate(self._check):
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
        """A picture to learn from: moved as its kind allows, with up to `MOST_DAMAGES` damages or none."""
        generator = np.random.default_rng([self._seed, epoch, row])
        other = int(generator.integers(len(self._learnt)))
        move = self._moves[int(generator.integers(len(self._moves)))]
        before, pieces = (moved(self._learnt[at], move) for at in (place, other))
        if self._light > 0 and generator.random() < RELIT:
            before = relit(generator, before, self._light)
        after, mask = before, np.zeros(before.shape[:2], np.bool_)
        if generator.random() >= CLEAN:
            for _ in range(int(generator.integers(1, MOST_DAMAGES + 1))):
                kind = str(generator.choice(LEARNT, p=[SHARES[name] for name in LEARNT]))
                made = damaged(generator, kind, after, pieces)
                if made is not None:
                    after, mask = made.picture, mask | made.mask
        return _Drawn(before, after, mask)

    def _validated(self, row: int) -> "_Drawn":
        """Every third one is good; the others take the kinds in turn."""
        place = self._check[row]
        return self._clean(place) if row % 3 == 0 else self._held_out(place, 0, row - row // 3 - 1)

    def _clean(self, place: int) -> "_Drawn":
        before = self._checked[place]
        return _Drawn(before, before, np.zeros(before.shape[:2], np.bool_))

    def _held_out(self, place: int, turn: int, number: int) -> "_Drawn":
        generator = np.random.default_rng([self._seed, _VALIDATION_SEED, place, turn])
        before, other = self._checked[place], self._checked[int(generator.integers(len(self._checked)))]
        made = damaged(generator, HELD_OUT[number % len(HELD_OUT)], before, other)
        return self._clean(place) if made is None else _Drawn(before, made.picture, made.mask)


class _Pictures:
    """A part as pictures in grey levels, as a camera would see them: uint8 ``[h, w, C]`` of prepared ``[C, h, w]`` in 0 to 1.

    Kept in memory where they are few; else taken one at a time, as a collection need not bear several readers.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._turn = threading.Lock()
        self._kept: dict[int, Picture] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, place: int) -> Picture:
        with self._turn:
            kept = self._kept.get(place)
            if kept is None:
                levels = np.rint(self._part.take([place])[0].numpy() * 255)
                kept = np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))
                if self._bytes + kept.nbytes <= KEPT_BYTES:
                    self._kept[place] = kept
                    self._bytes += kept.nbytes
            return kept


def _workers() -> int:
    """Threads that draw: as many as there are processors for this process, up to four."""
    able = getattr(os, "sched_getaffinity", None)
    return min(4, len(able(0)) if able else os.cpu_count() or 1)


def _evenly(count: int, most: int) -> list[int]:
    """Places 0 to `count` - 1, or `most` of them, evenly spread."""
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
