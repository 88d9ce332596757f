"""Watching a training: the AUROC of labelled parts by epoch, for people to look at. Never used.

No fit, schedule or choice of weights sees these parts or their scores, and looking leaves scorer and random generators
as they were: the weights are, bit for bit, those of a training that nobody watched. Whoever chooses settings by what
they see here has used the labels all the same; figures to publish then need parts that were not watched.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from andon.calibration.split import Split
from andon.evaluation.figures import ranking
from andon.export.pooling import Pool
from andon.export.preprocessing import prepare
from andon.foundation.errors import DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.items import Item, Ref
from andon.runtime.schema import FrameSpec, InputSpec, ScoreRule, WindowSpec
from andon.sources.collection import Collection
from andon.sources.kinds import images
from andon.sources.opening import labelled_for
from andon.sources.pictures.folder import GOOD
from andon.sources.series.log import Log
from andon.sources.series.log_truth import window_truth
from andon.sources.series.windows import cut
from andon.sources.source import collect, named
from andon.sources.truth import tree_truth
from andon.training.fitting.device import preserve_state
from andon.training.recipe.recipe import Row

logger = logging.getLogger(__name__)

MOST_PARTS = 200
"""So many are watched at most, half of them good where there are enough, defects evenly by kind."""
MOST_BYTES = 256_000_000
"""Of prepared tensors in memory; large frames are fewer."""
SHARE = 0.1
"""Of the time that training takes, unless somebody says which epochs to watch."""
_BATCH = 8


class Labelled(NamedTuple):
    """Prepared parts whose truth is known."""

    prepared: Tensor
    """``[n, C, h, w]`` or ``[n, T, C]``, on the CPU."""
    kinds: tuple[str, ...]
    """``good``, or the type of defect, of each."""

    @property
    def defective(self) -> NDArray[np.bool_]:
        """``[n]``."""
        return np.array([kind != GOOD for kind in self.kinds], np.bool_)

    @property
    def counts(self) -> dict[str, int]:
        """Parts of each kind, ``good`` first."""
        ordered = sorted(set(self.kinds), key=lambda kind: (kind != GOOD, kind))
        return {kind: self.kinds.count(kind) for kind in ordered}


class Watch:
    """Looks at a scorer after an epoch, and says how well it separates labelled parts."""

    def __init__(
        self,
        parts: Labelled,
        spec: InputSpec,
        score_rule: ScoreRule,
        *,
        device: torch.device,
        every: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`every`: watch the first epoch and each `every`-th; None: as often as a tenth of the time allows."""
        self._parts = parts
        self._pool = Pool(score_rule, spec).to(device)
        self._device = device
        self._every = every
        self._clock = clock
        self._trained_s = self._spent_s = 0.0
        self._cost_s: float | None = None
        self._resting_since_s = clock()

    def after_epoch(self, scorer: nn.Module, epoch: int) -> Row | None:
        """A row ``epoch, auroc, seconds`` where this epoch is watched; epochs count from 1."""
        begun_s = self._clock()
        self._trained_s += begun_s - self._resting_since_s
        row: Row | None = None
        if is_due(epoch, self._every, trained_s=self._trained_s, spent_s=self._spent_s, cost_s=self._cost_s):
            area = self.auroc(scorer)
            self._cost_s = self._clock() - begun_s
            self._spent_s += self._cost_s
            if area is not None:
                row = {"epoch": float(epoch), "auroc": area, "seconds": self._cost_s}
        self._resting_since_s = self._clock()
        return row

    def auroc(self, scorer: nn.Module) -> float | None:
        """Over all parts, by the score that decides; None where the scores are not finite."""
        with preserve_state(scorer):
            scores = [
                self._pool(scorer(batch.to(self._device)))["score"].cpu()
                for batch in torch.split(self._parts.prepared, _BATCH)
            ]
        values = torch.cat(scores).double().numpy()
        if not np.isfinite(values).all():
            logger.warning("watched parts have scores that are not finite: no AUROC of this epoch")
            return None
        return ranking.auroc(values, self._parts.defective)


def is_due(epoch: int, every: int | None, *, trained_s: float, spent_s: float, cost_s: float | None) -> bool:
    """Whether to watch an epoch: the first and each `every`-th, or, without `every`, whenever it is within `SHARE`.

    Args:
        epoch: counted from 1.
        every: as asked for.
        trained_s: time that training took so far.
        spent_s: time that watching took so far.
        cost_s: what watching took last time; None: not known yet.
    """
    if every is not None:
        return epoch == 1 or epoch % every == 0
    return cost_s is None or spent_s + cost_s <= SHARE * trained_s


