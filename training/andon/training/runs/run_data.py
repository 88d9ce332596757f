"""Open the data of a new run, or open the same data again for an existing run."""

import logging
from pathlib import Path

from andon.foundation.errors import DataError, TrainingError
from andon.foundation.printable import printable
from andon.sources.addresses import shown_address
from andon.sources.collection import Collection, FoundFrames
from andon.sources.kinds import images
from andon.sources.kinds.images import Pictures
from andon.sources.opening import open_log
from andon.sources.series.log import Log
from andon.sources.source import collect, find
from andon.training.fitting.prepared_data import items_of
from andon.training.runs.record import RunRecord
from andon.training.runs.run_folder import LoadedRun

logger = logging.getLogger(__name__)

Data = str | Path | Collection | Log
"""A path or name that a source can open, or data that are already open."""


def open_data(data: Data, *, sort: bool = False) -> Collection | Log:
    """Open a path or name. Return data that are already open unchanged.

    Args:
        data: the data.
        sort: sort the rows of a log by their times.

    Raises:
        DataError: the path holds nothing readable.
        ConfigError: `sort` is given, but the path is not a log file or a folder of them.
    """
    if not isinstance(data, str | Path):
        return data
    return open_log(str(data), sort=True) if sort else collect(str(data))


def of_size(data: Collection | Log, size: tuple[int, int]) -> tuple[Collection, tuple[str, ...]]:
    """Return the frames of one size (height, width), and the keys of the others. Log the names of the others.

    Raises:
        DataError: no frame has this size, or the data are logs.
    """
    wanted = f"--frame-size {size[0]}x{size[1]}"
    found = data.found
    if not isinstance(found, FoundFrames) or isinstance(data, Log):
        raise DataError(f"{wanted}: expected frames, got sensor logs. Leave out --frame-size.")
    if found.frame_size == size:
        return data, ()
    if not isinstance(data, Pictures) or size not in dict(found.sizes):
        listed = ", ".join(f"{height}x{width}" for (height, width), _ in found.sizes[:4] or ((found.largest, 1),))
        raise DataError(
            f"{wanted}: expected frames of this size (height x width), got {listed}. Give one of these sizes."
        )
    kept, others = data.of_size(size)
    shown = ", ".join(printable(key) for key in others[:10])
    more = f" and {len(others) - 10} more" if len(others) > 10 else ""
    logger.warning(
        "%s: %d of %d frames have another size and are left out: %s%s",
        wanted, len(others), len(others) + len(kept.refs), shown, more,
    )  # fmt: skip
    return kept, others


def open_again(data: Data, record: RunRecord) -> Collection | Log:
    """Open the data of an existing run. From a folder of pictures, open only those that the run's record lists.

    Files that were added to the folder later do not matter, because the run knows its parts by key and content.
    `good_part` selects pictures for new trainings only. It could refuse the folder because of a sibling folder that was added
    later.

    Raises:
        DataError: the path holds nothing readable.
    """
    if not isinstance(data, str | Path) or find(str(data)).name != "images":
        return open_data(data, sort=record.sort)
    return images.chosen(str(data), _keys_of(record))


def parts_of(run: LoadedRun, data: Data | None = None) -> Collection:
    """Open all good parts of a run again, grouped as in training, from their new location if there is one.

    Raises:
        DataError: the data cannot be opened, or the run was trained on data in memory and `data` is None.
    """
    record = run.record
    if data is None and not record.data:
        raise DataError("data: expected the data in memory that this run was trained on, got None. Pass them as data=.")
    try:
        opened = open_again(record.data if data is None else data, record)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(
            f"{error} The run was trained on it. If it was moved, give its new location with --data."
        ) from error
    return items_of(opened, run.spec, record.group)


def open_to_resume(data: Data, record: RunRecord, folder: Path) -> Collection | Log:
    """Open the data of an interrupted run to resume it.

    Raises:
        DataError: the path holds nothing readable.
        TrainingError: some of the run's pictures are missing.
    """
    opened = open_again(data, record)
    if isinstance(opened, Pictures):
        present = {ref.key for ref in opened.refs}
        missing = sorted(_keys_of(record) - present)
        if missing:
            raise TrainingError(
                f"{folder}: the data have changed since this run began. {len(missing)} of its pictures are missing from "
                f"{shown_address(str(data))}, the first is {printable(missing[0])}. Give their new location with "
                "--data, or start a new run."
            )
    return opened


def _keys_of(record: RunRecord) -> set[str]:
    used = record.split
    return {*used.train, *used.validation, *used.calibration, *record.copies}
