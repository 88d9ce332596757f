"""Check the data sets of a comparison before it starts, so that errors do not appear after hours of training.

The checks cover kinds of data, paths, labels and numbers of parts.
"""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from andon.calibration.promise import LADDER, allowance, parts_needed
from andon.calibration.split import require_share, split
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.items import Ref
from andon.runtime.mask_pixels import mask_size
from andon.runtime.schema import FrameSpec, InputSpec, WindowSpec
from andon.sources.collection import Collection, FoundFrames
from andon.sources.opening import labelled_for, open_log
from andon.sources.series.log import Log
from andon.sources.series.windows import columns
from andon.sources.truth import Truth
from andon.training.comparison.plan import Cell, DataSet
from andon.training.fitting.frame_masks import Masks, with_masks
from andon.training.fitting.prepared_data import items_of
from andon.training.runs.run_data import open_data
from andon.training.runs.window_settings import chosen_settings


def check(cells: Sequence[Cell], *, progress: Progress = silent) -> None:
    """Open each set once, and check that all its detectors can be trained and evaluated on it.

    Args:
        cells: cells that are not done yet.
        progress: called after each set.

    Raises:
        AndonError: the first error found. It keeps its class, and its message starts with the name of the set.
    """
    sets = groupby(sorted(cells, key=lambda cell: cell.data.name), key=lambda cell: cell.data)
    listed = [(data, list(of_set)) for data, of_set in sets]
    for data, of_set in track(listed, progress, "checking the sets"):
        try:
            _check_set(data, of_set)
        except AndonError as error:
            raise type(error)(f"set {data.name}: {error}") from error


def labelled(data: DataSet, spec: InputSpec) -> tuple[Collection, Truth]:
    """Return the labelled frames of a set and their truth. They are grouped in the same way as the training frames.

    Raises:
        DataError: there are no frames or no labels, or the set's ``--group`` does not fit a frame.
        ConfigError: the set consists of logs.
    """
    return labelled_for(data.tested, spec, table=Path(data.truth) if data.truth else None, group=data.group)


def _check_set(data: DataSet, cells: Sequence[Cell]) -> None:
    opened = open_data(data.train)
    require_share(data.calibration_share)
    specs = {id(cell): _input_of(cell, opened) for cell in cells}  # before the test set is opened
    for cell in cells:
        parts_needed(
            cell.promise.false_reject or max(LADDER), cell.promise.confidence
        )  # refuses values that are not fractions
        spec = specs[id(cell)]
        if isinstance(spec, FrameSpec):
            _check_parts(cell, items_of(opened, spec, data.group))
    spec = specs[id(cells[0])]
    if isinstance(spec, WindowSpec):
        _check_log(data, spec)
    else:
        _check_frames(data, spec, items_of(opened, spec, data.group))


def _input_of(cell: Cell, opened: Collection | Log) -> InputSpec:
    """Return the input of the detector, with the masks of the set, and the windows that its training will choose."""
    choice = cell.choice
    settings, log, _ = chosen_settings(
        choice.recipe, choice.settings, choice.window, opened, share=cell.data.calibration_share
    )
    masks = Masks(ignore=cell.data.ignore, region=cell.data.region)
    wanted = choice.recipe.wanted_input(settings, log.found)
    return with_masks(wanted, masks, log.found, cell=choice.recipe.cell(settings)) if any(masks) else wanted


def _check_parts(cell: Cell, good: Collection) -> None:
    """Check that there are enough parts for training and for the promise. INVALID parts may still reduce the number later.

    Raises:
        NotEnoughParts: there are too few.
    """
    used = split(
        good.refs,
        seed=cell.seed,
        validation=cell.choice.recipe.uses_validation,
        calibration_share=cell.data.calibration_share,
    )
    if cell.promise.no_promise:
        return
    kept_back = set(used.calibration)
    independent = len({ref.group for ref in good.refs if ref.key in kept_back})  # only one part per group counts
    alpha = max(LADDER) if cell.promise.false_reject is None else cell.promise.false_reject
    allowance(independent, alpha, cell.promise.confidence)


def _check_frames(data: DataSet, spec: FrameSpec, good: Collection) -> None:
    collection, truth = labelled(data, spec)
    _check_size(data, spec, collection)
    known = [ref for ref in collection.refs if ref.key in truth.defective]
    kinds = {truth.defective[ref.key] for ref in known}
    if kinds != {True, False}:
        found = "none" if not kinds else "only defective ones" if True in kinds else "only good ones"
        raise DataError(f"{data.tested}: expected labelled good and defective parts for the evaluation, found {found}.")
    trained_on = {_place(data.train, ref) for ref in good.refs}
    both = next((ref.key for ref in known if _place(data.tested, ref) in trained_on), None)
    if both is not None:
        raise DataError(
            f"{data.tested}: expected test parts that are not trained on, got training parts, such as {both}. Use folders "
            f"train/good and test/TYPE, or give other labelled parts: '{data.train} --test OTHER'."
        )


def _check_size(data: DataSet, spec: FrameSpec, tested: Collection) -> None:
    """Check that some of the labelled frames have the size of the masks. The model file refuses other sizes."""
    size, found = mask_size(spec), tested.found
    if size is None or not isinstance(found, FoundFrames):
        return
    sizes = [one for one, _ in found.sizes] or [found.frame_size or found.largest]
    if size not in sizes:
        got = ", ".join(f"{height} x {width}" for height, width in sizes[:4])
        raise DataError(
            f"{data.tested}: expected labelled frames of the size of the masks, {size[0]} x {size[1]} (height x width), got {got}"
            ". Give labelled frames of the same camera, or leave out the masks."
        )


def _place(root: str, ref: Ref) -> str:
    return os.path.abspath(os.path.join(root, ref.key))  # noqa: PTH100, PTH118 - fast, because it runs for each picture


def _check_log(data: DataSet, spec: WindowSpec) -> None:
    if _place(data.tested, Ref(key="")) == _place(data.train, Ref(key="")):
        raise ConfigError(
            f"{data.train}: expected test logs that are not trained on. Give other logs: '{data.train} --test LABELLED'."
        )
    try:
        log = open_log(data.tested, truth=Path(data.truth) if data.truth else None)
    except ConfigError as error:
        raise ConfigError(f"{error} The training data are logs, so labelled logs are needed.") from error
    columns(log.found, spec)
    if not any(run.faulty is not None and run.faulty.any() for run in log.runs):
        raise DataError(
            f"{data.tested}: expected rows that are labelled as faulty, found none. Add a column named anomaly, label or "
            "faulty, with values 0 and 1, or give a table of faulty intervals: --truth faults.csv with the columns start,end."
        )
