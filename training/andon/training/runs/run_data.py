"""The data of a run: opened for a new one, or found again for one that has begun."""

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
"""A path or name that a source opens, or what one has opened."""


def open_data(data: Data) -> Collection | Log:
    """Open a path or name; pass on what is open.

    Raises:
        DataError: nothing readable there.
    """
    return collect(str(data)) if isinstance(data, str | Path) else data


def open_again(data: Data, record: RunRecord) -> Collection | Log:
    """Open the data of a run that has begun: of a folder of pictures, those that training chose then.

    What else the folder holds by now does not matter: the run knows its parts by key and content. `good_part` chooses for a
    new training only, and would refuse the folder for a neighbour that came later.

    Raises:
        DataError: nothing readable there.
    """
    if not isinstance(data, str | Path) or find(str(data)).name != "images":
        return open_data(data)
    return images.chosen(str(data), _keys_of(record))


def open_to_resume(data: Data, record: RunRecord, folder: Path) -> Collection | Log:
    """Open the data that an interrupted run continues with.

    Raises:
        DataError: nothing readable there.
        TrainingError: some of its pictures are gone.
    """
    opened = open_again(data, record)
    if isinstance(opened, Pictures):
        present = {ref.key for ref in opened.refs}
        missing = sorted(_keys_of(record) - present)
        if missing:
            raise TrainingError(
                f"{folder}: the data have changed since this run began: {len(missing)} of its pictures are not in "
                f"{shown_address(str(data))} any more, the first is {printable(missing[0])}. Give their present place with "
                "--data, or start a new run."
            )
    return opened


def _keys_of(record: RunRecord) -> set[str]:
    used = record.split
    return {*used.train, *used.validation, *used.calibration, *record.copies}
