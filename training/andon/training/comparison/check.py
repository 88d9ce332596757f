"""What would go wrong after hours is told before anything has begun: kinds, places, labels, numbers of parts."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from andon.calibration.promise import LADDER, allowance, parts_needed
from andon.calibration.split import require_share, split
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.items import Ref
from andon.runtime.schema import FrameSpec, InputSpec, WindowSpec
from andon.sources.collection import Collection
from andon.sources.opening import labelled_for
from andon.sources.series.log import Log
from andon.sources.series.windows import columns
from andon.sources.source import collect
from andon.sources.truth import Truth
from andon.training.comparison.plan import Cell, DataSet
from andon.training.fitting.prepared_data import items_of
from andon.training.runs.run_data import open_data


def check(cells: Sequence[Cell], *, progress: Progress = silent) -> None:
    """Open every set once, and see that every detector of it can learn from it and be evaluated on it.

    Args:
        cells: those that are still to be done.
        progress: told after each set.

    Raises:
        AndonError: of whatever kind the first mistake is, with the name of the set.
    """
    sets = groupby(sorted(cells, key=lambda cell: cell.data.name), key=lambda cell: cell.data)
    listed = [(data, list(of_set)) for data, of_set in sets]
    for data, of_set in track(listed, progress, "looking at the sets"):
        try:
            _check_set(data, of_set)
        except AndonError as error:
            raise type(error)(f"set {data.name}: {error}") from error


def labelled(data: DataSet, spec: InputSpec) -> tuple[Collection, Truth]:
    """The frames of a set whose truth is known, grouped as those that are learnt from, and that truth.

    Raises:
        DataError: no such frames, no truth, or a frame that the set's ``--group`` does not fit.
        ConfigError: the set is of logs.
    """
    return labelled_for(data.tested, spec, table=Path(data.truth) if data.truth else None, group=data.group)


def _check_set(data: DataSet, cells: Sequence[Cell]) -> None:
    opened = open_data(data.train)
    require_share(data.calibration_share)
    for cell in cells:  # cheap, and told before the test part is opened
        cell.choice.recipe.wanted_input(cell.choice.settings, opened.found)
    for cell in cells:
        parts_needed(cell.wish.false_reject or max(LADDER), cell.wish.confidence)  # refuses what are no fractions
        spec = cell.choice.recipe.wanted_input(cell.choice.settings, opened.found)
        if isinstance(spec, FrameSpec):
            _check_parts(cell, items_of(opened, spec, data.group))
    spec = cells[0].choice.recipe.wanted_input(cells[0].choice.settings, opened.found)
    if isinstance(spec, WindowSpec):
        _check_log(data, spec)
    else:
        _check_frames(data, spec, items_of(opened, spec, data.group))


def _check_parts(cell: Cell, good: Collection) -> None:
    """Whether there are enough parts to learn from, and to carry the promise (INVALID ones may still make it too few)."""
    used = split(
        good.refs,
        seed=cell.seed,
        validation=cell.choice.recipe.uses_validation,
        calibration_share=cell.data.calibration_share,
    )
    if cell.wish.no_promise:
        return
    kept_back = set(used.calibration)
    independent = len({ref.group for ref in good.refs if ref.key in kept_back})  # of several parts of a lot one counts
    alpha = max(LADDER) if cell.wish.false_reject is None else cell.wish.false_reject
    allowance(independent, alpha, cell.wish.confidence)


def _check_frames(data: DataSet, spec: FrameSpec, good: Collection) -> None:
    collection, truth = labelled(data, spec)
    known = [ref for ref in collection.refs if ref.key in truth.defective]
    kinds = {truth.defective[ref.key] for ref in known}
    if kinds != {True, False}:
        there = "none" if not kinds else "only defective ones" if True in kinds else "only good ones"
        raise DataError(f"{data.tested}: an evaluation needs good and defective parts of known truth; found {there}.")
    learnt = {_place(data.train, ref) for ref in good.refs}
    both = next((ref.key for ref in known if _place(data.tested, ref) in learnt), None)
    if both is not None:
        raise DataError(
            f"{data.tested}: would be evaluated on parts that are learnt from, {both} among them. Expected train/good and "
            f"test/TYPE, or other good parts beside the defective ones: '{data.train} --test OTHER'."
        )


def _place(root: str, ref: Ref) -> str:
    return os.path.abspath(os.path.join(root, ref.key))  # noqa: PTH100, PTH118 - once for every picture of a set


def _check_log(data: DataSet, spec: WindowSpec) -> None:
    if data.truth is not None:
        raise ConfigError("--truth is for pictures; logs say what is true in a column named anomaly, label or faulty.")
    if _place(data.tested, Ref(key="")) == _place(data.train, Ref(key="")):
        raise ConfigError(f"logs are evaluated on others than are learnt from: '{data.train} --test LABELLED'.")
    log = collect(data.tested)
    if not isinstance(log, Log):
        raise ConfigError(f"{data.tested}: expected labelled logs, as what is learnt from are logs; found frames.")
    columns(log.found, spec)
    if not any(run.faulty is not None and run.faulty.any() for run in log.runs):
        raise DataError(
            f"{data.tested}: no row is labelled as faulty. Expected a column named anomaly, label or faulty, of 0 and 1."
        )
