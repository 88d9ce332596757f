"""Find items that several rows of a results folder name, so that each item counts once.

An item may be in an input twice, for example if a table was copied. Its rows are then equal, and one of them counts. Rows with
the same `item_id` and other values contradict each other, or belong to different items with the same name. Only the user knows
which of both is true, so they are refused.

Memory: 8 bytes for each row, and the rows whose `item_id` occurs more than once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.archive.results import Results
from andon.foundation.errors import DataError
from andon.foundation.printable import printable

_FACTS = (
    "item_id", "uri", "line", "part_id", "lot", "captured_at", "status", "reason", "score", "threshold", "label",
)  # fmt: skip
"""Columns in which equal rows are equal. The others follow from them."""


class Repeats(NamedTuple):
    """Rows that repeat an item."""

    rows: Mapping[int, NDArray[np.bool_]]
    """For each block that has such rows, by its place in the manifest: ``[n]``, True for the rows to leave out."""
    total: int
    """Number of these rows."""


NO_REPEATS = Repeats({}, 0)
SEPARABLE = (
    "If they are different items, add --separate-repeats, and give each its own name next time ('andon pack --prefix')."
)
"""Remedy for a count, which needs no names."""
MATCHED = "Items are matched by item_id, so give each its own name ('andon pack --prefix'), and score again."
"""Remedy for a comparison of two folders."""


def find_repeats(results: Results, *, separate: bool = False, remedy: str = MATCHED) -> Repeats:
    """Return the rows that are equal to an earlier row.

    Args:
        results: the folder.
        separate: count rows with the same `item_id` and other values as different items, instead of refusing them.
        remedy: advice of the error about different items with the same name.

    Raises:
        DataError: a block is damaged, or rows of one item have different values.
    """
    digests = [_digests(table) for table in results.tables(["item_id"])]
    ordered = np.sort(np.concatenate([np.zeros(0, np.int64), *digests]))
    # np.unique is slow for large arrays, also for sorted ones
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    several = again[np.diff(again, prepend=again[:1] - 1) != 0]
    if not len(several):
        return NO_REPEATS
    rows = _rows_of(results, digests, several)
    if rows is None:
        return NO_REPEATS
    return _repeats(results, rows, [len(block) for block in digests], None if separate else remedy)


def _digests(table: Any) -> NDArray[np.int64]:
    """Return a digest of 64 bits for each item. Two items may have the same one, so equal digests are only a suspicion."""
    if "item_id" not in table.column_names:  # the reader of all columns reports it
        return np.zeros(0, np.int64)
    return np.fromiter(map(hash, table["item_id"].to_pylist()), np.int64, len(table))


def _rows_of(results: Results, digests: list[NDArray[np.int64]], several: NDArray[np.int64]) -> Any:
    """Return the rows with these digests as a table with their places. Return None if a block is not fit for an audit."""
    import pyarrow as pa

    found = []
    start = 0
    model = results.manifest.identity.model.sha256
    for block, table in zip(digests, results.tables((*_FACTS, "model_sha256")), strict=True):
        # not np.isin, which would sort the long array once more for each block
        wanted = several[np.minimum(np.searchsorted(several, block), len(several) - 1)] == block
        if wanted.any():
            # the reader of all rows reports both, and better
            if any(name not in table.column_names for name in (*_FACTS, "model_sha256")):
                return None
            if set(table["model_sha256"].unique().to_pylist()) != {model}:
                return None
            places = pa.array(np.flatnonzero(wanted) + start)
            rows = table.select(list(_FACTS)).filter(pa.array(wanted))
            plain = [
                column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
                for column in rows.columns
            ]
            found.append(pa.table([*plain, places], names=[*_FACTS, "place"]))
        start += len(block)
    return pa.concat_tables(found, promote_options="permissive")


def _repeats(results: Results, rows: Any, sizes: list[int], remedy: str | None) -> Repeats:
    import pyarrow.compute as pc

    different = rows.group_by(list(_FACTS), use_threads=False).aggregate([("place", "min")])
    if remedy is not None:
        values = different.group_by("item_id", use_threads=False).aggregate(
            [("item_id", "count"), ("place_min", "min")]
        )
        several = values.filter(pc.greater(values["item_id_count"], 1)).sort_by("place_min_min")
        if len(several):
            raise _contradiction(results, several["item_id"].to_pylist(), remedy)
    places = rows["place"].to_numpy()
    repeated = np.ones(len(places), np.bool_)
    repeated[np.searchsorted(places, different["place_min"].to_numpy())] = False
    left_out = places[repeated]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    borders = np.searchsorted(left_out, starts)
    masks: dict[int, NDArray[np.bool_]] = {}
    for block in np.flatnonzero(np.diff(borders)).tolist():
        mask = np.zeros(sizes[block], np.bool_)
        mask[left_out[borders[block] : borders[block + 1]] - starts[block]] = True
        masks[block] = mask
    return Repeats(masks, len(left_out))


def _contradiction(results: Results, names: list[str], remedy: str) -> DataError:
    listed = ", ".join(printable(repr(name), limit=100) for name in names[:3])
    return DataError(
        f"{results.folder}: expected each item_id once, got {len(names)} of them in rows with different values: {listed}. "
        f"{remedy} If an item is in the input twice, remove one of them and score again with --new-plan."
    )