def open_labelled(
    path: str, spec: InputSpec, used: Split, *, data: str = "", seed: int = 0, progress: Progress = silent
) -> Labelled:
    """Parts of known truth, prepared as the graph would: a tree with test/good and test/TYPE, or a labelled log.

    Parts that the run learns from, chooses its weights by or keeps for its calibration are left out, and so are unreadable
    ones.

    Args:
        path: the tree (``good`` beside ``TYPE`` will do), or a log with a label column, or a simulation with faults.
        spec: what the detector takes.
        used: the run's split.
        data: where the run's good parts come from, if that is a path.
        seed: draws the parts, where there are more than `MOST_PARTS`.
        progress: told of reading.

    Raises:
        DataError: no truth there, the data of the training itself, or no good or no defective part is left.
        MissingExtra: scikit-learn is not installed.
    """
    ranking.auroc((0.0, 1.0), (False, True))  # what is missing is said now, and not after the first epoch
    collection, by_kind = _frames(path, spec, used, data) if isinstance(spec, FrameSpec) else _windows(path, spec, data)
    missing = "good" if not by_kind.get(GOOD) else "defective" if len(by_kind) < 2 else ""
    if missing:
        raise DataError(
            f"--watch {path}: no {missing} part there, but for those that the run itself uses. Give "
            "a tree with test/good and test/TYPE, or a labelled log."
        )
    size = (
        spec.channels * math.prod(spec.size) if isinstance(spec, FrameSpec) else spec.steps * max(len(spec.channels), 1)
    )
    most = max(2, min(MOST_PARTS, MOST_BYTES // (4 * size)))
    preparation = prepare(spec)
    tensors: list[Tensor] = []
    kinds: list[str] = []
    for kind, ref in track(drawn(by_kind, most, seed), progress, "reading watched parts"):
        item = collection.read(ref)
        if not isinstance(item, Item):
            continue
        with torch.no_grad():
            prepared, reason = preparation(torch.from_numpy(np.array(item.data[np.newaxis])))
        if not int(reason[0]):
            tensors.append(prepared[0])
            kinds.append(kind)
    if len({kind == GOOD for kind in kinds}) < 2:
        raise DataError(f"--watch {path}: expected readable good and defective parts, got {len(kinds)} of one kind.")
    return Labelled(torch.stack(tensors), tuple(kinds))


def drawn(by_kind: Mapping[str, Sequence[Ref]], most: int, seed: int) -> list[tuple[str, Ref]]:
    """At most so many parts: half of them good, unless there are fewer of one side; defects in turn by kind."""
    generator = np.random.default_rng(seed)
    shuffled = {
        kind: [(kind, refs[place]) for place in generator.permutation(len(refs))]
        for kind, refs in sorted(by_kind.items())
    }
    good = shuffled.pop(GOOD, [])
    defects = [pair for turn in zip_longest(*shuffled.values()) for pair in turn if pair is not None]
    good = good[: max(most // 2, most - len(defects))]
    return good + defects[: most - len(good)]


def _frames(path: str, spec: FrameSpec, used: Split, data: str) -> tuple[Collection, dict[str, list[Ref]]]:
    source = named(path)
    if source is not None and source.labelled is not None:
        collection, truth = labelled_for(path, spec)
        keys = _used(used) if named(data) == source else set()
        sets: dict[str, list[Ref]] = {}
        for ref in collection.refs:
            if ref.key not in keys:
                sets.setdefault(truth.kind.get(ref.key, GOOD), []).append(ref)
        return collection, sets
    root = Path(path)
    root = root / "test" if (root / "test" / GOOD).is_dir() else root  # a tree need not have a training part
    truth = tree_truth(root)
    pictures = images.evaluation_part(str(root), channels=1 if spec.channels == 1 else 3)
    taken = {(Path(data) / key).resolve() for key in _used(used)} if data else set()
    by_kind: dict[str, list[Ref]] = {}
    for ref in pictures.refs:
        if ref.key in truth.defective and (root / ref.key).resolve() not in taken:
            by_kind.setdefault(truth.kind.get(ref.key, GOOD), []).append(ref)
    return pictures, by_kind


def _windows(path: str, spec: WindowSpec, data: str) -> tuple[Collection, dict[str, list[Ref]]]:
    log = collect(path)
    if not isinstance(log, Log):
        raise DataError(f"--watch {path}: expected a labelled log for a detector of windows, got frames.")
    if data and (path == data or Path(path).resolve() == Path(data).resolve()):
        raise DataError(f"--watch {path}: this log is learnt from; watch another one.")
    windows = cut(log, spec)
    truth = window_truth(log, spec, windows.refs)
    by_kind: dict[str, list[Ref]] = {}
    for ref in windows.refs:
        window = truth.get(ref.key)
        if window is not None and (window.good or window.faulty):
            by_kind.setdefault(GOOD if window.good else window.fault or "defect", []).append(ref)
    return windows, by_kind


def _used(split: Split) -> set[str]:
    """The validation part too: its loss chooses the epoch, so that good parts of it would look better than new ones."""
    return {*split.train, *split.validation, *split.calibration}
