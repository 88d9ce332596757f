"""Open the data of a new run, or open the same data again for an existing run."""

from pathlib import Path

from andon.foundation.errors import TrainingError
from andon.foundation.printable import printable
from andon.sources.addresses import shown_address
from andon.sources.collection import Collection
from andon.sources.kinds import images
from andon.sources.kinds.images import Pictures
from andon.sources.series.log import Log
from andon.sources.source import collect, find
from andon.training.runs.record import RunRecord

Data = str | Path | Collection | Log
"""A path or name that a source can open, or data that are already open."""


def open_data(data: Data) -> Collection | Log:
    """Open a path or name. Return data that are already open unchanged.

    Raises:
        DataError: the path holds nothing readable.
    """
    return collect(str(data)) if isinstance(data, str | Path) else data


def open_again(data: Data, record: RunRecord) -> Collection | Log:
    """Open the data of an existing run. From a folder of pictures, open only those that the run's record lists.

    Files that were added to the folder later do not matter, because the run knows its parts by key and content.
    `good_part` selects pictures for new trainings only. It could refuse the folder because of a sibling folder that was added
    later.

    Raises:
        DataError: the path holds nothing readable.
    """
    if not isinstance(data, str | Path) or find(str(data)).name != "images":
        return open_data(data)
    return images.chosen(str(data), _keys_of(record))


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
