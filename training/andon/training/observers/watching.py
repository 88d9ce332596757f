"""Compute the AUROC of labelled parts during training. It is only shown; the training never uses it.

No fit, schedule or choice of weights sees these parts or their scores. Scorer and random generators keep their state, so the
weights are bit for bit the same as in a training without watched parts. But a person who chooses settings by these results has
used the labels. Results to publish then need parts that were not watched.
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
"""Largest number of watched parts: half of them good if there are enough, and defects evenly by kind."""
MOST_BYTES = 256_000_000
"""Largest memory for prepared tensors, in bytes. It allows fewer parts if frames are large."""
SHARE = 0.1
"""Largest share of the training time to spend on watching, unless the user selects the epochs with `watch_every`."""
_BATCH = 8


class Labelled(NamedTuple):
    """Prepared parts with known labels."""

    prepared: Tensor
    """Frames ``[n, C, h, w]`` or windows ``[n, T, C]``, on the CPU."""
    kinds: tuple[str, ...]
    """``good`` or the type of defect, for each part."""

    @property
    def defective(self) -> NDArray[np.bool_]:
        """True for each part that is not good, ``[n]``."""
        return np.array([kind != GOOD for kind in self.kinds], np.bool_)

    @property
    def counts(self) -> dict[str, int]:
        """Number of parts by kind, ``good`` first."""
        ordered = sorted(set(self.kinds), key=lambda kind: (kind != GOOD, kind))
        return {kind: self.kinds.count(kind) for kind in ordered}


class Watch:
    """Measures after an epoch how well a scorer separates labelled parts."""

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
        """Create the observer.

        Args:
            parts: the labelled parts.
            spec: input of the scorer.
            score_rule: determines the score.
            device: device of the scorer.
            every: watch the first epoch and each `every`-th. None: as often as `SHARE` of the training time allows.
            clock: returns the present time in seconds.
        """
        self._parts = parts
        self._pool = Pool(score_rule, spec).to(device)
        self._device = device
        self._every = every
        self._clock = clock
        self._trained_s = self._spent_s = 0.0
        self._cost_s: float | None = None
        self._resting_since_s = clock()

    def after_epoch(self, scorer: nn.Module, epoch: int) -> Row | None:
        """Return a row ``epoch, auroc, seconds`` if this epoch is watched, else None. Epochs count from 1."""
        start_s = self._clock()
        self._trained_s += start_s - self._resting_since_s
        row: Row | None = None
        if is_due(epoch, self._every, trained_s=self._trained_s, spent_s=self._spent_s, cost_s=self._cost_s):
            area = self.auroc(scorer)
            self._cost_s = self._clock() - start_s
            self._spent_s += self._cost_s
            if area is not None:
                row = {"epoch": float(epoch), "auroc": area, "seconds": self._cost_s}
        self._resting_since_s = self._clock()
        return row

    def auroc(self, scorer: nn.Module) -> float | None:
        """Return the AUROC over all parts by the deciding score; None if a score is not finite."""
        with preserve_state(scorer):
            scores = [
                self._pool(scorer(batch.to(self._device)))["score"].cpu()
                for batch in torch.split(self._parts.prepared, _BATCH)
            ]
        values = torch.cat(scores).double().numpy()
        if not np.isfinite(values).all():
            logger.warning("watched parts: some scores are not finite, so this epoch has no AUROC")
            return None
        return ranking.auroc(values, self._parts.defective)


def is_due(epoch: int, every: int | None, *, trained_s: float, spent_s: float, cost_s: float | None) -> bool:
    """Return whether to watch an epoch.

    With `every`, watch the first epoch and each `every`-th. Otherwise watch whenever the time stays within `SHARE`.

    Args:
        epoch: counted from 1.
        every: value given by the user; None if not given.
        trained_s: seconds spent on training so far.
        spent_s: seconds spent on watching so far.
        cost_s: seconds spent the last time an epoch was watched; None if not known yet.
    """
    if every is not None:
        return epoch == 1 or epoch % every == 0
    return cost_s is None or spent_s + cost_s <= SHARE * trained_s


def open_labelled(
    path: str, spec: InputSpec, used: Split, *, data: str = "", seed: int = 0, progress: Progress = silent
) -> Labelled:
    """Return labelled parts from a tree with test/good and test/TYPE, or from a labelled log.

    They are prepared as the graph of a model file prepares them. Training, validation and calibration parts of the run are
    left out, and so are unreadable parts.

    Args:
        path: the tree (folders ``good`` and ``TYPE`` without ``test`` are accepted too), a log with a label column, or a
            simulation with faults.
        spec: input of the detector.
        used: the run's split.
        data: location of the run's good parts, if it is a path.
        seed: seed of the random selection, if there are more than `MOST_PARTS` parts.
        progress: reports reading.

    Raises:
        DataError: there are no labels, the data are the training data, or no good or no defective part remains.
        MissingExtra: scikit-learn is not installed.
    """
    ranking.auroc((0.0, 1.0), (False, True))  # raises `MissingExtra` now, and not after the first epoch
    collection, by_kind = _frames(path, spec, used, data) if isinstance(spec, FrameSpec) else _windows(path, spec, data)
    missing = "good" if not by_kind.get(GOOD) else "defective" if len(by_kind) < 2 else ""
    if missing:
        raise DataError(
            f"--watch {path}: expected good and defective parts that the run does not use, found no {missing} part. Give a "
            "tree with test/good and test/TYPE, or a labelled log."
        )
    size = (
        spec.channels * math.prod(spec.size) if isinstance(spec, FrameSpec) else spec.steps * max(len(spec.channels), 1)
    )
    most = max(2, min(MOST_PARTS, MOST_BYTES // (4 * size)))
    preparation = prepare(spec)
    tensors: list[Tensor] = []
    kinds: list[str] = []
    for kind, ref in track(sample_parts(by_kind, most, seed), progress, "reading watched parts"):
        item = collection.read(ref)
        if not isinstance(item, Item) or (isinstance(spec, FrameSpec) and item.data.dtype != spec.dtype):
            continue
        with torch.no_grad():
            prepared, reason = preparation(torch.from_numpy(np.array(item.data[np.newaxis])))
        if not int(reason[0]):
            tensors.append(prepared[0])
            kinds.append(kind)
    if len({kind == GOOD for kind in kinds}) < 2:
        raise DataError(
            f"--watch {path}: expected readable good and defective parts, got {len(kinds)} parts that are all good or all "
            "defective."
        )
    return Labelled(torch.stack(tensors), tuple(kinds))


def sample_parts(by_kind: Mapping[str, Sequence[Ref]], most: int, seed: int) -> list[tuple[str, Ref]]:
    """Return a random sample of at most `most` parts, with their kinds.

    Half of them are good, unless there are fewer good or fewer defective parts. Defects are taken from each kind in turn.
    """
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
    root = root / "test" if (root / "test" / GOOD).is_dir() else root  # a tree may lack the training set
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
        raise DataError(
            f"--watch {path}: expected a log that is not trained on, got the training log. Give another one."
        )
    windows = cut(log, spec)
    truth = window_truth(log, spec, windows.refs)
    by_kind: dict[str, list[Ref]] = {}
    for ref in windows.refs:
        window = truth.get(ref.key)
        if window is not None and (window.good or window.faulty):
            by_kind.setdefault(GOOD if window.good else window.fault or "defect", []).append(ref)
    return windows, by_kind


def _used(split: Split) -> set[str]:
    """Return the keys of all parts that the run uses. These parts must not be watched.

    Validation parts are among them: their loss selects the epoch, so their scores would look better than those of new parts.
    """
    return {*split.train, *split.validation, *split.calibration}
