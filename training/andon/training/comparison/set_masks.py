"""Read the masks of the data sets of a comparison. One set has the same masks for all its cells.

The pixels are read once, before the first cell. Each cell gets them with its data set, also on another machine. So a picture that
is changed later has no influence, and the next call notices it by the digest in ``cell.json``.
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from andon.foundation.errors import AndonError, ConfigError
from andon.training.comparison.plan import Cell, DataSet, Key, Plan, folder_name
from andon.training.comparison.results import CELL, read
from andon.training.fitting.frame_masks import Masks, fitted_to
from andon.training.runs.run_data import open_data


def with_pixels_read(plan: Plan) -> Plan:
    """Return the plan with masks whose pixels are read, at the frame size of each set.

    Raises:
        AndonError: the data of a set with masks cannot be opened, are logs or have several sizes, or a mask does not fit. The
            message starts with the name of the set.
    """
    return replace(plan, sets=tuple(_read(data) for data in plan.sets))


def refuse_other_masks(cells: Iterable[Cell], out: Path) -> None:
    """Check that the cells that a folder has of the same sets have the same masks. One table must not mix them under one name.

    Raises:
        ConfigError: a cell has other masks, or none.
    """
    for cell in {cell.data.name: cell for cell in cells}.values():
        own = cell.key.masks
        for path in sorted((out / folder_name(cell.data.name)).glob(f"*/*/{CELL}")):
            held = read(path, Key)
            if held is not None and held.masks != own:
                raise ConfigError(
                    f"set {cell.data.name}: expected the masks of the cells that {out} has of this set ({_shown(held.masks)}), "
                    f"got {_shown(own)}. Give the set another name, such as --name {cell.data.name}-2, or give another --out."
                )


def _read(data: DataSet) -> DataSet:
    masks = Masks(ignore=data.ignore, region=data.region)
    if not any(masks):
        return data
    try:
        read_masks = fitted_to(masks, open_data(data.train).found)
    except AndonError as error:
        raise type(error)(f"set {data.name}: {error}") from error
    return replace(data, ignore=read_masks.ignore, region=read_masks.region)


def _shown(digests: dict[str, str]) -> str:
    return ", ".join(f"{name} with sha256 {digest[:12]}" for name, digest in digests.items()) or "no masks"
